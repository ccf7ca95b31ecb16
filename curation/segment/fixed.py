"""Shots of equal length in seconds, whatever they show."""

from __future__ import annotations

from math import ceil

import numpy as np

from catalogs.errors import UsageError
from curation.segment.base import Boundary, cuts_at
from curation.signals import VideoSignals

__all__ = ["detect"]


def detect(signals: VideoSignals, *, every_s: float = 10.0) -> list[Boundary]:
    """A cut at the first frame of every further `every_s` seconds.

    Args:
        signals: of the video.
        every_s: length of a shot.
    """
    if every_s <= 0:
        raise UsageError(f"shots of {every_s} s", allowed="every_s above 0")
    start = int(signals.pts[0])
    step = every_s / float(signals.time_base)
    count = ceil((signals.end_pts - start) / step)
    wanted = start + np.ceil(np.arange(1, count) * step - 1e-6)
    frames = np.unique(np.searchsorted(signals.pts, wanted))
    return cuts_at(signals, frames[(frames > 0) & (frames < len(signals))])
