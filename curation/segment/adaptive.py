"""Hard cuts where the picture changes much more than in the frames around.

The cuts of scenedetect's AdaptiveDetector on the same small frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.segment.base import Boundary, cuts_at, spaced
from curation.segment.content import (
    DEFAULT_WEIGHTS,
    ROUGHNESS,
    Weights,
    content_scores,
    rough_scores,
)
from curation.signals import VideoSignals

__all__ = ["detect"]

_MOST = 255.0
_STILL = 1e-5


def detect(
    signals: VideoSignals,
    *,
    threshold: float = 3.0,
    min_frames: int = 0,
    window: int = 2,
    min_content: float = 15.0,
    weights: Weights = DEFAULT_WEIGHTS,
) -> list[Boundary]:
    """Cuts where a frame's change is `threshold` times the mean change around it.

    Args:
        signals: of the video.
        threshold: ratio that makes a cut.
        min_frames: cuts sooner than this after the last one are dropped.
        window: frames on either side that make the mean.
        min_content: change below this is never a cut.
        weights: of hue, saturation, value and edges.
    """
    if window < 1:
        raise UsageError(f"a window of {window} frames", allowed="at least 1")
    rough = rough_scores(signals, weights)[window : len(signals) - window]
    at = window + np.flatnonzero(rough >= min_content - ROUGHNESS)
    steps = np.arange(-window, window + 1)
    around = content_scores(signals, (at[:, None] + steps).ravel(), weights)
    around = around.reshape(len(at), len(steps))
    is_cut = (_ratios(around) >= threshold) & (around[:, window] >= min_content)
    return cuts_at(signals, spaced(at[is_cut], min_frames))


def _ratios(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score of the middle frame of each row over the mean of the others."""
    window = scores.shape[1] // 2
    total = np.zeros(len(scores))
    for column in (*range(window), *range(window + 1, 2 * window + 1)):
        total += scores[:, column]
    mean = total / (2.0 * window)
    ratio = np.full(len(scores), _MOST)
    np.divide(scores[:, window], mean, out=ratio, where=np.abs(mean) >= _STILL)
    return np.minimum(ratio, _MOST)
