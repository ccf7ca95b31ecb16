"""Hard cuts where the picture changes by more than a fixed amount.

The cuts of scenedetect's ContentDetector on the same small frames, merge filter included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.segment.base import Boundary, cuts_at
from curation.signals import VideoSignals

__all__ = ["ROUGHNESS", "content_scores", "detect", "merged_cuts", "rough_scores"]

Weights = Sequence[float]

DEFAULT_WEIGHTS = (1.0, 1.0, 1.0, 0.0)
ROUGHNESS = 0.01
_PARTS = ("hue_delta", "sat_delta", "lum_delta", "edge_delta")


def detect(
    signals: VideoSignals,
    *,
    threshold: float = 27.0,
    min_frames: int = 0,
    weights: Weights = DEFAULT_WEIGHTS,
) -> list[Boundary]:
    """Cuts where the weighted mean change reaches `threshold`.

    Args:
        signals: of the video.
        threshold: mean change of hue, saturation and value that makes a cut.
        min_frames: a run of cuts closer than this is merged into its last one.
        weights: of hue, saturation, value and edges.
    """
    likely = np.flatnonzero(rough_scores(signals, weights) >= threshold - ROUGHNESS)
    above = likely[content_scores(signals, likely, weights) >= threshold]
    return cuts_at(signals, merged_cuts(above, len(signals), min_frames))


def rough_scores(signals: VideoSignals, weights: Weights = DEFAULT_WEIGHTS) -> NDArray[np.float32]:
    """Weighted mean change of every frame, within `ROUGHNESS` of the exact one."""
    parts = _weighted_parts(weights)
    scale = np.float32(1.0 / sum(abs(weight) for weight in weights))
    total = signals[parts[0][0]] * (np.float32(parts[0][1]) * scale)
    for name, weight in parts[1:]:
        total += signals[name] * (np.float32(weight) * scale)
    return total


def content_scores(
    signals: VideoSignals, at: NDArray[np.intp], weights: Weights = DEFAULT_WEIGHTS
) -> NDArray[np.float64]:
    """Weighted mean change of the frames `at`, to the last bit.

    Changes are stored as float32 means over a known number of pixels: going back to the integer
    sum gives the exact value again.
    """
    pixels = signals.small_size[0] * signals.small_size[1]
    total = np.zeros(len(at))
    for name, weight in _weighted_parts(weights):
        total += np.rint(np.multiply(signals[name][at], pixels, dtype=np.float64)) / pixels * weight
    return total / sum(abs(weight) for weight in weights)


def _weighted_parts(weights: Weights) -> list[tuple[str, float]]:
    if len(weights) != len(_PARTS) or not any(weights):
        raise UsageError(
            f"content weights {list(weights)}",
            allowed="four numbers for hue, saturation, value and edges, not all zero",
        )
    return [(name, weight) for name, weight in zip(_PARTS, weights, strict=True) if weight]


def merged_cuts(above: NDArray[np.intp], frames: int, min_frames: int) -> list[int]:
    """scenedetect's merge filter, stepping from event to event instead of frame to frame.

    The first cut needs `min_frames` before it. After it, cuts that come too soon open a merge,
    which ends when `min_frames` pass without a change; the last change is then the cut.
    """
    if min_frames <= 0:
        return above.tolist()
    cuts: list[int] = []
    last, merge_start = 0, -1
    for at in [*(int(event) for event in above), None]:
        if merge_start >= 0:
            quiet_from = last + min_frames
            ends = quiet_from < frames if at is None else quiet_from < at
            if ends and last - merge_start >= min_frames:
                cuts.append(last)
                merge_start = -1
        if at is None:
            break
        if merge_start < 0:
            if at - last >= min_frames:
                cuts.append(at)
            elif cuts:
                merge_start = at
        last = at
    return cuts
