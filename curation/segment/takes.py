"""Clips of a take, by the same settings as clips of a video.

The detector `none` keeps a take whole and `fixed` cuts windows; every other detector looks for
changes of activity. Rest and T-poses at both ends are left out, unless that leaves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.mocap.boundaries import BoundaryOptions, Segment, fixed_windows, segments, trim_rest
from curation.segment.settings import SegmentSettings
from curation.segment.spans import ClipSpan, Edge

__all__ = ["TAKE_DETECTOR", "take_spans"]

TAKE_DETECTOR = "activity@1"

_EDGES: dict[str, Edge] = {
    "take start": "file end",
    "take end": "file end",
    "change": "cut",
    "split": "split",
}


def take_spans(
    signals: Mapping[str, NDArray[Any]], fps: float, settings: SegmentSettings
) -> list[ClipSpan]:
    """Clips of one take; a tick of its clock is a frame."""
    start, end = trim_rest(signals, fps)
    if end <= start:
        start, end = 0, len(signals["pose_change_m_s"])
    clips = []
    for part in _parts(signals, fps, start, end, settings):
        length_s = (part.end - part.start) / fps
        too_long = settings.max_s is not None and length_s > settings.max_s + 1 / fps
        if length_s < settings.min_s or (too_long and settings.long_shot == "drop"):
            continue
        clips.append(_clip(part))
    return clips


def _parts(
    signals: Mapping[str, NDArray[Any]], fps: float, start: int, end: int, settings: SegmentSettings
) -> Sequence[Segment]:
    if settings.detector == "fixed":
        length_s = float(settings.options.get("every_s", 10.0))
        windows = fixed_windows(start, end, fps, length_s) or [(start, end)]
        return [Segment(a, b, "active", "split", "split") for a, b in windows]
    split_s = settings.max_s if settings.long_shot == "split" else None
    # With a threshold that nothing reaches, only rest and the longest length divide the take.
    threshold = np.inf if settings.detector == "none" else BoundaryOptions.threshold
    options = BoundaryOptions(max_s=split_s, threshold=float(threshold))
    found = segments(signals, fps, start, end, options)
    if settings.detector == "none" and split_s is None:
        return [Segment(start, end, "active", "take start", "take end")]
    moving = [part for part in found if part.kind == "active"]
    return moving or found


def _clip(part: Segment) -> ClipSpan:
    return ClipSpan(
        part.start, part.end, part.start, part.end, _EDGES[part.starts_with], _EDGES[part.ends_with]
    )
