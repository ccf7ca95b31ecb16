"""A small captioned world: one curated film, and an endpoint that misbehaves as told."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.testing import Shot, render_video
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from curation.segment import SegmentSettings

SHOTS = ("still", "pan_left", "zoom_in", "slide_text", "moving_shapes", "tilt_up")
SHOT_FRAMES = 36


@pytest.fixture(scope="session")
def _filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filmed")
    shots = [Shot(kind, SHOT_FRAMES, seed=number) for number, kind in enumerate(SHOTS)]
    (folder / "media").mkdir()
    render_video(folder / "media" / "film.mp4", shots, size=(192, 108), audio="tone")
    settings = MillSettings(segment=SegmentSettings(detector="content", min_s=0.5))
    curate([folder / "media"], folder / "catalog", settings=settings, workers=0, progress=None)
    return folder / "catalog"


@pytest.fixture
def filmed(_filmed: Path, tmp_path: Path) -> Path:
    """A catalog of one's own with one film of six shots."""
    return Path(shutil.copytree(_filmed, tmp_path / "catalog"))


@pytest.fixture
def rows_of() -> Callable[..., list[dict[str, Any]]]:
    """The captions of a catalog that fit a condition, in order."""

    def read(catalog: Path, where: str = "true") -> list[dict[str, Any]]:
        query = f"select * from captions where {where} order by clip_id, start_s, kind, model"
        return Catalog.open(catalog).sql(query).dicts()

    return read


@dataclass
class Reply:
    """What the server does with one request."""

    text: str = "A plain caption."
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    finish: str = "stop"
    refusal: str | None = None
    raw: bytes | None = None
    cut: bool = False
    """Promise more bytes than are sent."""
    hold: threading.Event | None = None
    """Answer only after this."""
    error: str = "it went wrong"


Behaviour = Callable[[int, dict[str, Any]], Reply]

PROMPT_TOKENS, ANSWER_TOKENS = 100, 20


class LoopbackEndpoint:
    """A chat endpoint on this machine that counts what it answers."""

    def __init__(self) -> None:
        self.behave: Behaviour = lambda number, body: Reply()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self.arrived = threading.Semaphore(0)
        self._now = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                text = self.rfile.read(length).decode()
                with endpoint._lock:
                    number = sum(endpoint.asked.values())
                    endpoint.asked[text] += 1
                    endpoint.bodies.append(json.loads(text))
                    endpoint.keys.append(self.headers.get("Authorization"))
                    endpoint._now += 1
                    endpoint.most_at_once = max(endpoint.most_at_once, endpoint._now)
                endpoint.arrived.release()
                try:
                    self._answer(endpoint.behave(number, json.loads(text)), text)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                finally:
                    with endpoint._lock:
                        endpoint._now -= 1

            def _answer(self, reply: Reply, text: str) -> None:
                if reply.hold is not None:
                    reply.hold.wait(60)
                data = reply.raw if reply.raw is not None else _payload(reply)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data) * (2 if reply.cut else 1)))
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = True
                if reply.status == 200 and reply.raw is None and not reply.cut:
                    with endpoint._lock:
                        endpoint.answered[text] += 1

        return Handler


def _payload(reply: Reply) -> bytes:
    if reply.status != 200:
        return json.dumps({"error": {"message": reply.error}}).encode()
    message = {"role": "assistant", "content": reply.text}
    if reply.refusal:
        message = {"role": "assistant", "content": None, "refusal": reply.refusal}
    return json.dumps(
        {
            "model": "served-name",
            "choices": [{"message": message, "finish_reason": reply.finish}],
            "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS},
        }
    ).encode()


@pytest.fixture
def endpoint() -> Iterator[LoopbackEndpoint]:
    server = LoopbackEndpoint()
    yield server
    server.close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply
