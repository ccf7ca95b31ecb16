"""From decoded frames to the small RGB frames that are measured.

Cost does not depend on the size of the source: every output sample comes from 16 samples of the
decoded planes (4 of chroma), read in two steps, which is enough for measurements at this scale.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Levels", "Plane", "Shrinker", "shrink_planes", "small_size"]

_AREA = 96 * 56
_MULTIPLE = 8

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]
Levels = tuple[Plane, Plane]
"""What stands for each of 256 values of luma, and of chroma."""


def small_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the measured frame: about 5,400 pixels, both multiples of 8."""
    rows = max(2, round((_AREA * height / width) ** 0.5 / _MULTIPLE)) * _MULTIPLE
    cols = max(2, round(_AREA / rows / _MULTIPLE)) * _MULTIPLE
    return cols, rows


class Shrinker:
    """Shrinks frames one at a time, while the decoder holds them, and converts them together.

    Args:
        size: width and height of the small frames.
        room: for so many frames.
    """

    def __init__(self, size: tuple[int, int], room: int):
        self.size = width, height = size
        self._count = 0
        # Chroma is needed at half the size; luma goes there in two steps.
        self._planes = (
            np.empty((room, 2 * height, 2 * width), np.uint8),
            np.empty((room, height // 2, width // 2), np.uint8),
            np.empty((room, height // 2, width // 2), np.uint8),
        )
        self._levelled: list[Plane] = []

    def __len__(self) -> int:
        return self._count

    def add(self, luma: Plane, blue: Plane, red: Plane, levels: Levels | None = None) -> None:
        """Take one frame as 8-bit Y, U and V planes of any chroma subsampling.

        Args:
            luma: the plane.
            blue: the plane.
            red: the plane.
            levels: look the samples up in these tables.
        """
        planes = (luma, blue, red)
        if levels is not None:
            planes = self._looked_up(planes, levels)
        for plane, room in zip(planes, self._planes, strict=True):
            target = room[self._count]
            cv2.resize(plane, target.shape[::-1], dst=target, interpolation=cv2.INTER_LINEAR)
        self._count += 1

    def _looked_up(self, planes: Planes, levels: Levels) -> Planes:
        """The planes with new values in all rows that shrinking reads; others hold anything."""
        if [plane.shape for plane in self._levelled] != [plane.shape for plane in planes]:
            self._levelled = [np.zeros(plane.shape, np.uint8) for plane in planes]
        tables = (levels[0], levels[1], levels[1])
        for plane, table, room, out in zip(
            planes, tables, self._planes, self._levelled, strict=True
        ):
            rows = _rows_read(len(plane), room.shape[1])
            out[rows] = cv2.LUT(plane[rows], table)
        luma, blue, red = self._levelled
        return luma, blue, red

    def take(self) -> NDArray[np.uint8]:
        """(n, h, w, 3) RGB of all frames since the last time."""
        count, (width, height) = self._count, self.size
        self._count = 0
        luma, blue, red = (room[:count] for room in self._planes)
        small = cv2.resize(
            luma.reshape(-1, 2 * width), (width, count * height), interpolation=cv2.INTER_AREA
        )
        # One tall picture in the layout I420: all of Y, then all of U, then all of V.
        packed = np.concatenate([small, blue.reshape(-1, width), red.reshape(-1, width)])
        return cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420).reshape(count, height, width, 3)


@lru_cache(maxsize=64)
def _rows_read(rows: int, wanted: int) -> NDArray[np.intp]:
    """Which of a plane's rows count when it is resized to `wanted` rows: two for each of them."""
    first = np.floor((np.arange(wanted) + 0.5) * rows / wanted - 0.5).astype(np.intp)
    return np.unique(np.clip([first, first + 1], 0, rows - 1))


def shrink_planes(luma: Plane, blue: Plane, red: Plane, size: tuple[int, int]) -> Plane:
    """(h, w, 3) RGB of `size` from 8-bit Y, U and V planes of any chroma subsampling."""
    shrinker = Shrinker(size, 1)
    shrinker.add(luma, blue, red)
    frame: Plane = shrinker.take()[0]
    return frame
