"""From boundaries to clips: trimming, joining, minimum and maximum length.

Every step works on frame numbers, for all shots of a video at once; times are those of the frames.
A clip ends where its next frame begins, and the last one where the video ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.segment.base import Boundary
from curation.segment.looks import Looks
from curation.segment.registry import run_detector
from curation.segment.settings import SegmentSettings
from curation.signals import VideoSignals

__all__ = ["EDGES", "ClipSpan", "ClipTable", "Edge", "clip_table", "detect", "segment", "spans"]

Edge = Literal["file end", "split", "cut", "dissolve", "fade"]

_FILE_END, _SPLIT, _CUT, _DISSOLVE, _FADE_IN, _FADE_OUT = range(6)
_CODES = {"cut": _CUT, "dissolve": _DISSOLVE, "fade_in": _FADE_IN, "fade_out": _FADE_OUT}

EDGES: tuple[Edge, ...] = ("file end", "split", "cut", "dissolve", "fade", "fade")
"""What each code of a `ClipTable` stands for."""

Frames = NDArray[np.int64]
Codes = NDArray[np.int8]


class ClipSpan(NamedTuple):
    """One clip: frames and times, the end exclusive."""

    start_frame: int
    end_frame: int
    start_pts: int
    end_pts: int
    starts_with: Edge
    ends_with: Edge


@dataclass(frozen=True, slots=True)
class ClipTable:
    """The clips of one video as columns; edges are positions in `EDGES`."""

    start_frame: Frames
    end_frame: Frames
    start_pts: Frames
    end_pts: Frames
    starts_with: Codes
    ends_with: Codes

    def __len__(self) -> int:
        return len(self.start_frame)

    def rows(self) -> list[ClipSpan]:
        """The same, one object per clip."""
        numbers = (self.start_frame, self.end_frame, self.start_pts, self.end_pts)
        edges = ([EDGES[code] for code in codes] for codes in (self.starts_with, self.ends_with))
        columns = [column.tolist() for column in numbers]
        return [ClipSpan(*row) for row in zip(*columns, *edges, strict=True)]


class _Shots(NamedTuple):
    start: Frames
    end: Frames
    opens: Codes
    closes: Codes

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> _Shots:
        return _Shots(self.start[chosen], self.end[chosen], self.opens[chosen], self.closes[chosen])


def detect(signals: VideoSignals, settings: SegmentSettings) -> list[Boundary]:
    """Boundaries of one video, by the detector of `settings`."""
    return run_detector(settings.detector, signals, settings.detector_settings())


def segment(signals: VideoSignals, settings: SegmentSettings) -> ClipTable:
    """Clips of one video: boundaries, then the rules of `settings`."""
    return clip_table(detect(signals, settings), signals, settings)


def spans(
    boundaries: Sequence[Boundary], signals: VideoSignals, settings: SegmentSettings
) -> list[ClipSpan]:
    """Clips between boundaries, in order, one object each."""
    return clip_table(boundaries, signals, settings).rows()


def clip_table(
    boundaries: Sequence[Boundary], signals: VideoSignals, settings: SegmentSettings
) -> ClipTable:
    """Clips between boundaries, in order."""
    edges = np.append(signals.pts, signals.end_pts)
    shots = _between(boundaries, len(signals), settings.trim_mixed)
    if settings.stitch_s > 0:
        shots = _stitched(shots, signals, _ticks(settings.stitch_s, signals, floor))
    if settings.trim_s > 0:
        shots = _trimmed(shots, edges, _ticks(settings.trim_s, signals, ceil))
    if settings.max_s is not None and settings.long_shot != "keep":
        most = _ticks(settings.max_s, signals, floor)
        shots = _shortened(shots, edges, most, split=settings.long_shot == "split")
    length = edges[shots.end] - edges[shots.start]
    shots = shots.take((length > 0) & (length >= _ticks(settings.min_s, signals, ceil)))
    return ClipTable(
        shots.start,
        shots.end,
        edges[shots.start],
        edges[shots.end],
        shots.opens,
        shots.closes,
    )


def _ticks(seconds: float, signals: VideoSignals, rounded: Callable[[Fraction], int]) -> int:
    """Seconds as they are written, in ticks of the video."""
    return rounded(Fraction(str(seconds)) / signals.time_base)


def _between(boundaries: Sequence[Boundary], frames: int, trim_mixed: bool) -> _Shots:
    """Shots between boundaries.

    Mixed frames belong to nobody when they are trimmed; otherwise those of a fade belong to its
    picture and those of a dissolve are shared out in the middle.
    """
    frame, end_frame, kind, _ = zip(*boundaries, strict=True) if boundaries else [()] * 4
    first, after = np.array(frame, np.int64), np.array(end_frame, np.int64) + 1
    kinds = np.array([_CODES[name] for name in kind], np.int8)
    order = np.lexsort((after, first))
    first, after, kinds = first[order], after[order], kinds[order]
    if trim_mixed:
        ends, starts = first, np.where(kinds == _CUT, first, after)
    else:
        middle = (first + after) // 2
        ends = np.select([kinds == _DISSOLVE, kinds == _FADE_OUT], [middle, after], first)
        starts = ends
    opens = np.concatenate([[_FILE_END], kinds]).astype(np.int8)
    closes = np.concatenate([kinds, [_FILE_END]]).astype(np.int8)
    start = np.maximum.accumulate(np.concatenate([[0], starts]))
    end = np.minimum(np.append(ends, frames), frames)
    shots = _Shots(start, end, opens, closes)
    return shots.take(end > start)


def _stitched(shots: _Shots, signals: VideoSignals, most_ticks: int) -> _Shots:
    """Shots whose picture is back after something short, joined over it.

    The last frame before and the first after the interruption are compared, and the middle of the
    interruption is what they must differ from.
    """
    looks = Looks(signals)
    edges = np.append(signals.pts, signals.end_pts)
    groups: list[tuple[int, int]] = []
    for position in range(len(shots.start)):
        groups.append((position, position))
        while len(groups) >= 3:
            (first, before), (away, back), (after, last) = groups[-3:]
            end, start = shots.end[before], shots.start[after]
            if edges[start] - edges[end] > most_ticks:
                break
            middle = (shots.start[away] + shots.end[back]) // 2
            if not looks.same(*(np.array([frame]) for frame in (end - 1, start, middle)))[0]:
                break
            groups[-3:] = [(first, last)]
    firsts, lasts = [first for first, _ in groups], [last for _, last in groups]
    return _Shots(shots.start[firsts], shots.end[lasts], shots.opens[firsts], shots.closes[lasts])


def _trimmed(shots: _Shots, edges: Frames, ticks: int) -> _Shots:
    """Shots without their first and last `ticks`, except at the ends of the file."""
    later = np.searchsorted(edges, edges[shots.start] + ticks)
    earlier = np.searchsorted(edges, edges[shots.end] - ticks, side="right") - 1
    start = np.where(shots.opens == _FILE_END, shots.start, later)
    end = np.where(shots.closes == _FILE_END, shots.end, earlier)
    return shots._replace(start=start, end=end).take(end > start)


def _shortened(shots: _Shots, edges: Frames, most_ticks: int, *, split: bool) -> _Shots:
    """Shots of at most `most_ticks`: longer ones in equal parts, or left out."""
    long = edges[shots.end] - edges[shots.start] > most_ticks
    if not long.any():
        return shots
    if not split:
        return shots.take(~long)
    parts = [shots.take(~long)]
    for position in np.flatnonzero(long).tolist():
        inner = _equal_parts(
            int(shots.start[position]), int(shots.end[position]), edges, most_ticks
        )
        start, end = inner[:-1], inner[1:]
        opens = np.full(len(start), _SPLIT, np.int8)
        closes = opens.copy()
        opens[0], closes[-1] = shots.opens[position], shots.closes[position]
        parts.append(_Shots(start, end, opens, closes))
    joined = _Shots(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return joined.take(np.argsort(joined.start))


def _equal_parts(start: int, end: int, edges: Frames, most_ticks: int) -> Frames:
    """Frames at which a shot is cut: as few parts as keep each within `most_ticks`.

    Parts begin on frames, so an even share of the time may be a frame too long; then one part
    more is made.
    """
    first, last = int(edges[start]), int(edges[end])
    count = -(-(last - first) // most_ticks)
    while True:
        wanted = first + (last - first) * np.arange(1, count) // count
        inner = start + np.searchsorted(edges[start:end], wanted)
        frames = np.unique(np.concatenate([[start], inner, [end]])).astype(np.int64)
        if count >= end - start or np.diff(edges[frames]).max() <= most_ticks:
            return frames
        count += 1
