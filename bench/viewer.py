"""The viewer at a million clips: start, filters, and scrolling in a browser.

    python bench/viewer.py DIR [--rows 1000000] [--grid-rows 10000]

Makes a catalog in DIR (unless it is there) with synthetic clips, six operators' scores, a caption
of each clip and pictures of those that the grid shows first, starts the real `clipmill browse` on
it, and measures: from listening to the first page of clips, filters that nobody asked before to
their answer, and what a page in headless Chromium holds before and after it scrolled through many
rows of the grid, after the garbage was collected.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import numpy as np
import pyarrow as pa
from catalog import OPERATORS, fill  # bench/catalog.py
from PIL import Image

from catalogs import Catalog

FILTERS = 20
PICTURED_SOURCES = 1_000
PICTURE_KINDS = 64
WHEEL_PX = 1_500
CHECK_EVERY = 50
PATIENCE_MS = 240_000
LIMITS = {"first_page_s": 1.0, "filter_median_s": 0.5}

Figures = dict[str, Any]


# -- making ------------------------------------------------------------------------------------


def make(root: str, rows: int) -> None:
    fill(root, rows)
    catalog = Catalog.open(root)
    ids = catalog.sql("select clip_id from clips").arrow().column(0).combine_chunks()
    numbers = np.arange(len(ids))
    texts = pa.array([f"Synthetic scene {n % 977} under light {n % 89}." for n in numbers.tolist()])
    captions = {
        "caption_id": ids,
        "clip_id": ids,
        "kind": pa.repeat("brief", len(ids)),
        "text": texts,
        "origin": pa.repeat("rules", len(ids)),
    }
    catalog.append("captions", pa.table(captions))
    catalog.append("storyboards", pictures(catalog))
    catalog.compact(vacuum=True)


def pictures(catalog: Catalog) -> pa.Table:
    """A picture at the start of each clip of the sources that come first in the grid."""
    rows = catalog.sql(
        "select source_id, start_pts as pts from clips where source_id in "
        f"(select source_id from sources order by source_id limit {PICTURED_SOURCES})"
    ).arrow()
    kinds = [picture(number) for number in range(PICTURE_KINDS)]
    chosen = pa.array([kinds[n % PICTURE_KINDS] for n in range(rows.num_rows)])
    return rows.combine_chunks().append_column("jpeg", chosen)


def picture(number: int) -> bytes:
    gradient = Image.linear_gradient("L").resize((320, 180))
    hue = Image.new("L", (320, 180), number * 256 // PICTURE_KINDS)
    full = Image.new("L", (320, 180), 130)
    data = io.BytesIO()
    Image.merge("HSV", (hue, full, gradient)).convert("RGB").save(data, "jpeg", quality=80)
    return data.getvalue()


# -- serving -----------------------------------------------------------------------------------


@contextmanager
def served(root: str) -> Iterator[tuple[str, float, int]]:
    """The viewer as a process: its address, when it listened, its process id."""
    command = [sys.executable, "-m", "clipmill", "browse", root, "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            yield address, time.perf_counter(), process.pid
        finally:
            process.send_signal(2)


def ask(address: str, path: str, **parameters: Any) -> Any:
    base, token = address.split("/?token=")
    query = urlencode({**parameters, "token": token}, doseq=True)
    with urllib.request.urlopen(f"{base}/api/{path}?{query}", timeout=120) as response:
        return json.load(response)


def cpu_s(process: int) -> float:
    """What a process has computed so far: comparable where other work is on the machine."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def peak_mib(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


# -- measuring ---------------------------------------------------------------------------------


def starting(root: str) -> Figures:
    started = time.perf_counter()
    with served(root) as (address, listened, process):
        cpu = cpu_s(process)
        page = ask(address, "clips", limit=60)
        answered = time.perf_counter()
        cpu_then = cpu_s(process)
    assert len(page["clips"]) == 60
    return {
        "listening_s": listened - started,
        "first_page_s": answered - listened,
        "listening_cpu_s": cpu,
        "first_page_cpu_s": cpu_then - cpu,
        "clips": page["total"],
    }


def filters(dice: random.Random) -> Iterator[dict[str, Any]]:
    """Questions of one to three columns, every other one sorted."""
    columns = ["duration_s", *(name for names in OPERATORS.values() for name in names)]
    for number in range(FILTERS):
        chosen = dice.sample(columns, 1 + number % 3)
        ranges = []
        for name in chosen:
            scale = 20 if name == "duration_s" else 1
            low = dice.random() * 0.6 * scale
            ranges.append(f"{name}:{low:.3f}:{low + 0.4 * scale:.3f}")
        yield {"range": ranges, "limit": 60, **({"sort": f"-{chosen[0]}"} if number % 2 else {})}


