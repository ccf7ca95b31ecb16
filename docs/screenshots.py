"""Take the pictures of `docs/viewer.md`: the pages of a served demo corpus in headless Chromium.

    clipmill demo demo
    python docs/screenshots.py demo/corpus [FOLDER]

Needs playwright and a Chromium (Debian: chromium). Pictures are WebP below 150 kB each; FOLDER is
`docs/images` by default. The report is written and photographed as well.
"""

from __future__ import annotations

import io
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from catalogs import Catalog
from catalogs.report import write_report
from clipmill.pictures import postures
from clipmill.web.app import create_app
from clipmill.web.state import Viewer

TOKEN = "screenshots"
IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 150_000
WIDE, TALL, NARROW = (1280, 860), (1280, 1240), (390, 800)
PATIENCE_MS = 120_000
FILM = "uri like '%/cuts.mp4' and start_s = 0"
TAKE = "uri like '%/walk.bvh'"


@dataclass(frozen=True)
class Shot:
    """A picture: where to go, what to wait for, and what to do before it is taken."""

    name: str
    address: str
    ready: str
    size: tuple[int, int] = WIDE
    dark: bool = False
    settle_ms: int = 1500


def shots(film: str, take: str) -> list[Shot]:
    """The pictures of the page."""
    bench = "/bench?recipe=selection:demo-clips&limit=shake:0:7&moved=shake"
    return [
        Shot("grid", "/?show=motion_px", ".cell img"),
        Shot("grid-dark-phone", "/", ".cell img", NARROW, dark=True),
        Shot("clip", f"/clip/{film}", ".player video, .player img, .player canvas", TALL),
        Shot("take", f"/clip/{take}", ".player canvas", TALL, dark=True),
        Shot("bench", bench, ".edges [data-clip] img", (1280, 1100)),
        Shot("sources", "/sources", "tr[data-source]"),
        Shot("runs", "/runs", "details[data-run]"),
        Shot("tokens", "/tokens", "figure[data-level]"),
        Shot("labels", "/labels?recipe=selection:demo-clips&gate=shake", "[data-reviewed]"),
    ]


@contextmanager
def served(corpus: Path) -> Iterator[str]:
    """The viewer of a corpus on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(Viewer(str(corpus), reviewer="ada"), token=TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listener.close()


def photograph(browser: Any, address: str, shot: Shot) -> bytes:
    """One picture as PNG."""
    width, height = shot.size
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if shot.dark else "light",
        reduced_motion="reduce",
    )
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.locator(shot.ready).first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(shot.settle_ms)
    picture: bytes = page.screenshot()
    page.close()
    return picture


def keep(picture: bytes, path: Path) -> None:
    """Write a picture as WebP, as good as fits."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for quality in (82, 70, 55, 40):
        out = io.BytesIO()
        image.save(out, "WEBP", quality=quality, method=6)
        if out.tell() <= MOST_BYTES:
            break
    path.write_bytes(out.getvalue())
    print(f"{path.name}\t{out.tell():,} bytes")


def main() -> None:
    corpus = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    catalog = Catalog.open(corpus)
    film, take = (
        catalog.sql(f"select min(clip_id) from clips where {which}").value()
        for which in (FILM, TAKE)
    )
    with sync_playwright() as driver, served(corpus) as address, tempfile.TemporaryDirectory() as t:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for shot in shots(film, take):
            join = "&" if "?" in shot.address else "?"
            url = f"{address}{shot.address}{join}token={TOKEN}"
            keep(photograph(browser, url, shot), folder / f"{shot.name}.webp")
        report = Path(t) / "report.html"
        write_report(catalog, report, "demo-clips", draw_take=postures)
        for name, size in (("report", (1280, 1500)), ("report-phone", (390, 1000))):
            shot = Shot(name, "", "section", size)
            keep(photograph(browser, report.as_uri(), shot), folder / f"{name}.webp")
        browser.close()


if __name__ == "__main__":
    main()
