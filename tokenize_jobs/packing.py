"""How one array of tokens lies in a binary column: its type and the axis behind its grid.

A packing is written as the column's unit, so a table explains itself:

    uint16          ids, one to a grid position
    uint16[4]       four ids at every position (residual or product codes)
    bfloat16[16]    latents of 16 channels

Values are row-major, least significant byte first. Nothing is compressed or packed into fewer
bits: that would save at most 6% of 15-bit ids, and a reader could no longer copy a row as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import FormatError, SchemaError

__all__ = ["Packing"]

_STORED = {
    "uint8": "<u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "float16": "<f2",
    "bfloat16": "<u2",
}
"""Stored types and how numpy holds them; it has no bfloat16 and holds the bits."""

_UNIT = re.compile(rf"({'|'.join(_STORED)})(?:\[(\d+)\])?")


@dataclass(frozen=True, slots=True)
class Packing:
    """A value's type and the length of the axis behind the grid, 0 where there is none."""

    dtype: str
    trailing: int = 0

    @classmethod
    def parse(cls, unit: str) -> Packing:
        """The packing that a column's unit names."""
        match = _UNIT.fullmatch(unit)
        if match is None:
            raise FormatError(
                f"{unit!r} is not a packing of tokens", allowed=", ".join(_STORED) + ", uint16[4]"
            )
        return cls(match[1], int(match[2] or 0))

    @property
    def unit(self) -> str:
        return f"{self.dtype}[{self.trailing}]" if self.trailing else self.dtype

    @property
    def stored(self) -> np.dtype[Any]:
        """How numpy holds the stored values."""
        return np.dtype(_STORED[self.dtype])

    def shape(self, grid: Sequence[int]) -> tuple[int, ...]:
        """The shape of an array on a grid."""
        return (*grid, self.trailing) if self.trailing else tuple(grid)

    def nbytes(self, grid: Sequence[int]) -> int:
        """Bytes that an array on a grid takes."""
        return math.prod(self.shape(grid)) * self.stored.itemsize

    def grid_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The grid of an array of this shape."""
        grid = tuple(shape[:-1] if self.trailing else shape)
        if self.shape(grid) != tuple(shape) or not all(grid):
            raise SchemaError(
                f"an array of shape {tuple(shape)} does not fit {self.unit}",
                allowed=f"grid + ({self.trailing},)" if self.trailing else "the grid alone",
            )
        return grid

    def pack(self, array: NDArray[Any]) -> bytes:
        """The bytes of an array whose values are known to fit."""
        if self.dtype == "bfloat16":
            array = _bfloat16_bits(array)
        return np.ascontiguousarray(array, self.stored).tobytes()

    def unpack(self, data: bytes, grid: Sequence[int]) -> NDArray[Any]:
        """The array on a grid; bfloat16 comes as float32, which holds it exactly."""
        if len(data) != self.nbytes(grid):
            raise FormatError(
                f"{len(data)} bytes are no {self.unit} on the grid {tuple(grid)}",
                allowed=f"{self.nbytes(grid)} bytes",
            )
        array = np.frombuffer(data, self.stored).reshape(self.shape(grid))
        if self.dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array


def _bfloat16_bits(array: NDArray[Any]) -> NDArray[np.uint16]:
    """The upper half of each float32, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(bits.view(np.float32)), 0x7FC0, rounded).astype(np.uint16)
