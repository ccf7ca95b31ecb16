"""Which frames make each window of a clip, from timestamps that the catalog already holds.

Resampling is exact: the sample at time t is the frame that is on screen at t, the last one whose
timestamp is not after it. Nothing is opened to know it, so a plan for a whole corpus reads stored
signals only, and the reader decodes exactly what the plan names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from catalogs.timebase import Span
from tokenize_jobs.shards import Window
from tokenize_jobs.transform import Transform

__all__ = ["FrameWindow", "clip_windows", "sample_count", "sample_ticks"]


@dataclass(frozen=True, eq=False, slots=True)
class FrameWindow:
    """A window, and the timestamp of the frame shown at each of its samples (repeats allowed)."""

    window: Window
    pts: NDArray[np.int64]


def sample_count(span: Span, fps: Fraction) -> int:
    """How many samples a span has: the first at its start, none at its end."""
    return math.ceil(span.duration * fps)


def sample_ticks(span: Span, fps: Fraction) -> NDArray[np.int64]:
    """The whole ticks at or before each sampling instant of a span, the first at its start."""
    ticks_a_sample = 1 / (fps * span.time_base)
    steps = np.arange(sample_count(span, fps), dtype=object) * ticks_a_sample.numerator
    return span.start_pts + (steps // ticks_a_sample.denominator).astype(np.int64)


def clip_windows(
    clip_id: str, span: Span, pts: NDArray[np.int64], fps: Fraction | None, transform: Transform
) -> Iterator[FrameWindow]:
    """The windows of one clip.

    Args:
        clip_id: of the clip.
        span: the clip's exact time.
        pts: timestamps of the source's frames, ascending.
        fps: the source's own average rate, told where the transform keeps it.
        transform: rate and windows.
    """
    inside = pts[np.searchsorted(pts, span.start_pts) : np.searchsorted(pts, span.end_pts)]
    if not len(inside):
        raise UsageError(f"clip {clip_id} has no frame between {span.start_pts} and {span.end_pts}")
    if transform.fps is None:
        shown = starts = inside
    else:
        starts = sample_ticks(span, transform.fps)
        shown = inside[np.maximum(np.searchsorted(inside, starts, side="right") - 1, 0)]
    ends = np.append(starts[1:], span.end_pts)
    rate = float(transform.fps or fps or 0)
    for index, (start, end) in enumerate(transform.windows(len(shown))):
        exact = Span(int(starts[start]), int(ends[end - 1]), span.time_base)
        window = Window(clip_id, index, exact, end - start, rate, transform.hash)
        yield FrameWindow(window, shown[start:end])
