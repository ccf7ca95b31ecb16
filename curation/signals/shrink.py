"""From a decoded frame to the small RGB frame that is measured.

Cost does not depend on the size of the source: every output sample comes from 16 samples of the
decoded planes (4 of chroma), read in two steps, which is enough for measurements at this scale.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["shrink_planes", "small_size"]

_AREA = 96 * 56
_MULTIPLE = 8

Plane = NDArray[np.uint8]


def small_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the measured frame: about 5,400 pixels, both multiples of 8."""
    rows = max(2, round((_AREA * height / width) ** 0.5 / _MULTIPLE)) * _MULTIPLE
    cols = max(2, round(_AREA / rows / _MULTIPLE)) * _MULTIPLE
    return cols, rows


def shrink_planes(luma: Plane, blue: Plane, red: Plane, size: tuple[int, int]) -> Plane:
    """(h, w, 3) RGB of `size` from 8-bit Y, U and V planes of any chroma subsampling."""
    width, height = size
    packed = np.empty((height * 3 // 2, width), np.uint8)
    double = cv2.resize(luma, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    packed[:height] = cv2.resize(double, size, interpolation=cv2.INTER_AREA)
    quarter = height // 4
    for start, plane in ((height, blue), (height + quarter, red)):
        chroma = cv2.resize(plane, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
        packed[start : start + quarter] = chroma.reshape(quarter, width)
    return cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420)
