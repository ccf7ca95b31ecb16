"""One clip to make. All that a guarded child has to know of a catalog."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["ClipSpan"]


@dataclass(frozen=True, slots=True)
class ClipSpan:
    """One clip: the span of a source that it is, and what must come out of it."""

    clip_id: str
    split: str
    kind: str
    source_id: str
    uri: str
    sha256: str
    start_pts: int
    end_pts: int
    time_base: Fraction
    frames: int | None
    """Frames that the catalog counted in the span."""
    estimated_bytes: float
    fps: Fraction | None = None
    size: tuple[int, int] | None = None
    """Width and height of the source as displayed."""
    unit: str | None = None
    """Of a take, as found when it was measured; so is `up_axis`."""
    up_axis: str | None = None

    @property
    def duration_s(self) -> Fraction:
        return (self.end_pts - self.start_pts) * self.time_base
