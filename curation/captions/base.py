"""What a captioner is: something that writes texts about clips, and says who wrote them.

    class Loud(Captioner):
        name, revision, origin = "loud", "1", "rules"
        kinds = ("sound",)

        def caption(self, job):
            level = job.clip.audio_db.max(initial=-120.0)
            return Answer([Text("sound", "loud" if level > -10 else "quiet")])

A captioner gets one window of one clip at a time and answers with texts. It never writes: the job
(`curation.jobs.captioning`) plans what is missing, hands out windows and commits rows. What makes
two captions the same work is the clip, the window, the captioner's name and revision and the hash
of its prompt; nothing else, so a changed gate or a new selection asks for nothing twice.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from catalogs.errors import ClipmillError
from catalogs.ids import settings_hash
from curation.operators import Clip

if TYPE_CHECKING:
    from curation.captions.frames import Sampling

__all__ = [
    "Answer",
    "CaptionError",
    "Captioner",
    "Job",
    "Picture",
    "Text",
    "Window",
    "caption_rows",
    "split_evenly",
]

Origin = Literal["rules", "model", "rewrite"]
Need = Literal["captions", "sound"]

_ID_DIGITS = 32


class CaptionError(ClipmillError):
    """A clip that a captioner could not describe; the others go on."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a clip, in seconds from the clip's start."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a window, as a captioner sees it."""

    time_s: float
    """From the clip's start."""
    jpeg: bytes


@dataclass(frozen=True)
class Job:
    """One window of one clip, with what the captioner asked for."""

    clip: Clip
    """With its stored signals and storyboard."""
    window: Window
    scores: Mapping[str, Any] = field(default_factory=dict)
    """The clip's row of the wide view: every operator's columns by name, and `source_shots` and
    `source_shot_s`, the number and median length of the shots of its source."""
    pictures: Sequence[Picture] = ()
    captions: Sequence[Mapping[str, Any]] = ()
    """Rows of `captions` that others wrote about the clip, in order of time."""
    sound: Any = None
    """The window's sound as mono float32 samples at 16 kHz; None where the file has none."""


@dataclass(frozen=True, slots=True)
class Text:
    """One text of an answer."""

    kind: str
    text: str
    language: str | None = "en"
    evidence: Mapping[str, Any] = field(default_factory=dict)
    window: Window | None = None
    """Where it is about another stretch than the job's window."""


@dataclass(slots=True)
class Answer:
    """What a captioner wrote about one window, and what that cost."""

    texts: Sequence[Text]
    tokens: int | None = None
    seconds: float = 0.0
    problem: str | None = None
    """Why there is no text: the window stays open and the next run asks again."""


class Captioner(ABC):
    """Base of all captioners."""

    name: str
    """As `captions.model` has it."""
    revision: str
    origin: Origin = "model"
    kinds: tuple[str, ...]
    prompt_id: str | None = None
    prompt_hash: str | None = None
    needs: tuple[Need, ...] = ()
    sampling: Sampling | None = None
    """Which pictures it wants to see; None for none."""
    media: tuple[str, ...] = ("video",)
    """Kinds of source that it can describe."""
    streams: ClassVar[bool] = False
    """Waits for somebody else most of the time: it runs in the driver, many windows at once."""
    stopped: str | None = None
    """Why it ended before all windows were described, such as a limit on cost."""
    serves: ClassVar[tuple[str, ...]] = ()
    """Ids of published systems that it makes work."""

    def setup(self, pending: Path) -> None:  # noqa: B027 - an optional hook
        """Load models; called once in each worker before the first window.

        Args:
            pending: a folder for what must not be lost before the next commit.
        """

    def windows(self, duration_s: float) -> list[Window]:
        """The windows of a clip, by default one that is the whole clip."""
        return [Window(0.0, round(duration_s, 6))]

    @abstractmethod
    def caption(self, job: Job) -> Answer:
        """Describe one window."""

    def answers(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Answer]]:
        """Describe many windows. Overridden by captioners that do several at once."""
        for job in jobs:
            try:
                yield job, self.caption(job)
            except CaptionError as error:
                yield job, Answer((), problem=str(error))

    def usage(self) -> dict[str, Any]:
        """What it counted beside tokens, for the report."""
        return {}

    def close(self, *, done: bool = True) -> None:  # noqa: B027 - an optional hook
        """Let go of what `setup` took; `done` when everything it said is committed."""


def split_evenly(duration_s: float, longest_s: float | None) -> list[Window]:
    """A clip in as few windows of equal length as possible, none longer than `longest_s`."""
    count = 1 if longest_s is None else max(1, math.ceil(duration_s / longest_s))
    edges = [round(duration_s * n / count, 6) for n in range(count + 1)]
    return [Window(a, b) for a, b in pairwise(edges)]


def caption_rows(captioner: Captioner, job: Job, answer: Answer) -> list[dict[str, Any]]:
    """Rows of `captions` for an answer. What it cost stands in the first one only."""
    rows: dict[str, dict[str, Any]] = {}
    for text in answer.texts:
        window = text.window or job.window
        name = {
            "clip": job.clip.clip_id,
            "window": [window.start_s, window.end_s],
            "kind": text.kind,
            "model": captioner.name,
            "revision": captioner.revision,
            "prompt": captioner.prompt_hash,
        }
        if text.window is not None:
            name["asked"] = [job.window.start_s, job.window.end_s]
        evidence = dict(text.evidence)
        caption_id = settings_hash(name, _ID_DIGITS)
        rows[caption_id] = {
            "caption_id": caption_id,
            "clip_id": job.clip.clip_id,
            "kind": text.kind,
            "text": text.text,
            "language": text.language,
            "start_s": window.start_s,
            "end_s": window.end_s,
            "origin": captioner.origin,
            "model": captioner.name,
            "revision": captioner.revision,
            "prompt_id": captioner.prompt_id,
            "prompt_hash": captioner.prompt_hash,
            "evidence": json.dumps(evidence, default=float, sort_keys=True) if evidence else None,
            "tokens": 0 if rows else answer.tokens,
            "seconds": 0.0 if rows else round(answer.seconds, 6),
        }
    return list(rows.values())
