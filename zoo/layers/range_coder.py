"""A range coder: symbols to bytes in nearly as many bits as their probabilities say.

Probabilities are integer counts that add up to `TOTAL`, so that coder and decoder agree to the last
bit. Each symbol may have a table of its own, as a learned entropy model gives it.

    coder = Encoder()
    coder.encode(start, count)          # the symbol takes start..start+count of TOTAL
    data = coder.finish()
    value = Decoder(data).target()      # which start..start+count it falls in is the symbol

The arithmetic is the well known one with 32 bits of range and a carry that runs through 0xFF bytes.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PRECISION",
    "TOTAL",
    "Decoder",
    "Encoder",
    "cumulative",
    "decode",
    "encode",
    "logistic_tables",
]

PRECISION = 16
TOTAL = 1 << PRECISION

_LEAST_RANGE = 1 << 24


class Encoder:
    """Takes symbols as intervals and gives bytes."""

    def __init__(self) -> None:
        self._low, self._range = 0, (1 << 32) - 1
        self._held, self._pending = 0, 1
        self._out = bytearray()

    def encode(self, start: int, count: int) -> None:
        unit = self._range >> PRECISION
        self._low += start * unit
        self._range = count * unit
        while self._range < _LEAST_RANGE:
            self._shift()
            self._range <<= 8

    def finish(self) -> bytes:
        for _ in range(5):
            self._shift()
        return bytes(self._out[1:])

    def _shift(self) -> None:
        """Move the highest byte out, unless a carry may still change it."""
        if self._low < 0xFF000000 or self._low >= 1 << 32:
            carry = self._low >> 32
            self._out.append((self._held + carry) & 0xFF)
            self._out += bytes([(0xFF + carry) & 0xFF]) * (self._pending - 1)
            self._held, self._pending = (self._low >> 24) & 0xFF, 0
        self._pending += 1
        self._low = (self._low & 0x00FFFFFF) << 8


class Decoder:
    """Gives the symbols back, interval by interval."""

    def __init__(self, data: bytes) -> None:
        self._data, self._read = data, 4
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._range = (1 << 32) - 1

    def target(self) -> int:
        """A number below TOTAL inside the interval of the next symbol."""
        return min(self._code // (self._range >> PRECISION), TOTAL - 1)

    def take(self, start: int, count: int) -> None:
        """Step over the symbol whose interval `target` fell in."""
        unit = self._range >> PRECISION
        self._code -= start * unit
        self._range = count * unit
        while self._range < _LEAST_RANGE:
            byte = self._data[self._read] if self._read < len(self._data) else 0
            self._code = (self._code << 8) | byte
            self._read += 1
            self._range <<= 8


def cumulative(probabilities: NDArray[np.float64]) -> list[list[int]]:
    """Tables of counts up to every symbol, (tables, symbols + 1), from rows of probabilities.

    Every symbol keeps one count at least, so that all can be coded.
    """
    symbols = probabilities.shape[1]
    share = probabilities / probabilities.sum(1, keepdims=True)
    counts = 1 + np.floor(share * (TOTAL - symbols)).astype(np.int64)
    counts[np.arange(len(counts)), counts.argmax(1)] += TOTAL - counts.sum(1)
    return np.pad(counts.cumsum(1), ((0, 0), (1, 0))).tolist()


def logistic_tables(
    reach: int, scales: NDArray[np.float64], means: NDArray[np.float64]
) -> list[list[int]]:
    """Tables of integers from -reach to reach under rounded logistics, each scale with each mean.

    Symbol 0 is -reach; the table of `scales[i]` and `means[j]` has place `i * len(means) + j`.
    """
    edges = np.arange(-reach, reach + 2) - 0.5
    scaled = (edges - means[None, :, None]) / scales[:, None, None]
    below = 0.5 * (1 + np.tanh(scaled / 2))
    return cumulative(np.diff(below).reshape(-1, len(edges) - 1))


def encode(coder: Encoder, symbols: Iterable[int], tables: Iterable[Sequence[int]]) -> None:
    """Code every symbol by its table."""
    for symbol, table in zip(symbols, tables, strict=True):
        coder.encode(table[symbol], table[symbol + 1] - table[symbol])


def decode(decoder: Decoder, tables: Iterable[Sequence[int]]) -> list[int]:
    """The next symbols, one for each table."""
    symbols = []
    for table in tables:
        symbol = bisect.bisect_right(table, decoder.target()) - 1
        decoder.take(table[symbol], table[symbol + 1] - table[symbol])
        symbols.append(symbol)
    return symbols
