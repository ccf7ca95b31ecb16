"""Arithmetic on 256-bit hashes: distances, turned and mirrored pictures, pictures between two.

Hashes are rows of four 64-bit words. A picture that is mirrored or turned has the same cosine
terms with other signs and in other places, so its hash follows from the stored one.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["BITS", "Hashes", "View", "as_words", "between", "distance", "seen"]

Hashes = NDArray[np.uint64]
"""(n, 4) words."""
View = Literal["whole", "mirrored", "turned90", "turned180", "turned270"]

BITS = 256
_SIDE = 16
_LEAST_COMMON = 112
"""Bits that two neighbours must share before a picture between them is compared by those."""


def as_words(hashes: NDArray[np.uint8]) -> Hashes:
    """Hashes of 32 bytes as rows of words."""
    return np.ascontiguousarray(hashes).view(np.uint64).reshape(*hashes.shape[:-1], 4)


def distance(one: Hashes, two: Hashes) -> NDArray[np.int64]:
    """Bits that differ, over the last axis."""
    return np.bitwise_count(one ^ two).sum(axis=-1, dtype=np.int64)


def between(hashes: Hashes, before: Hashes, after: Hashes) -> NDArray[np.int64]:
    """Distance of pictures to a moment between two others, scaled to all bits.

    The bits that the two have in common must be those of every picture between them; what a
    moving picture changes from one to the other says nothing.
    """
    common = ~(before ^ after)
    count = np.bitwise_count(common).sum(axis=-1, dtype=np.int64)
    differing = np.bitwise_count((hashes ^ before) & common).sum(axis=-1, dtype=np.int64)
    return np.where(count >= _LEAST_COMMON, differing * BITS // np.maximum(count, 1), BITS)


def seen(hashes: Hashes, view: View) -> Hashes:
    """The hashes of the same pictures after they were turned (clockwise) or mirrored."""
    if view == "whole" or not len(hashes):
        return hashes
    order, flips = _change(view)
    if (order == np.arange(BITS)).all():
        return hashes ^ flips
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, BITS // 8), axis=1)[:, order]
    return as_words(np.packbits(bits, axis=1)) ^ flips


@cache
def _change(view: View) -> tuple[NDArray[np.intp], Hashes]:
    """Where each bit comes from, and which bits are then flipped.

    Mirroring changes the sign of every other cosine; transposing swaps the two frequencies.
    """
    down, across = np.divmod(np.arange(BITS), _SIDE)
    transposed = view in ("turned90", "turned270")
    order = across * _SIDE + down if transposed else np.arange(BITS)
    flipped = np.zeros(BITS, np.uint8)
    if view in ("mirrored", "turned90", "turned180"):
        flipped ^= across % 2 == 0
    if view in ("turned180", "turned270"):
        flipped ^= down % 2 == 0
    return order, as_words(np.packbits(flipped)[None])[0]
