"""Mean and spread of feature vectors, saved with the data that they belong to.

Published normalisation gives every part of a vector one standard deviation: the mean of its
columns' own. HumanML3D's evaluator moreover divides that of root and contacts by 5
(`feature_bias`). The two sets look alike and swapping them ruins results quietly, so the bias
and the layout travel in the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap.amass import load_arrays
from curation.mocap.features import columns, layout_for_width
from curation.mocap.features272 import WIDTH as WIDTH_272
from curation.mocap.layouts import SMPL24

__all__ = ["FeatureStats", "feature_stats", "groups"]

Array = npt.NDArray[np.floating]
_SMALLEST_STD = 1e-8


@dataclass(frozen=True, eq=False)
class FeatureStats:
    """What `normalise` subtracts and divides by."""

    mean: Array
    std: Array
    frames: int = 0
    """Frames that the statistics were taken over; 0 when they came from elsewhere."""
    feature_bias: float = 1.0
    """By how much the std of root and contacts was divided."""

    def normalise(self, vectors: Array) -> Array:
        return (vectors - self.mean) / self.std

    def denormalise(self, vectors: Array) -> Array:
        return vectors * self.std + self.mean

    def biased(self, feature_bias: float = 5.0) -> FeatureStats:
        """The evaluator's statistics: root and contacts weigh `feature_bias` times as much."""
        if self.feature_bias != 1.0:
            raise UsageError(f"these statistics already have a bias of {self.feature_bias:g}")
        std = self.std.copy()
        parts = groups(len(std))
        for part in (*parts[:3], parts[-1]):
            std[part] /= feature_bias
        return replace(self, std=std, feature_bias=feature_bias)

    def save(self, path: Path) -> None:
        """Write an npz that `load` reads without pickles."""
        np.savez(
            path, mean=self.mean, std=self.std, frames=self.frames, feature_bias=self.feature_bias
        )

    @classmethod
    def load(cls, path: Path) -> FeatureStats:
        arrays = load_arrays(path)
        if "mean" not in arrays or "std" not in arrays:
            raise UsageError(f"{path} holds no statistics", allowed="an npz with mean and std")
        return cls(
            mean=arrays["mean"],
            std=arrays["std"],
            frames=int(arrays.get("frames", np.array(0))),
            feature_bias=float(arrays.get("feature_bias", np.array(1.0))),
        )


def groups(width: int) -> list[slice]:
    """The columns that share one standard deviation."""
    if width == WIDTH_272:
        bounds = [0, 2, 8, 74, 140, WIDTH_272]
        return [slice(a, b) for a, b in pairwise(bounds)]
    if width == 3 * len(SMPL24):
        # published statistics of bare positions are per joint and axis
        return [slice(i, i + 1) for i in range(width)]
    parts = columns(layout_for_width(width))
    return [
        *(slice(0, 1), slice(1, 3), slice(3, 4), parts.positions),
        *(parts.rotations, parts.velocities, parts.contacts),
    ]


def feature_stats(clips: Iterable[Array]) -> FeatureStats:
    """Group-averaged statistics of many clips' vectors, in one pass over them."""
    count, total, squares = 0, np.zeros(0), np.zeros(0)
    for clip in clips:
        if not count:
            total, squares = np.zeros(clip.shape[1]), np.zeros(clip.shape[1])
        wide = clip.astype(np.float64)
        count += len(wide)
        total += wide.sum(axis=0)
        squares += (wide**2).sum(axis=0)
    if not count:
        raise UsageError("no clips to take statistics of", allowed="at least one clip")
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std = np.empty_like(spread)
    for part in groups(len(spread)):
        std[part] = max(float(spread[part].mean()), _SMALLEST_STD)
    return FeatureStats(mean.astype(np.float32), std.astype(np.float32), count)
