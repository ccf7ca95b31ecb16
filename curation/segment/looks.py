"""Comparing any two frames by their stored thumbnails."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curation.signals import VideoSignals

__all__ = ["Looks", "flat", "frame_rate", "likeness"]

_FLAT_STD = 6.0
_LEAST_SCALE = 1e-3
_SAME_LOOK = 0.4
_SAME_LIKENESS = 0.7


class Looks:
    """Thumbnails of a video as vectors."""

    def __init__(self, signals: VideoSignals):
        self._vectors = signals.thumbs.reshape(len(signals), -1)

    def __len__(self) -> int:
        return len(self._vectors)

    def at(self, frames: NDArray[np.intp]) -> NDArray[np.float32]:
        """(n, samples) luma of the given frames; those outside the video are its ends."""
        return self._vectors[np.clip(frames, 0, len(self) - 1)].astype(np.float32)

    def pairs(
        self, one: slice, two: slice
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Distance, likeness, and whether either picture is flat, for two rows of frames."""
        first, second = (self._vectors[row].astype(np.float32) for row in (one, two))
        dot = np.einsum("nk,nk->n", first, second) / np.float32(first.shape[1])
        mean_one, mean_two = self._means[one], self._means[two]
        square_one, square_two = self._squares[one], self._squares[two]
        distance = np.sqrt(np.maximum(square_one + square_two - 2 * dot, 0))
        spread_one = np.sqrt(np.maximum(square_one - mean_one**2, 0))
        spread_two = np.sqrt(np.maximum(square_two - mean_two**2, 0))
        alike = (dot - mean_one * mean_two) / (spread_one * spread_two + _LEAST_SCALE)
        return distance, alike, np.minimum(spread_one, spread_two) < _FLAT_STD

    @cached_property
    def _means(self) -> NDArray[np.float32]:
        return self._vectors.mean(axis=1, dtype=np.float32)

    @cached_property
    def _squares(self) -> NDArray[np.float32]:
        vectors = self._vectors.astype(np.float32)
        return np.einsum("nk,nk->n", vectors, vectors) / np.float32(vectors.shape[1])

    def distance(self, one: NDArray[np.intp], two: NDArray[np.intp]) -> NDArray[np.float32]:
        """Root mean square difference of luma between pairs of frames."""
        return np.sqrt(np.mean((self.at(one) - self.at(two)) ** 2, axis=1))

    def same(
        self, one: NDArray[np.intp], two: NDArray[np.intp], other: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Whether `two` shows what `one` shows, when `other` shows something else."""
        first, second = self.at(one), self.at(two)
        near = self.distance(one, two) < _SAME_LOOK * self.distance(one, other)
        alike = likeness(first, second) > _SAME_LIKENESS
        return near & (alike | (flat(first) & flat(second)))


def flat(pictures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pictures are one colour, as black and white are."""
    return pictures.std(axis=1) < _FLAT_STD


def likeness(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlation of pairs of pictures, whatever their brightness and contrast; flat ones: 0."""
    left = one - one.mean(axis=1, keepdims=True)
    right = two - two.mean(axis=1, keepdims=True)
    scale = np.sqrt((left * left).mean(axis=1) * (right * right).mean(axis=1))
    return (left * right).mean(axis=1) / (scale + _LEAST_SCALE)


def frame_rate(signals: VideoSignals) -> float:
    """Typical frames per second."""
    if len(signals) < 2:
        return 1.0
    return 1.0 / (float(np.median(np.diff(signals.pts))) * float(signals.time_base))
