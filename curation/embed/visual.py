"""Clips as vectors by what they look like and how they move, without a model.

From stored pictures and signals: which colours, where light and colour lie, which way edges run in
each part of the picture, and how camera and subjects move. Clips of one place, one look or one kind
of camera move lie near each other; what is shown it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.choose_frames import pictures
from curation.embed.base import Embedder, Item, Vectors, unit
from curation.operators.base import Clip

__all__ = ["Visual"]

FRAMES = 8
SIDE = 64
CELLS = 4
COLOURS = 4
DIRECTIONS = 8
_WEIGHTS = (1.0, 1.0, 1.0, 0.7)
"""Of colours, layout, edges and motion."""
_MOVES = ("pan", "tilt", "zoom", "roll", "motion", "residual_motion")
_LARGE_MOVE = np.array([2.0, 2.0, 1.0, 1.0, 3.0, 2.0], np.float32)
_LEAST_CONTRAST = 4.0

Picture = NDArray[np.uint8]


class Visual(Embedder):
    """Colours, layout, edges and motion."""

    name = "visual"
    revision = "1"
    needs = "pictures"
    serves = ()

    def embed(self, items: Sequence[Item]) -> Vectors:
        return np.stack([_vector(item.clip) for item in items])


def _vector(clip: Clip) -> NDArray[np.float32]:
    shown = _shown(clip)
    if not shown:
        return np.full(_dims(), np.nan, np.float32)
    small = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in shown]
    looks = [
        np.mean([look(image) for image in small], axis=0) for look in (_colours, _layout, _edges)
    ]
    parts = [
        unit(part) * weight for part, weight in zip([*looks, _moves(clip)], _WEIGHTS, strict=True)
    ]
    return unit(np.concatenate(parts))


def _dims() -> int:
    return COLOURS**3 + CELLS**2 * 3 + CELLS**2 * DIRECTIONS + 2 * len(_MOVES)


def _shown(clip: Clip) -> list[Picture]:
    """Pictures of a clip: stored ones, or the thumbnails of one too short to have any."""
    stored = [item.rgb() for item in pictures(clip, count=FRAMES)]
    if stored or clip.source_signals is None:
        return stored
    thumbs = clip.source_signals.thumbs[clip.span]
    at = np.linspace(0, len(thumbs) - 1, min(FRAMES, len(thumbs))).astype(int)
    return [np.repeat(thumbs[k][:, :, None], 3, axis=2) for k in at]


def _colours(image: Picture) -> NDArray[np.float32]:
    """Root of the shares of a coarse colour cube, against an even spread."""
    bins = (image // (256 // COLOURS)).astype(np.int64) @ np.array([COLOURS**2, COLOURS, 1])
    shares = np.bincount(bins.ravel(), minlength=COLOURS**3) / bins.size
    return np.sqrt(shares).astype(np.float32) - np.float32(COLOURS**-1.5 / 2)


def _layout(image: Picture) -> NDArray[np.float32]:
    """Lightness and two opponent colours of each cell, around mid grey."""
    lab = cv2.cvtColor(
        cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB
    )
    return ((lab.astype(np.float32) - 128) / 128 * np.array([1, 2, 2], np.float32)).ravel()


def _edges(image: Picture) -> NDArray[np.float32]:
    """In each cell, how much contrast runs in which direction."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    strength[strength < _LEAST_CONTRAST] = 0.0
    turn = (np.arctan2(down, across) % np.pi) / np.pi
    direction = np.minimum((turn * DIRECTIONS).astype(np.int64), DIRECTIONS - 1)
    row, column = np.indices(grey.shape) * CELLS // SIDE
    place = (row * CELLS + column) * DIRECTIONS + direction
    sums = np.bincount(place.ravel(), strength.ravel(), CELLS**2 * DIRECTIONS)
    roots = np.sqrt(sums).astype(np.float32)
    return roots - roots.mean()


def _moves(clip: Clip) -> NDArray[np.float32]:
    """Mean and spread of camera and subject motion, large moves held back."""
    if clip.source_signals is None or clip.span.stop - clip.span.start < 2:
        return np.zeros(2 * len(_MOVES), np.float32)
    found = []
    for name, large in zip(_MOVES, _LARGE_MOVE, strict=True):
        values = np.nan_to_num(clip.changes(name).astype(np.float32)) / large
        found += [np.tanh(values.mean()), np.tanh(values.std())]
    return np.array(found, np.float32)
