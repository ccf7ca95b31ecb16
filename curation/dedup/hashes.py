"""Arithmetic on 256-bit hashes: distances, turned and mirrored pictures, pictures between two.

Hashes are rows of four 64-bit words. A picture that is mirrored or turned has the same cosine
terms with other signs and in other places, so its hash follows from the stored one.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["BITS", "Hashes", "View", "as_words", "between", "distance", "seen", "seen_by_flips"]

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
    """The hashes of the same pictures after they were turned (clockwise) or mirrored.

    Mirroring changes the sign of every other cosine; a quarter turn swaps the two frequencies, too.
    """
    if view == "whole":
        return hashes
    found, flips = seen_by_flips(hashes, view)
    return found ^ flips


def seen_by_flips(hashes: Hashes, view: View) -> tuple[Hashes, Hashes]:
    """Hashes, and the bits to flip in each: together the same as `seen`.

    But for quarter turns the hashes are the given ones, so that nothing is copied.
    """
    quarter = view in ("turned90", "turned270") and len(hashes)
    return _transposed(hashes) if quarter else hashes, _flips(view)


@cache
def _flips(view: View) -> Hashes:
    down, across = np.divmod(np.arange(BITS), _SIDE)
    flipped = np.zeros(BITS, np.uint8)
    if view in ("mirrored", "turned90", "turned180"):
        flipped ^= across % 2 == 0
    if view in ("turned180", "turned270"):
        flipped ^= down % 2 == 0
    return as_words(np.packbits(flipped)[None])[0]


def _transposed(hashes: Hashes) -> Hashes:
    """Each hash as 16 by 16 bits, rows for columns: blocks of 8, 4, 2 and 1 change places."""
    rows = np.ascontiguousarray(hashes).view(">u2").astype(np.uint16).T.copy()
    for size, mask in ((8, 0x00FF), (4, 0x0F0F), (2, 0x3333), (1, 0x5555)):
        blocks = rows.reshape(-1, 2, size, rows.shape[1])
        upper, lower = blocks[:, 0], blocks[:, 1]
        moved = (upper ^ (lower >> size)) & np.uint16(mask)
        upper ^= moved
        lower ^= moved << size
    return np.ascontiguousarray(rows.T.astype(">u2")).view(np.uint64)
