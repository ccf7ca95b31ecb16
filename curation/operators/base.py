"""What an operator is: a name, a version, declared columns, and one method.

    class Loudness(Operator):
        name = "loudness"
        version = 1
        needs = "row"
        columns = (Column("is_long", pa.bool_(), "longer than a minute"),)

        def score(self, clips):
            return [{"is_long": clip.row["duration_s"] > 60} for clip in clips]

Register it under the entry-point group `clipmill.operators`, as the built-in ones are. An operator
only measures: it never drops a clip. The base owns checking, versioning and errors; jobs own
batching, timing and writing.

What `needs` asks for is what a `Clip` offers:

- `row`: the clip's and its source's catalog columns (always there);
- `signals`: the stored per-frame measurements and sound levels of the clip's span;
- `frames`: the stored storyboard frames of the clip's span (about one a second, small);
- `motion`: the stored per-frame measurements of a take.

All of these come from the one decode pass and are stored, so an operator that is added later
scores an old corpus without opening a video.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ClipmillError, SchemaError, UsageError
from catalogs.schema import FAMILIES, Column

if TYPE_CHECKING:
    from curation.signals.store import VideoSignals

__all__ = ["Clip", "Need", "Operator", "OperatorError", "StoryFrame", "checked_scores"]

Need = Literal["row", "signals", "frames", "motion"]
NEEDS: tuple[Need, ...] = ("row", "signals", "frames", "motion")
RESERVED = frozenset(column.name for column in FAMILIES["scores"].columns)


MOST_PICTURES = 120
"""Pictures of one clip that are decoded at once; a clip of an hour must not fill the memory."""


class OperatorError(ClipmillError):
    """An operator that failed on a clip or returned what it had not declared."""


@dataclass(frozen=True, slots=True)
class StoryFrame:
    """A stored small picture of a source."""

    pts: int
    jpeg: bytes

    def rgb(self) -> NDArray[np.uint8]:
        """The picture as (height, width, 3)."""
        import cv2

        image = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise OperatorError(f"the storyboard frame at pts {self.pts} is not a picture")
        rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return rgb


@dataclass(frozen=True)
class Clip:
    """One clip as an operator sees it. Nothing is decoded until it is asked for."""

    row: Mapping[str, Any]
    """Columns of `clips`."""
    source: Mapping[str, Any]
    """Columns of `sources`."""
    source_signals: VideoSignals | None = None
    source_motion: Mapping[str, NDArray[Any]] | None = None
    story: Sequence[StoryFrame] = field(default_factory=tuple)
    """Storyboard frames inside the span, in order."""
    audio_db: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """Sound level of the span in windows of a tenth of a second; empty without sound."""

    @property
    def clip_id(self) -> str:
        return str(self.row["clip_id"])

    @cached_property
    def span(self) -> slice:
        """The clip's frames as a slice of the source's."""
        return slice(int(self.row["start_frame"]), int(self.row["end_frame"]))

    @property
    def seconds(self) -> float:
        return float(self.row["duration_s"])

    def signal(self, name: str) -> NDArray[Any]:
        """A signal over the clip's frames, measured values only (NaN where none was taken)."""
        if self.source_signals is not None:
            return self.source_signals[name][self.span]
        if self.source_motion is not None:
            return self.source_motion[name][self.span]
        raise UsageError(
            f"clip {self.clip_id} was handed over without signals",
            hint='set needs = "signals" (or "motion") in the operator',
        )

    def changes(self, name: str) -> NDArray[Any]:
        """A signal that compares a frame with the one before, without the clip's first frame."""
        return self.signal(name)[1:]

    def samples(self, name: str) -> NDArray[Any]:
        """The values of a signal that is not measured on every frame, where it was."""
        values = self.signal(name)
        return values[np.isfinite(values)]

    @property
    def pictures(self) -> list[NDArray[np.uint8]]:
        """The storyboard as RGB arrays: of a long clip, `MOST_PICTURES` spread evenly over it.

        They are decoded each time: what all clips of an hour keep would fill the memory.
        """
        step = max(1.0, len(self.story) / MOST_PICTURES)
        chosen = [self.story[int(k * step)] for k in range(min(len(self.story), MOST_PICTURES))]
        return [item.rgb() for item in chosen]


class Operator(ABC):
    """Base of all operators. Subclasses set the class variables and implement `score`."""

    name: ClassVar[str]
    version: ClassVar[int]
    columns: ClassVar[tuple[Column, ...]]
    needs: ClassVar[Need] = "signals"
    kinds: ClassVar[tuple[str, ...]] = ("video",)
    """Kinds of source that it can score."""
    gpus: ClassVar[float] = 0.0
    extra: ClassVar[str | None] = None
    """Optional dependency group that it cannot work without."""
    serves: ClassVar[tuple[str, ...]] = ()
    """Ids of published systems whose measurement this is."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__name__.startswith("_") or getattr(cls, "__abstractmethods__", None):
            return
        for attribute in ("name", "version", "columns"):
            if not hasattr(cls, attribute):
                raise SchemaError(f"operator {cls.__name__} lacks the attribute {attribute!r}")
        if cls.needs not in NEEDS:
            raise SchemaError(
                f"operator {cls.name!r} needs {cls.needs!r}", allowed=", ".join(NEEDS)
            )
        for column in cls.columns:
            if column.name in RESERVED:
                raise SchemaError(
                    f"operator {cls.name!r} declares the column {column.name!r}, which every "
                    "table of scores has",
                    hint="give it another name",
                )

    @abstractmethod
    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        """One mapping of column to value for each clip, in order. None means not measurable."""

    def setup(self) -> None:  # noqa: B027 - an optional hook
        """Load models; called once in each worker before the first `score`."""


def checked_scores(operator: Operator, clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """Run an operator and hold it to its declaration."""
    if not clips:
        return []
    rows = operator.score(clips)
    if len(rows) != len(clips):
        raise OperatorError(
            f"operator {operator.name!r} returned {len(rows)} rows for {len(clips)} clips"
        )
    declared = {column.name for column in operator.columns}
    scored = []
    for clip, row in zip(clips, rows, strict=True):
        undeclared = set(row) - declared
        if undeclared:
            raise OperatorError(
                f"operator {operator.name!r} returned {sorted(undeclared)[0]!r}",
                allowed=", ".join(sorted(declared)),
            )
        values = {name: _plain(value) for name, value in row.items()}
        scored.append({"clip_id": clip.clip_id, "op_version": operator.version, **values})
    return scored


def _plain(value: Any) -> Any:
    """A Python value that Arrow accepts; NaN and infinity are NULL, never a number."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