def filtering(root: str) -> Figures:
    times, cpu, totals = [], [], set()
    with served(root) as (address, _, process):
        ask(address, "clips", limit=60)
        for question in filters(random.Random(1)):
            started, computed = time.perf_counter(), cpu_s(process)
            totals.add(ask(address, "clips", **question)["total"])
            times.append(time.perf_counter() - started)
            cpu.append(cpu_s(process) - computed)
        started = time.perf_counter()
        ask(address, "histograms", columns=["duration_s", *(n[0] for n in OPERATORS.values())])
        charts = time.perf_counter() - started
        pages = []
        for at in np.random.default_rng(2).integers(0, 900_000, 10).tolist():
            started = time.perf_counter()
            ask(address, "clips", limit=60, **{"from": at})
            pages.append(time.perf_counter() - started)
        peak = peak_mib(process)
    assert len(totals) > FILTERS // 2
    return {
        "filter_median_s": statistics.median(times),
        "filter_median_cpu_s": statistics.median(cpu),
        "filter_max_s": max(times),
        "filter_repeat_median_s": statistics.median(times[FILTERS // 2 :]),
        "histograms_s": charts,
        "page_median_s": statistics.median(pages),
        "server_peak_mib": peak,
    }


def scrolling(root: str, grid_rows: int) -> Figures:
    from playwright.sync_api import sync_playwright

    with served(root) as (address, listened, process), sync_playwright() as driver:
        program = shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.locator(".place:not(.coming)").first.wait_for()
        shown = time.perf_counter() - listened
        tools = page.context.new_cdp_session(page)
        tools.send("Performance.enable")
        page.mouse.move(800, 500)
        travel(page, 50)
        before = held(page, tools)
        started = time.perf_counter()
        steps = round(grid_rows * row_px(page) / WHEEL_PX)
        travel(page, steps)
        seconds = time.perf_counter() - started
        after = held(page, tools)
        place = page.locator(".place").first.get_attribute("aria-posinset")
        browser.close()
        peak = peak_mib(process)
    assert not wrong, wrong
    return {
        "clips_shown_s": shown,
        "scroll_s": seconds,
        "last_place": int(place or 0),
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        "server_peak_mib": peak,
    }


def row_px(page: Any) -> float:
    """From one row of the grid to the next."""
    tops = {cell.bounding_box()["y"] for cell in page.locator(".place").all()}
    return min(b - a for a, b in pairwise(sorted(tops)))


def travel(page: Any, steps: int) -> None:
    """Turn the wheel; now and then wait for the clips that are in sight."""
    for step in range(1, steps + 1):
        page.mouse.wheel(0, WHEEL_PX)
        if step % CHECK_EVERY == 0 or step == steps:
            page.locator(".place.coming").first.wait_for(state="detached")


def held(page: Any, tools: Any) -> Figures:
    page.wait_for_load_state("networkidle")
    tools.send("HeapProfiler.collectGarbage")
    metrics = {m["name"]: m["value"] for m in tools.send("Performance.getMetrics")["metrics"]}
    return {
        "heap_mib": metrics["JSHeapUsedSize"] / 2**20,
        "nodes": page.locator("*").count(),
        "listeners": int(metrics["JSEventListeners"]),
    }


def shown(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to make the catalog")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--grid-rows", type=int, default=10_000)
    chosen = parser.parse_args()
    root = str((chosen.folder / "viewer-corpus").resolve())
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    versions = {m.__name__: m.__version__ for m in (duckdb, pa)}
    if not Path(root, "catalog.json").is_file():
        make(root, chosen.rows)
    print(machine, versions, f"{Catalog.open(root).rows('clips'):,} clips", flush=True)
    figures: Figures = {}
    for name, what in (
        ("start", lambda: starting(root)),
        ("filter", lambda: filtering(root)),
        ("scroll", lambda: scrolling(root, chosen.grid_rows)),
    ):
        figures[name] = what()
        print(f"{name:<8}", *(f"{k}={shown(v)}" for k, v in figures[name].items()), flush=True)
    measured = {**figures["start"], **figures["filter"]}
    for name, limit in LIMITS.items():
        print(f"{name}: {measured[name]:.3f}, at most {limit}")
    print(json.dumps({"viewer": {"machine": machine, "versions": versions, **figures}}))


if __name__ == "__main__":
    main()
