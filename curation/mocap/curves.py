"""Curves over time: rates, smoothing, and reductions over joints that respect gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "largest_seen",
    "longest_run",
    "mean_seen",
    "median_seen",
    "rate",
    "runs",
    "smoothed",
]

Array = npt.NDArray[np.floating]


def rate(values: Array, fps: float) -> Array:
    """Change per second by central differences, one-sided at the ends."""
    return np.gradient(values, 1 / fps, axis=0) if len(values) > 1 else np.zeros_like(values)


def smoothed(values: Array, fps: float, sigma_s: float) -> Array:
    """Gaussian smoothing over time that leaves gaps as they are; edges are held."""
    sigma = sigma_s * fps
    if sigma < 0.3 or len(values) < 3:
        return values.copy()
    radius = min(int(3 * sigma + 0.5), len(values) - 1)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    flat = values.reshape(len(values), -1)
    padded = np.concatenate([np.repeat(flat[:1], radius, 0), flat, np.repeat(flat[-1:], radius, 0)])
    total = np.zeros_like(flat)
    for shift, weight in enumerate(weights):
        total += weight * padded[shift : shift + len(flat)]
    return total.reshape(values.shape)


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches of True as [start, end) pairs."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def longest_run(flags: npt.NDArray[np.bool_]) -> int:
    """Frames of the longest stretch of True."""
    return max((end - start for start, end in runs(flags)), default=0)


def mean_seen(values: Array) -> Array:
    """The mean over axis 1 of what was seen."""
    return _reduced(values, np.nanmean)


def median_seen(values: Array) -> Array:
    """The median over axis 1 of what was seen."""
    return _reduced(values, np.nanmedian)


def largest_seen(values: Array) -> Array:
    """The largest value over axis 1 of what was seen."""
    return _reduced(values, np.nanmax)


def _reduced(values: Array, reduction: Callable[..., Any]) -> Array:
    """A reduction over joints that ignores unseen ones and is NaN where none was seen."""
    seen = np.isfinite(values).any(axis=1)
    out = np.full(len(values), np.nan)
    if seen.any():
        out[seen] = reduction(values[seen], axis=1)
    return out
