"""Measurements of every small frame against the one before it, a batch at a time.

The first six are what scenedetect's detectors compute from the same frames, to the last bit: HSV
changes (content, adaptive), edges (optional there and here), mean of all samples (threshold),
luma histograms (histogram) and the DCT hash (hash).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.signals.motion import motion_columns, whole_shifts

__all__ = ["Batch", "hash_bits", "measure_pairs", "thumbnails"]

HIST_BINS = 128
HASH_SIDE = 8
HASH_LOWPASS = 2

_DARK_BINS = 16 * HIST_BINS // 256
_BRIGHT_BINS = 236 * HIST_BINS // 256
_EDGE_SIGMA = 1.0 / 3.0
_CHANGED = 8

Frames = NDArray[np.uint8]
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames, the first of which is only there to compare with, and what is made of them once."""

    frames: Frames
    """(n + 1, h, w, 3) RGB, h and w multiples of 8."""
    luma: Frames
    half: Frames
    quarter: Frames

    @classmethod
    def of(cls, frames: Frames) -> Self:
        half = _halved(frames)
        return cls(frames, _converted(frames, cv2.COLOR_RGB2GRAY), half, _halved(half))


def measure_pairs(batch: Batch, *, edges: bool) -> Columns:
    """Columns for `batch.frames[1:]`, each measured against its predecessor.

    Args:
        batch: the frames.
        edges: measure `edge_delta`, which costs half as much as all the rest.
    """
    frames, luma = batch.frames, batch.luma
    hsv = _converted(frames, cv2.COLOR_RGB2HSV)
    half_luma = _converted(batch.half, cv2.COLOR_RGB2GRAY).astype(np.float32)
    shifts = whole_shifts(half_luma)
    columns: Columns = {
        **_hsv_changes(hsv),
        "rgb_mean": _sample_sums(frames[1:]).sum(1) / float(np.prod(frames.shape[1:])),
        "phash": _hashes(luma[1:]),
        **_luma_statistics(luma[1:]),
        **_histogram_columns(luma),
        **_unexplained(batch.quarter, shifts // 2),
        **motion_columns(half_luma, shifts),
    }
    if edges:
        columns["edge_delta"] = _edge_changes(hsv[..., 2])
    return columns


def thumbnails(batch: Batch) -> Frames:
    """(n, h / 8, w / 8) luma in even values: the last bit is noise and costs space."""
    luma = _converted(_halved(batch.quarter[1:]), cv2.COLOR_RGB2GRAY)
    return luma & np.uint8(0xFE)


def hash_bits(hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n, 64) bits of stored hashes."""
    return np.unpackbits(hashes.astype("<i8").view(np.uint8).reshape(-1, 8), axis=1).astype(bool)


def _as_one_image(frames: Frames) -> Frames:
    """A batch as one tall image: one call of OpenCV instead of one per frame."""
    return frames.reshape(-1, *frames.shape[2:])


def _converted(frames: Frames, code: int) -> Frames:
    out = cv2.cvtColor(_as_one_image(frames), code)
    return out.reshape(*frames.shape[:3], *out.shape[2:])


def _halved(frames: Frames) -> Frames:
    count, height, width = frames.shape[:3]
    size = (width // 2, count * height // 2)
    out = cv2.resize(_as_one_image(frames), size, interpolation=cv2.INTER_AREA)
    return out.reshape(count, height // 2, width // 2, *out.shape[2:])


def _sample_sums(frames: Frames) -> NDArray[np.float64]:
    """(n, 3) exact sums over the samples of each frame."""
    return np.array([cv2.sumElems(frame)[:3] for frame in frames])


def _hsv_changes(hsv: Frames) -> Columns:
    change = cv2.absdiff(_as_one_image(hsv[1:]), _as_one_image(hsv[:-1]))
    mean = _sample_sums(change.reshape(-1, *hsv.shape[1:])) / (hsv.shape[1] * hsv.shape[2])
    return dict(zip(("hue_delta", "sat_delta", "lum_delta"), mean.T, strict=True))


def _luma_statistics(luma: Frames) -> Columns:
    mean, std = np.array([cv2.meanStdDev(frame) for frame in luma]).reshape(-1, 2).T
    return {"luma_mean": mean, "luma_std": std}


def _histogram_columns(luma: Frames) -> Columns:
    counts = [cv2.calcHist([frame], [0], None, [HIST_BINS], [0, 256]) for frame in luma]
    shares = np.stack(counts[1:]).reshape(len(luma) - 1, -1) / (luma.shape[1] * luma.shape[2])
    unit = [cv2.normalize(count, count).ravel() for count in counts]
    return {
        "hist_correlation": np.array(
            [cv2.compareHist(one, two, cv2.HISTCMP_CORREL) for one, two in pairwise(unit)]
        ),
        "dark_share": shares[:, :_DARK_BINS].sum(1),
        "bright_share": shares[:, _BRIGHT_BINS:].sum(1),
    }


def _hashes(luma: Frames) -> NDArray[np.int64]:
    count, side = len(luma), HASH_SIDE * HASH_LOWPASS
    # Frames are multiples of 8 high, so their borders fall between the rows of the tall tile.
    tall = cv2.resize(_as_one_image(luma), (side, count * side), interpolation=cv2.INTER_AREA)
    tiles = tall.reshape(count, side, side).astype(np.float32)
    tiles /= np.maximum(tiles.max((1, 2), keepdims=True), 1)
    low = [cv2.dct(tile)[:HASH_SIDE, :HASH_SIDE] for tile in tiles]
    terms = np.stack(low).reshape(count, -1)
    bits = terms > np.median(terms, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view("<i8").ravel().astype(np.int64)


def _unexplained(tiny: Frames, shifts: NDArray[np.intp]) -> Columns:
    """Change beyond the range of values in each sample's 3 by 3 neighbourhood, both ways.

    Each pair is compared as it is and, where the picture travels, moved back by that shift; the
    smaller change counts.
    """
    height, width = tiny.shape[1:3]
    ranges = _ranges(tiny)
    before, after = ([_as_one_image(part[at]) for part in ranges] for at in (np.s_[:-1], np.s_[1:]))
    change = _excess(before, after).reshape(len(shifts), -1, width)[:, :height]
    values = _means_and_shares(change)
    farthest = np.array((width, height)) // 4
    travels = shifts.any(1) & (np.abs(shifts) <= farthest).all(1)
    for index in np.flatnonzero(travels).tolist():
        one, two = ([part[at, :height] for part in ranges] for at in (index, index + 1))
        moved = _excess(*_overlap(one, two, *shifts[index].tolist()))
        values[index] = min(tuple(values[index]), tuple(_means_and_shares(moved[None])[0]))
    return {"unexplained": values[:, 0], "unexplained_share": values[:, 1]}


def _ranges(tiny: Frames) -> list[Frames]:
    """Frames and the lowest and highest values around each sample, with a row between frames.

    That row keeps the frames of one tall image apart: it is never the lowest nor the highest.
    """
    kernel = np.ones((3, 3), np.uint8)
    above, below = (
        np.pad(tiny, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=value) for value in (255, 0)
    )
    low = cv2.erode(_as_one_image(above), kernel).reshape(above.shape)
    high = cv2.dilate(_as_one_image(below), kernel).reshape(below.shape)
    return [above, low, high]


def _excess(before: Sequence[Frames], after: Sequence[Frames]) -> Frames:
    """Per pixel: how far each frame leaves the range of the other, mean of both ways."""
    ways = []
    for (values, _, _), (_, low, high) in ((after, before), (before, after)):
        ways.append(cv2.max(cv2.subtract(low, values), cv2.subtract(values, high)))
    red, green, blue = cv2.split(cv2.addWeighted(ways[0], 0.5, ways[1], 0.5, 0.0))
    return cv2.max(cv2.max(red, green), blue)


def _means_and_shares(change: Frames) -> NDArray[np.float64]:
    """(n, 2): the mean of each picture, and the share of it that is above `_CHANGED`."""
    flat = change.reshape(len(change), -1)
    means = flat.sum(1, dtype=np.int64) * (1.0 / flat.shape[1])
    return np.stack([means, np.count_nonzero(flat > _CHANGED, axis=1) / flat.shape[1]], axis=1)


def _overlap(
    before: Sequence[Frames], after: Sequence[Frames], dx: int, dy: int
) -> tuple[list[Frames], list[Frames]]:
    """The parts of two frames that show the same when the picture travels by (dx, dy)."""
    height, width = before[0].shape[:2]
    then = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
    now = slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx))
    return [part[then] for part in before], [part[now] for part in after]


def _edge_changes(value: Frames) -> NDArray[np.float64]:
    height, width = value.shape[1:]
    side = 4 + round(math.sqrt(width * height) / 192)
    kernel = np.ones((side | 1, side | 1), np.uint8)
    maps = np.stack([_edges(np.ascontiguousarray(frame), kernel) for frame in value])
    flat = maps.reshape(len(maps), -1)
    return cv2.absdiff(flat[1:], flat[:-1]).mean(axis=1, dtype=np.float64)


def _edges(value: Frames, kernel: Frames) -> Frames:
    median = float(np.median(value))
    low = int(max(0, (1.0 - _EDGE_SIGMA) * median))
    high = int(min(255, (1.0 + _EDGE_SIGMA) * median))
    return cv2.dilate(cv2.Canny(value, low, high), kernel)
