"""One small corpus, one server and one browser for all tests of the viewer."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.recipe import load_recipe
from catalogs.select import select
from catalogs.testing import Shot, render_take, render_video, zero_byte
from curation.captions.registry import Maker
from curation.embed import embed
from curation.jobs.captioning import caption
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings

REPOSITORY = Path(__file__).resolve().parents[3]
SCREENSHOTS = REPOSITORY / "build" / "screenshots"
EVIL = "<script>alert(1)</script>.mp4"
"""A path of a folder and a file that would run if it ever became HTML."""
PATIENCE_MS = 60_000
"""How long a page may take on a machine that is busy; nothing waits so long for what is there."""
TOKEN, REVIEWER = "token-of-the-tests", "ada"


@pytest.fixture(scope="session")
def web_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films of five shots, a take, an empty file; captions, vectors and two selections."""
    folder = tmp_path_factory.mktemp("web")
    media, corpus = folder / "media", folder / "corpus"
    (media / EVIL).parent.mkdir(parents=True)
    small = {"size": (160, 90), "fps": 12}
    cut = [Shot("pan_left", 24, 1), Shot("moving_shapes", 30, 2)]
    render_video(media / "cuts.mp4", cut, audio="tone", **small)  # type: ignore[arg-type]
    for name, shot in (
        (EVIL, Shot("shake", 24, 3)),
        ("zoom.mkv", Shot("zoom_in", 24, 4)),
        ("pan.webm", Shot("pan_right", 36, 5)),
    ):
        codec = "libvpx-vp9" if name.endswith(".webm") else "libx264"
        render_video(media / name, [shot], codec=codec, **small)  # type: ignore[arg-type]
    render_take(media / "walk.bvh", "walk", seconds=2.0)
    zero_byte(media / "empty.mp4")
    recipes = {"web": _recipe("demo"), "takes": _recipe("mocap")}
    settings = MillSettings.of(
        replace(recipes["web"], score=tuple(s for r in recipes.values() for s in r.score))
    )
    curate([media], corpus, settings=settings, workers=0, license="CC-BY-4.0", progress=None)
    catalog = Catalog.open(corpus)
    caption(catalog, Maker("rules"), workers=0, progress=None)
    embed(catalog.refresh(), "words", workers=0, progress=None)
    for name, recipe in recipes.items():
        select(catalog.refresh(), recipe, name, set_gates={"length": "duration_s >= 1.5"})
    return corpus


def _recipe(name: str) -> Any:
    return replace(load_recipe(name), dedup=None)


@dataclass(frozen=True)
class Served:
    """A viewer that is up. `fetch` asks it as the page does."""

    address: str
    corpus: Path
    token: str
    cookie: tuple[str, str]

    def request(self, path: str, **headers: str) -> urllib.request.Request:
        cookie = {"Cookie": "=".join(self.cookie)}
        return urllib.request.Request(self.address + path, headers=cookie | headers)

    def fetch(self, path: str, **headers: str) -> Any:
        """The open response; errors raise `urllib.error.HTTPError`."""
        return urllib.request.urlopen(self.request(path, **headers), timeout=60)


@pytest.fixture(scope="session")
def serve_corpus() -> Iterator[Callable[..., Served]]:
    """Serve a catalog on a free port, in a thread: `serve_corpus(path, reviewer="ada")`."""
    import uvicorn

    from clipmill.web.app import create_app
    from clipmill.web.state import Viewer

    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(corpus: Path, *, reviewer: str | None = None) -> Served:
        app = create_app(Viewer(str(corpus), reviewer=reviewer), token=TOKEN)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        running.append((server, thread, listener))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        visit = f"{address}/page/icon.svg?token={TOKEN}"
        with urllib.request.urlopen(visit, timeout=60) as response:
            name, value = response.headers["Set-Cookie"].split(";")[0].split("=", 1)
        return Served(address, corpus, TOKEN, (name, value))

    yield start
    for server, thread, listener in running:
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="session")
def web_server(serve_corpus: Callable[..., Served], web_corpus: Path) -> Served:
    """The viewer of the small corpus, with labels switched on. Tests must not change the corpus."""
    return serve_corpus(web_corpus, reviewer=REVIEWER)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, or a skip that names what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as driver:
        shown = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield shown
        shown.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page of a server: `open_page(served, width=390, dark=True)`.

    The test fails on any error of the console or of the page, and on requests to other hosts.
    """
    contexts, wrong = [], []

    def opened(served: Served, *, width: int = 1280, height: int = 800, dark: bool = False) -> Any:
        context = browser.new_context(
            base_url=served.address,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        name, value = served.cookie
        context.add_cookies([{"name": name, "value": value, "url": served.address}])
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None
                if re.match(rf"(?:{re.escape(served.address)}/|blob:|data:)", asked.url)
                else wrong.append(f"a request to {asked.url}")
            ),
        )
        page.errors = wrong
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(open_page: Callable[..., Any], web_server: Served) -> Any:
    """A page of 1280 px at the small corpus's viewer, not gone anywhere: `page.goto("/")`.

    A test that provokes refusals empties `page.errors` of the console's lines about them.
    """
    return open_page(web_server)


@pytest.fixture
def keep_screenshot() -> Callable[[Any, str], None]:
    """Keep a picture of a page among the build's artefacts: `keep_screenshot(page, "grid")`."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def keep(page: Any, name: str) -> None:
        page.screenshot(path=os.fspath(SCREENSHOTS / f"{name}.png"))

    return keep
