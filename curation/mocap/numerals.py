"""Many decimal numbers in text to an array, fast.

A motion block is millions of short decimals. Python and `numpy.fromstring` read about 4 million
of them per second; here whole chunks are read with array operations. The text around each
decimal point is loaded as 64-bit words, and eight digits at a time become a number by three
multiplications. That holds for plain decimals (`-12.345600`) of up to eight digits on each side,
which is what mocap files hold; a chunk with anything else (exponents, whole numbers without a
point, `nan`, letters) goes through `float`, which is exact, strict and names the bad token.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from curation.mocap.problems import MocapFileError

__all__ = ["parse_numbers"]

Words = npt.NDArray[np.uint64]
_CHUNK_BYTES = 1 << 19
"""Small enough for every array of a chunk to stay in the cache."""
_THREADED_CHUNKS = 8
_PAD = b" " * 16
_DIGITS = 8
_TEN = 10 ** np.arange(_DIGITS + 1, dtype=np.uint64)
_DROP = np.array([56, 56, 48, 40, 32, 24, 16, 8, 0], np.uint64)
"""Bits to clear, by the number of digits at the end of a word."""


def parse_numbers(block: bytes, *, first_line: int = 1) -> npt.NDArray[np.float64]:
    """Every number of a block of text separated by white space, in order."""
    spans = list(_chunks(block))

    def parse(span: tuple[int, int]) -> npt.NDArray[np.float64]:
        chunk = block[span[0] : span[1]]
        numbers = _parse_decimals(chunk)
        return _parse_any(chunk, block, span[0], first_line) if numbers is None else numbers

    if len(spans) < _THREADED_CHUNKS:
        parts = [parse(span) for span in spans]
    else:
        # array operations let go of the interpreter, so two threads are nearly twice as fast
        with ThreadPoolExecutor(2) as threads:
            parts = list(threads.map(parse, spans))
    return np.concatenate(parts) if parts else np.zeros(0)


def _chunks(block: bytes) -> Iterator[tuple[int, int]]:
    """Spans that end at line ends, so that no token is split and a bad one has its line."""
    start = 0
    while start < len(block):
        end = block.find(b"\n", min(start + _CHUNK_BYTES, len(block) - 1)) + 1 or len(block)
        yield start, end
        start = end


def _parse_decimals(chunk: bytes) -> npt.NDArray[np.float64] | None:
    """The numbers of a chunk of plain decimals, or None when it holds anything else."""
    text = np.frombuffer(_PAD + chunk + b" ", np.uint8)
    blank = text <= 32
    edges = np.flatnonzero(blank[1:] != blank[:-1])
    before, last = edges[::2], edges[1::2]
    points = np.flatnonzero(text == ord("."))
    if len(points) != len(before) or not len(points):
        return None
    negative = text[before + 1] == ord("-")
    whole_digits = points - before - 1 - negative
    decimals = last - points
    if not _plain(text, blank, negative, whole_digits, decimals):
        return None
    words: Words = np.ndarray((len(text) - 7,), "<u8", text.data, strides=(1,))
    whole = _eight_digits(words[points - 8], whole_digits)
    whole[whole_digits == 0] = 0
    part = _eight_digits(words[last - 7], decimals)
    part[decimals == 0] = 0
    scale = _TEN[decimals[0]] if decimals.min() == decimals.max() else _TEN[decimals]
    # below 2**53 both terms are exact, so one division gives the nearest float
    numbers = (whole * scale + part).astype(np.float64) / scale
    np.negative(numbers, where=negative, out=numbers)
    return numbers


def _plain(
    text: npt.NDArray[np.uint8],
    blank: npt.NDArray[np.bool_],
    negative: npt.NDArray[np.bool_],
    whole_digits: npt.NDArray[np.intp],
    decimals: npt.NDArray[np.intp],
) -> bool:
    # uint8 arithmetic wraps: everything outside "-./0123456789" is above 12
    foreign = np.count_nonzero(text - np.uint8(ord("-")) > 12) - np.count_nonzero(blank)
    dashes = np.count_nonzero(text == ord("-")) - np.count_nonzero(negative)
    slashes = np.count_nonzero(text == ord("/"))
    widest = max(whole_digits.max(), decimals.max())
    both = (whole_digits + decimals).max()
    return bool(
        foreign == dashes == slashes == 0
        and whole_digits.min() >= 0
        and decimals.min() >= 0
        and (whole_digits + decimals).min() > 0
        and widest <= _DIGITS
        and both <= 15
    )


def _eight_digits(words: Words, count: npt.NDArray[np.intp]) -> Words:
    """The last `count` ASCII digits of each little-endian word as a number."""
    drop = _DROP[count]
    words >>= drop
    words <<= drop
    words &= np.uint64(0x0F0F0F0F0F0F0F0F)
    words *= np.uint64(10 * 2**8 + 1)
    words >>= np.uint64(8)
    words &= np.uint64(0x00FF00FF00FF00FF)
    words *= np.uint64(100 * 2**16 + 1)
    words >>= np.uint64(16)
    words &= np.uint64(0x0000FFFF0000FFFF)
    words *= np.uint64(10_000 * 2**32 + 1)
    words >>= np.uint64(32)
    return words


def _parse_any(chunk: bytes, block: bytes, start: int, first_line: int) -> npt.NDArray[np.float64]:
    try:
        return np.array(chunk.split(), dtype=np.float64)
    except ValueError:
        line = first_line + block.count(b"\n", 0, start)
        for offset, text in enumerate(chunk.split(b"\n")):
            for column, token in enumerate(text.split(), start=1):
                if not _is_number(token):
                    shown = token.decode("utf-8", "replace")
                    raise MocapFileError.at(
                        line + offset,
                        f"value {column} is {shown[:40]!r}, not a number",
                        hint="repair the line or cut the file before it",
                    ) from None
        raise


def _is_number(token: bytes) -> bool:
    try:
        np.array([token], dtype=np.float64)
    except ValueError:
        return False
    return True
