"""Cuts where the distribution of luma changes.

The cuts of scenedetect's HistogramDetector (128 bins) on the same small frames.
"""

from __future__ import annotations

import numpy as np

from curation.segment.base import Boundary, cuts_at, spaced
from curation.signals import VideoSignals

__all__ = ["detect"]


def detect(signals: VideoSignals, *, threshold: float = 0.2, min_frames: int = 0) -> list[Boundary]:
    """Cuts where the correlation of neighbouring histograms falls to `1 - threshold`.

    Args:
        signals: of the video.
        threshold: loss of correlation that makes a cut, 0 to 1.
        min_frames: cuts sooner than this after the last one are dropped.
    """
    most = max(0.0, min(1.0, 1.0 - threshold))
    candidates = 1 + np.flatnonzero(signals["hist_correlation"][1:] <= np.float64(most))
    return cuts_at(signals, spaced(candidates, min_frames))
