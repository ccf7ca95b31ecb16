"""Names of the colours that fill a clip's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Colour", "colours_of", "named"]

Colour = tuple[str, float]
"""A colour's name and its share of the picture."""

SIDE_PX = 48
BLACK_255, GREY_SATURATION, DULL_SATURATION = 40, 30, 70
WHITE_255, DARK_GREY_255 = 205, 90
BROWN_255 = 165
HUES = (
    (8, "red"), (20, "orange"), (34, "yellow"), (80, "green"), (98, "teal"), (130, "blue"),
    (150, "purple"), (170, "pink"), (181, "red"),
)  # fmt: skip
"""OpenCV hues (0..180), each up to the number that stands before its name."""


def colours_of(pictures: Sequence[NDArray[np.uint8]]) -> list[Colour]:
    """All colours of some pictures, the largest first."""
    if not pictures:
        return []
    import cv2

    small = [
        cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        for picture in pictures
    ]
    names = named(np.concatenate(small).reshape(-1, 3))
    found, counts = np.unique(names, return_counts=True)
    shares = zip(found.tolist(), (counts / len(names)).tolist(), strict=True)
    return sorted(shares, key=lambda pair: (-pair[1], pair[0]))


def named(rgb: NDArray[np.uint8]) -> NDArray[np.str_]:
    """The name of the colour of each of (n, 3) samples."""
    import cv2

    hsv = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2HSV)[0].astype(int)
    hue, saturation, value = hsv.T
    limits = np.array([limit for limit, _ in HUES])
    words = np.array([name for _, name in HUES], dtype="U10")
    names = words[np.searchsorted(limits, hue, side="right")]
    names[((names == "orange") | (names == "red")) & (value < BROWN_255) & (hue >= 4)] = "brown"
    skin = (names == "orange") & (saturation < 130) & (value >= BROWN_255)
    names[skin] = "beige"
    names[(names == "red") & (saturation < 120) & (value >= BROWN_255)] = "pink"
    grey = (saturation < GREY_SATURATION) | (
        (saturation < DULL_SATURATION) & (value < DARK_GREY_255)
    )
    names[grey] = "grey"
    names[grey & (value >= WHITE_255)] = "white"
    names[value < BLACK_255] = "black"
    return names
