"""The catalog at ten million clips: writing, opening, scanning, selecting, explaining.

    python bench/catalog.py DIR [--rows 10000000] [--commits 5000]

Makes two catalogs in DIR: `corpus` with synthetic clips and six operators' scores, appended in
batches, and `commits` with many tiny commits. Every figure is taken in a process of its own, so
that its peak memory is its own. The scan asks five gates of `clips` through `Catalog.sql` and by
SQL written by hand over the same Parquet files, turn by turn; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import numpy as np
import pyarrow as pa

from catalogs import Catalog, Column
from catalogs.explain import why
from catalogs.funnel import funnel
from catalogs.recipe import parse_recipe
from catalogs.select import select

BATCH = 1_000_000
CLIPS_PER_SOURCE = 100
TURNS = 5
OPERATORS: dict[str, tuple[str, ...]] = {
    "exposure": ("luma_mean_255", "clipped_share"),
    "sharpness": ("sharpness_median",),
    "motion": ("motion_px", "motion_peak_px"),
    "text": ("text_area",),
    "borders": ("letterbox_share", "pillarbox_share"),
    "flash": ("flash_per_s",),
}
GATES = {
    "length": "duration_s between 3 and 15",
    "motion": "motion_px between 0.05 and 0.9",
    "exposure": "luma_mean_255 between 0.1 and 0.95",
    "text": "text_area <= 0.8",
    "flash": "flash_per_s <= 0.9",
}
RECIPE = "name: bench\ngates:\n" + "".join(f"  {name}: {gate}\n" for name, gate in GATES.items())
BY_HAND = """
    select count(*), sum(c.duration_s)
    from read_parquet('{root}/clips/*.parquet') c
    join read_parquet('{root}/scores/motion/*.parquet') m on m.clip_id = c.clip_id
    join read_parquet('{root}/scores/exposure/*.parquet') e on e.clip_id = c.clip_id
    join read_parquet('{root}/scores/text/*.parquet') t on t.clip_id = c.clip_id
    join read_parquet('{root}/scores/flash/*.parquet') f on f.clip_id = c.clip_id
    where """
OURS = "select count(*), sum(duration_s) from clips where "
WHERE = " and ".join(f"({gate})" for gate in GATES.values())

Figures = dict[str, Any]


# -- making ------------------------------------------------------------------------------------


def hex_ids(dice: np.random.Generator, count: int) -> pa.Array:
    """Random ids of 32 hex digits."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = digits[dice.integers(0, 16, count * 32, np.uint8)]
    offsets = np.arange(0, count * 32 + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def clip_rows(dice: np.random.Generator, count: int) -> pa.Table:
    sources = hex_ids(dice, max(1, count // CLIPS_PER_SOURCE))
    start = np.arange(count, dtype=np.int64) % CLIPS_PER_SOURCE * 500
    frames = dice.integers(25, 500, count)
    constants = {"cutting": "c" * 12, "kind": "video", "detector": "bench 1"}
    columns: dict[str, Any] = {
        "clip_id": hex_ids(dice, count),
        "source_id": sources.take(pa.array(np.arange(count) // CLIPS_PER_SOURCE % len(sources))),
        "start_pts": start * 3_600,
        "end_pts": (start + frames) * 3_600,
        "start_frame": start,
        "end_frame": start + frames,
        "frames": frames,
        "duration_s": frames / 25,
        "fps": np.full(count, 25.0),
    }
    for name, value in constants.items():
        columns[name] = pa.repeat(pa.scalar(value), count)
    return pa.table(columns)


def fill(root: str, rows: int) -> Figures:
    catalog = Catalog.create(root)
    dice = np.random.default_rng(1)
    began, committing = time.perf_counter(), 0.0
    for first in range(0, rows, BATCH):
        count = min(BATCH, rows - first)
        clips = clip_rows(dice, count)
        started = time.perf_counter()
        with catalog.transaction(f"batch at {first}") as txn:
            sources = clips.group_by("source_id").aggregate([]).column("source_id")
            txn.append("sources", pa.table({"source_id": sources}))
            txn.append("clips", clips)
            for operator, names in OPERATORS.items():
                columns = [Column(name, pa.float64(), "synthetic") for name in names]
                scores = pa.table(
                    {
                        "clip_id": clips.column("clip_id"),
                        "op_version": pa.array(np.ones(count, np.int32)),
                        **{name: dice.random(count) for name in names},
                    }
                )
                txn.append(f"scores/{operator}", scores, columns)
        committing += time.perf_counter() - started
    return {"seconds": time.perf_counter() - began, "writing_s": committing}


def many_commits(root: str, commits: int) -> Figures:
    catalog = Catalog.create(root)
    times = []
    for number in range(commits):
        started = time.perf_counter()
        catalog.append("sources", [{"source_id": f"{number:032x}"}])
        times.append(time.perf_counter() - started)
    ends = max(1, min(200, commits // 2))
    return {
        "commit_ms_first": 1e3 * statistics.median(times[:ends]),
        "commit_ms_last": 1e3 * statistics.median(times[-ends:]),
    }


# -- measuring ---------------------------------------------------------------------------------


def opening(root: str) -> Figures:
    started = time.perf_counter()
    catalog = Catalog.open(root)
    version, files = catalog.version, len(catalog.files("sources"))
    return {"seconds": time.perf_counter() - started, "version": version, "files": files}


def scan_ours(root: str) -> Figures:
    started = time.perf_counter()
    found = Catalog.open(root).sql(OURS + WHERE).one()
    return {"seconds": time.perf_counter() - started, "clips": found[0]}


def scan_both(root: str) -> Figures:
    """Turn by turn; each side first in every other turn."""
    catalog = Catalog.open(root)
    query = BY_HAND.format(root=root) + WHERE

    def by_hand() -> Any:
        with duckdb.connect() as connection:
            connection.execute("set enable_progress_bar = false")
            return connection.execute(query).fetchall()[0]

    sides: dict[str, Callable[[], Any]] = {
        "ours": lambda: catalog.sql(OURS + WHERE).one(),
        "by_hand": by_hand,
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    answers = set()
    for turn in range(TURNS + 1):
        for name in sorted(sides, reverse=bool(turn % 2)):
            started = time.perf_counter()
            answer = sides[name]()
            answers.add((answer[0], round(answer[1])))
            if turn:
                times[name].append(time.perf_counter() - started)
    assert len(answers) == 1, f"the two sides disagree: {answers}"
    ours, hand = (statistics.median(times[name]) for name in ("ours", "by_hand"))
    return {"ours_s": ours, "by_hand_s": hand, "ratio": ours / hand}


def compacting(root: str) -> Figures:
    started = time.perf_counter()
    report = Catalog.open(root).compact(vacuum=True)
    files = sum(report.files_before.values()), sum(report.files_after.values())
    return {"seconds": time.perf_counter() - started, "files": list(files)}


def counting(root: str) -> Figures:
    started = time.perf_counter()
    steps = funnel(Catalog.open(root), parse_recipe(RECIPE))
    return {"seconds": time.perf_counter() - started, "steps": len(steps.to_dict()["steps"])}


def selecting(root: str) -> Figures:
    started = time.perf_counter()
    result = select(Catalog.open(root), parse_recipe(RECIPE), "bench")
    return {"seconds": time.perf_counter() - started, "clips": result.to_dict()["clips"]}


def explaining(root: str) -> Figures:
    """`why` of one clip, from the ledger of the selection and live from the recipe."""
    catalog = Catalog.open(root)
    first = catalog.files("clips")[0]
    clip = catalog.sql(f"select clip_id from '{catalog.uris('clips', [first])[0]}' limit 1").value()
    times = {}
    for name, what in (("ledger_s", None), ("live_s", parse_recipe(RECIPE))):
        started = time.perf_counter()
        why(Catalog.open(root), clip, what)
        times[name] = time.perf_counter() - started
    return times


def measured(what: Callable[..., Figures], *arguments: Any) -> Figures:
    return {**what(*arguments), "peak_rss_mib": _peak_mib()}


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def alone(what: Callable[..., Figures], *arguments: Any) -> Figures:
    """Run in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        figures = pool.submit(measured, what, *arguments).result()
    print(f"{what.__name__:<14}", *(f"{k}={_shown(v)}" for k, v in figures.items()), flush=True)
    return figures


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to make the catalogs")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--commits", type=int, default=5_000)
    chosen = parser.parse_args()
    corpus, commits = (str((chosen.folder / name).resolve()) for name in ("corpus", "commits"))
    for path in (corpus, commits):
        shutil.rmtree(path, ignore_errors=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    versions = {m.__name__: m.__version__ for m in (duckdb, deltalake, pa)}
    print(machine, versions, f"{chosen.rows:,} clips, {chosen.commits:,} commits", flush=True)

    figures: dict[str, Figures] = {}
    for name, what, *arguments in (
        ("many_commits", many_commits, commits, chosen.commits),
        ("open", opening, commits),
        ("fill", fill, corpus, chosen.rows),
        ("scan", scan_ours, corpus),
        ("scan_ratio", scan_both, corpus),
        ("compact", compacting, corpus),
        ("scan_compacted", scan_ours, corpus),
        ("scan_ratio_compacted", scan_both, corpus),
        ("funnel", counting, corpus),
        ("select", selecting, corpus),
        ("why", explaining, corpus),
    ):
        figures[name] = alone(what, *arguments)
    about = {"machine": machine, "versions": versions, "rows": chosen.rows}
    print(json.dumps({"catalog": {**about, **figures}}))


if __name__ == "__main__":
    main()
