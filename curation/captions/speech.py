"""What is said in a clip, by a speech recogniser of one's own choice.

    def engine(samples, rate_hz, language):
        '''Mono float32 samples in; (start_s, end_s, text) or (..., text, language) out.'''

    clipmill caption corpus --with asr:my_package.speech:engine

The engine is a function named `module:function`, or an entry point of the group `clipmill.asr`.
Nothing is downloaded and no recogniser is bundled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from catalogs.errors import UsageError, nearest
from curation.captions.base import Answer, Captioner, Job, Text, Window
from curation.captions.sound import RATE_HZ

__all__ = ["SpeechCaptioner"]

GROUP = "clipmill.asr"

Engine = Callable[..., Iterable[tuple[Any, ...]]]


class SpeechCaptioner(Captioner):
    """Transcripts: a text for every stretch in which somebody speaks."""

    kinds = ("transcript",)
    needs = ("sound",)

    def __init__(self, engine: str, *, revision: str | None = None, language: str | None = None):
        self.name = f"asr:{engine}"
        self.revision = revision or "1"
        self._address, self._language = engine, language
        self._engine: Engine | None = None

    def setup(self, pending: Path) -> None:
        self._engine = _load(self._address)

    def caption(self, job: Job) -> Answer:
        """One text per stretch; an empty one for the window where nobody speaks."""
        began = time.perf_counter()
        found = self._spoken(job)
        texts = [
            _text(segment, job.window, self._language)
            for segment in found
            if str(segment[2]).strip()
        ]
        if not texts:
            texts = [Text("transcript", "", self._language, {"speech": False})]
        elif all(text.window != job.window for text in texts):
            # The window itself is marked as done, so that the next run does not listen again.
            whole = " ".join(text.text for text in texts)
            texts.insert(0, Text("transcript", whole, texts[0].language))
        return Answer(texts, seconds=time.perf_counter() - began)

    def _spoken(self, job: Job) -> list[tuple[Any, ...]]:
        assert self._engine is not None
        if job.sound is None:
            return []
        return list(self._engine(job.sound, RATE_HZ, self._language))


def _text(segment: tuple[Any, ...], window: Window, language: str | None) -> Text:
    start_s, end_s, text = segment[:3]
    spoken = segment[3] if len(segment) > 3 else language
    length = window.end_s - window.start_s
    first, last = (min(max(float(t), 0.0), length) for t in (start_s, end_s))
    where = Window(round(window.start_s + first, 3), round(window.start_s + last, 3))
    return Text("transcript", str(text).strip(), spoken, {"speech": True}, where)


def _load(address: str) -> Engine:
    """The function at `module:function`, or of the entry point of that name."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if address in points:
        found = points[address].load()
    else:
        module, colon, name = address.partition(":")
        if not colon:
            raise UsageError(
                f"no speech engine is called {address!r}",
                allowed="module:function" + "".join(f", {name}" for name in points),
                hint=nearest(address, points),
            )
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"the speech engine {address!r} cannot be loaded: {error}",
                allowed="module:function on the Python path",
            ) from error
    if not callable(found):
        raise UsageError(f"the speech engine {address!r} is no function", allowed="a callable")
    engine: Engine = found
    return engine
