"""From boundaries to clips: trimming, joining, minimum and maximum length.

Every step works on frame numbers; times are those of the frames. A clip ends where its next frame
begins, and the last one where the video ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import Literal

import numpy as np

from curation.segment.base import Boundary
from curation.segment.looks import Looks
from curation.segment.registry import run_detector
from curation.segment.settings import SegmentSettings
from curation.signals import VideoSignals

__all__ = ["ClipSpan", "Edge", "detect", "segment", "spans"]

Edge = Literal["cut", "dissolve", "fade", "file end", "split"]


@dataclass(frozen=True, slots=True)
class ClipSpan:
    """One clip: frames and times, the end exclusive."""

    start_frame: int
    end_frame: int
    start_pts: int
    end_pts: int
    starts_with: Edge
    ends_with: Edge


@dataclass(frozen=True, slots=True)
class _Shot:
    start: int
    end: int
    starts_with: Edge
    ends_with: Edge


def detect(signals: VideoSignals, settings: SegmentSettings) -> list[Boundary]:
    """Boundaries of one video, by the detector of `settings`."""
    return run_detector(settings.detector, signals, settings.detector_settings())


def segment(signals: VideoSignals, settings: SegmentSettings) -> list[ClipSpan]:
    """Clips of one video: boundaries, then the rules of `settings`."""
    return spans(detect(signals, settings), signals, settings)


def spans(
    boundaries: Sequence[Boundary], signals: VideoSignals, settings: SegmentSettings
) -> list[ClipSpan]:
    """Clips between boundaries, in order."""
    shots = list(_between(boundaries, len(signals), settings.trim_mixed))
    if settings.stitch_s > 0:
        shots = _stitched(shots, signals, settings.stitch_s)
    if settings.trim_s > 0:
        shots = [_trimmed(shot, signals, settings.trim_s) for shot in shots]
    return [
        _clip(part, signals)
        for shot in shots
        for part in _of_allowed_length(shot, signals, settings)
        if part.end > part.start and _seconds(part, signals) >= settings.min_s
    ]


def _between(boundaries: Sequence[Boundary], frames: int, trim_mixed: bool) -> Iterator[_Shot]:
    start, edge = 0, "file end"
    for boundary in sorted(boundaries):
        end, following = _sides(boundary, trim_mixed)
        kind = boundary.kind.split("_", 1)[0]
        if end > start:
            yield _Shot(start, min(end, frames), edge, kind)  # type: ignore[arg-type]
        start, edge = max(start, following), kind
    if frames > start:
        yield _Shot(start, frames, edge, "file end")  # type: ignore[arg-type]


def _sides(boundary: Boundary, trim_mixed: bool) -> tuple[int, int]:
    """Where the shot before a boundary ends and the one after it starts.

    Mixed frames belong to nobody when they are trimmed; otherwise those of a fade belong to its
    picture and those of a dissolve are shared out in the middle.
    """
    if boundary.kind == "cut":
        return boundary.frame, boundary.frame
    after = boundary.end_frame + 1
    if trim_mixed:
        return boundary.frame, after
    if boundary.kind == "fade_in":
        return boundary.frame, boundary.frame
    if boundary.kind == "fade_out":
        return after, after
    middle = (boundary.frame + after) // 2
    return middle, middle


def _stitched(shots: list[_Shot], signals: VideoSignals, most_s: float) -> list[_Shot]:
    """Shots whose picture is back after something short, joined over it.

    The last frame before and the first after the interruption are compared, and the interruption's
    middle is what they must differ from.
    """
    looks = Looks(signals)
    joined: list[_Shot] = []
    for shot in shots:
        while len(joined) >= 2 and _continues(looks, joined[-2], joined[-1], shot, signals, most_s):
            joined.pop()
            shot = replace(shot, start=joined[-1].start, starts_with=joined.pop().starts_with)
        joined.append(shot)
    return joined


def _continues(
    looks: Looks, before: _Shot, between: _Shot, after: _Shot, signals: VideoSignals, most_s: float
) -> bool:
    gap = signals.boundary_pts(after.start) - signals.boundary_pts(before.end)
    if gap * float(signals.time_base) > most_s:
        return False
    frames = before.end - 1, after.start, (between.start + between.end) // 2
    return bool(looks.same(*(np.array([frame]) for frame in frames))[0])


def _trimmed(shot: _Shot, signals: VideoSignals, trim_s: float) -> _Shot:
    ticks = ceil(trim_s / float(signals.time_base) - 1e-9)
    start, end = shot.start, shot.end
    if shot.starts_with != "file end":
        start = int(np.searchsorted(signals.pts, signals.boundary_pts(start) + ticks))
    if shot.ends_with != "file end":
        end = int(np.searchsorted(signals.pts, signals.boundary_pts(end) - ticks, "right")) - 1
    return replace(shot, start=start, end=max(start, end))


def _of_allowed_length(
    shot: _Shot, signals: VideoSignals, settings: SegmentSettings
) -> Iterator[_Shot]:
    too_long = settings.max_s is not None and _seconds(shot, signals) > settings.max_s
    if not too_long or settings.long_shot == "keep":
        yield shot
    elif settings.long_shot == "split" and settings.max_s is not None:
        yield from _split(shot, signals, settings.max_s)


def _split(shot: _Shot, signals: VideoSignals, max_s: float) -> Iterator[_Shot]:
    """Equal parts, as few as keep each within `max_s`.

    Parts begin on frames, so an even share of the time may end a frame late; then one part more
    is made.
    """
    parts = ceil(_seconds(shot, signals) / max_s)
    first, last = signals.boundary_pts(shot.start), signals.boundary_pts(shot.end)
    while True:
        wanted = first + (last - first) * np.arange(1, parts) / parts
        inner = np.searchsorted(signals.pts[shot.start : shot.end], wanted) + shot.start
        edges = [shot.start, *np.unique(inner).tolist(), shot.end]
        cuts: list[_Shot] = [
            _Shot(
                start,
                end,
                shot.starts_with if start == shot.start else "split",
                shot.ends_with if end == shot.end else "split",
            )
            for start, end in pairwise(edges)
            if end > start
        ]
        if parts >= shot.end - shot.start or all(_seconds(part, signals) <= max_s for part in cuts):
            yield from cuts
            return
        parts += 1


def _seconds(shot: _Shot, signals: VideoSignals) -> float:
    ticks = signals.boundary_pts(shot.end) - signals.boundary_pts(shot.start)
    return float(ticks * signals.time_base)


def _clip(shot: _Shot, signals: VideoSignals) -> ClipSpan:
    return ClipSpan(
        shot.start,
        shot.end,
        signals.boundary_pts(shot.start),
        signals.boundary_pts(shot.end),
        shot.starts_with,
        shot.ends_with,
    )
