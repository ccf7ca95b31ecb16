"""Unit vectors divided into regions around centres: spherical k-means.

Beginnings are fixed by the vectors and their order, so the same vectors give the same regions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curation.embed.base import Vectors, unit

__all__ = ["best_regions", "nearest_centre", "regions"]

_BLOCK = 8192
ROUNDS = 8
ATTEMPTS = 4


def regions(
    vectors: Vectors, count: int, rounds: int = ROUNDS, *, starts: Vectors | None = None
) -> tuple[Vectors, NDArray[np.int64]]:
    """(count, dims) centres of length one, and the nearest one of each vector."""
    count = min(count, len(vectors))
    if starts is None:
        starts = vectors[np.linspace(0, len(vectors) - 1, count).astype(np.int64)]
    centres = starts.astype(np.float32)
    for _ in range(rounds):
        order, firsts, filled = _members(nearest_centre(vectors, centres), count)
        centres[filled] = unit(np.add.reduceat(vectors[order], firsts, axis=0))
    return centres, nearest_centre(vectors, centres)


def best_regions(vectors: Vectors, count: int) -> tuple[Vectors, NDArray[np.int64]]:
    """The tightest of some attempts, each begun with vectors far from each other (k-means++)."""
    count = min(count, len(vectors))
    found = []
    for seed in range(ATTEMPTS):
        centres, region = regions(vectors, count, starts=_far_apart(vectors, count, seed))
        found.append((float(np.einsum("nd,nd->", vectors, centres[region])), centres, region))
    _, centres, region = max(found, key=lambda attempt: attempt[0])
    return centres, region


def _far_apart(vectors: Vectors, count: int, seed: int) -> Vectors:
    random = np.random.default_rng(seed)
    chosen = [int(random.integers(len(vectors)))]
    distance = np.full(len(vectors), 2.0)
    while len(chosen) < count:
        distance = np.minimum(distance, np.maximum(1 - vectors @ vectors[chosen[-1]], 0.0))
        total = distance.sum()
        at = random.uniform(0, total) if total > 0 else 0.0
        chosen.append(min(int(np.searchsorted(np.cumsum(distance), at)), len(vectors) - 1))
    return vectors[chosen]


def nearest_centre(vectors: NDArray[np.floating], centres: Vectors) -> NDArray[np.int64]:
    """For each vector, of float16 or wider, the centre with the highest cosine."""
    parts = [
        (vectors[first : first + _BLOCK].astype(np.float32) @ centres.T).argmax(axis=1)
        for first in range(0, len(vectors), _BLOCK)
    ]
    return np.concatenate(parts)


def _members(
    region: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Vectors by region, where each region begins among them, and the regions that have any."""
    order = np.argsort(region, kind="stable")
    sizes = np.bincount(region, minlength=count)
    filled = np.flatnonzero(sizes)
    return order, (np.cumsum(sizes) - sizes)[filled], filled
