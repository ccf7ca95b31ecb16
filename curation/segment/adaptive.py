"""Hard cuts where the picture changes much more than in the frames around.

The cuts of scenedetect's AdaptiveDetector on the same small frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.segment.base import Boundary, cuts_at, spaced
from curation.segment.content import DEFAULT_WEIGHTS, Weights, content_scores
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
    scores = content_scores(signals, weights)
    if len(scores) <= 2 * window:
        return []
    candidates = window + np.flatnonzero(scores[window:-window] >= min_content)
    ratio = _ratios(scores, candidates, window)
    return cuts_at(signals, spaced(candidates[ratio >= threshold], min_frames))


def _ratios(scores: NDArray[np.float64], at: NDArray[np.intp], window: int) -> NDArray[np.float64]:
    """Score over the mean of its neighbours, for the frames `at`."""
    around = np.zeros(len(at))
    for step in (*range(-window, 0), *range(1, window + 1)):
        around += scores[at + step]
    around /= 2.0 * window
    moving = np.abs(around) >= _STILL
    ratio = np.full(len(at), _MOST)
    np.divide(scores[at], around, out=ratio, where=moving)
    return np.minimum(ratio, _MOST)
