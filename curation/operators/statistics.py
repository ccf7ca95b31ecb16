"""Small statistics that operators share; each gives NaN where there is nothing to measure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.operators.base import Clip

__all__ = ["frame_rate", "mean", "median", "percentile", "runs", "share", "smoothed"]

Series = NDArray[Any]


def frame_rate(clip: Clip) -> float:
    """Mean frames per second."""
    return (clip.span.stop - clip.span.start) / max(clip.seconds, 1e-6)


def _finite(values: Series) -> Series:
    return values[np.isfinite(values)]


def mean(values: Series) -> float:
    known = _finite(values)
    return float(known.mean()) if known.size else float("nan")


def median(values: Series) -> float:
    known = _finite(values)
    return float(np.median(known)) if known.size else float("nan")


def percentile(values: Series, percent: float) -> float:
    known = _finite(values)
    return float(np.percentile(known, percent)) if known.size else float("nan")


def share(flags: Series) -> float:
    """Share of true values."""
    return float(np.count_nonzero(flags) / len(flags)) if len(flags) else float("nan")


def runs(flags: Series) -> list[tuple[int, int]]:
    """Stretches `[first, last)` of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.asarray(flags, np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def smoothed(values: Series, width: int) -> Series:
    """Centred moving average; the ends repeat."""
    width = max(1, min(width, len(values)) | 1)
    if width == 1 or len(values) < 2:
        return np.asarray(values, np.float64)
    padded = np.pad(np.asarray(values, np.float64), width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")[: len(values)]
