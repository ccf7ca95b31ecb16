"""Finding near hashes among millions without comparing all with all.

Ten words of 24 bits are taken from a hash. Two hashes that differ in few bits have some word in
common, so for each word all hashes are sorted by its value, and those that have a value in common
are compared in full. Work is that of sorting plus one comparison for each such meeting: values are
so many that strangers rarely meet, and where very many meet (the same picture in thousands of
files) each compares itself only with those next to it in the order of the whole hash, which still
ties them all together.

What was sorted once can be kept in files and looked through without reading them whole: a look-up
touches one place of each word's table, however many hashes there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hashes import Hashes, View, distance, seen

__all__ = ["Asked", "Kept", "Known", "meetings"]

WORDS = (*((lane, shift) for lane in range(4) for shift in (0, 24)), (0, 40), (1, 40))
"""From which 64 bits of the hash, and from which bit on, each word is taken."""
WORD_BITS = 24
_WORD_MASK = (1 << WORD_BITS) - 1
MOST_MET = 64
"""How many hashes one looks at in a word that very many have in common."""
_BLOCK = 1 << 18
_LEAST_PREFIX_BITS = 12
_SMALL = 1 << 16
"""Files up to this many bytes are read whole."""

Owners = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Asked:
    """Hashes in a view, and whose they are."""

    hashes: Hashes
    of: Owners
    view: View = "whole"

    def word(self, number: int) -> _Word:
        """All of them by one of their words."""
        hashes = seen(self.hashes, self.view)
        return _Word(hashes, self.of, number, *_sorted(hashes, number))


@dataclass(frozen=True, slots=True)
class Kept:
    """Hashes that were sorted before, in files."""

    hashes: Hashes
    of: Owners
    folder: Path

    @classmethod
    def write(cls, folder: Path, asked: Asked, threads: int) -> None:
        """Sort hashes by all words and keep that in a new folder."""
        hashes = seen(asked.hashes, asked.view)
        folder.mkdir(parents=True)
        np.save(folder / "hashes.npy", hashes)
        np.save(folder / "of.npy", asked.of)

        def write(number: int) -> None:
            for name, array in zip(_TABLES, _sorted(hashes, number), strict=True):
                np.save(folder / f"{name}{number}.npy", array)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(write, range(len(WORDS))))

    @classmethod
    def open(cls, folder: Path) -> Kept:
        return cls(_mapped(folder / "hashes.npy"), _mapped(folder / "of.npy"), folder)

    def word(self, number: int) -> _Word:
        """All of them by one of their words."""
        tables = (_mapped(self.folder / f"{name}{number}.npy") for name in _TABLES)
        return _Word(self.hashes, self.of, number, *tables)


Known: TypeAlias = Asked | Kept
_TABLES = ("order", "starts")


def meetings(
    known: Known,
    asked: Sequence[Asked],
    max_distance: int,
    *,
    threads: int = 2,
    strangers: bool = False,
) -> list[NDArray[np.int32]]:
    """For each of `asked`: (n, 2) owners of a hash and of a near one in `known`, once each.

    Pairs near the limit may share no word, and then do not meet.

    Args:
        known: what is looked through.
        asked: what is looked for; turned as its view says.
        max_distance: in bits.
        threads: words that are worked on at a time.
        strangers: owners of the two sides are others even where their numbers are equal; else
            nobody meets himself.
    """

    def by(number: int) -> list[NDArray[np.int32]]:
        word = known.word(number)
        return [word.met(item, max_distance, strangers=strangers) for item in asked]

    with ThreadPoolExecutor(threads) as pool:
        by_word = list(pool.map(by, range(len(WORDS))))
    return [_once(np.concatenate(parts)) for parts in zip(*by_word, strict=True)]


class _Word:
    """Known hashes in the order of one of their words: look-up by its first bits."""

    def __init__(
        self,
        hashes: Hashes,
        of: Owners,
        number: int,
        order: NDArray[np.int32],
        starts: NDArray[np.int32],
    ):
        self._hashes, self._of, self._number = hashes, of, number
        self._order, self._starts = order, starts
        self._shift = WORD_BITS - (len(starts).bit_length() - 1)

    def met(self, asked: Asked, max_distance: int, *, strangers: bool) -> NDArray[np.int32]:
        """(n, 2) owners of hashes that are asked for and of near ones, once each."""
        found = [np.zeros((0, 2), np.int32)]
        for first in range(0, len(asked.hashes), _BLOCK):
            hashes = seen(asked.hashes[first : first + _BLOCK], asked.view)
            values = _values(hashes, self._number)
            low = self._starts[values >> self._shift]
            high = self._starts[(values >> self._shift) + 1]
            there = np.flatnonzero(low < high)
            hashes, values, low, high = hashes[there], values[there], low[there], high[there]
            of = asked.of[first + there]
            self._narrow(low, high, values, _rest(hashes, self._number))
            for query, place in _expanded(low, high):
                met = self._order[place]
                same = _values(self._hashes, self._number, met) == values[query]
                query, met = query[same], met[same]
                apart = (of[query] != self._of[met]) | strangers
                query, met = query[apart], met[apart]
                near = distance(hashes[query], self._hashes[met]) <= max_distance
                pairs = np.stack([of[query[near]], self._of[met[near]]], axis=1)
                found.append(_once(pairs))
        return _once(np.concatenate(found))

    def _narrow(
        self,
        low: NDArray[np.int32],
        high: NDArray[np.int32],
        values: NDArray[np.uint32],
        rest: NDArray[np.uint64],
    ) -> None:
        """Of crowded ranges leave what stands next to the query in the order of the hash."""
        for at in np.flatnonzero(high - low > MOST_MET).tolist():
            inside = self._order[low[at] : high[at]]
            same = _values(self._hashes, self._number, inside)
            first = int(np.searchsorted(same, values[at]))
            last = int(np.searchsorted(same, values[at], side="right"))
            low[at], high[at] = low[at] + first, low[at] + last
            if last - first > MOST_MET:
                others = _rest(self._hashes[inside[first:last]], self._number)
                place = int(np.searchsorted(others, rest[at])) - MOST_MET // 2
                low[at] += min(max(place, 0), last - first - MOST_MET)
                high[at] = low[at] + MOST_MET


def _sorted(hashes: Hashes, number: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The order of hashes by a word, and where in it each beginning of a word begins."""
    keys = _values(hashes, number).astype(np.uint64) << np.uint64(64 - WORD_BITS)
    keys |= _rest(hashes, number)
    order = np.argsort(keys).astype(np.int32)
    prefix_bits = min(WORD_BITS, max(_LEAST_PREFIX_BITS, len(keys).bit_length()))
    keys >>= np.uint64(64 - prefix_bits)
    counts = np.bincount(keys.view(np.int64), minlength=1 << prefix_bits)
    return order, np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _rest(hashes: Hashes, number: int) -> NDArray[np.uint64]:
    """Bits, none of the word's own, by which hashes with the same value are ordered."""
    return hashes[:, (WORDS[number][0] + 2) % 4] >> np.uint64(WORD_BITS)


def _values(
    hashes: Hashes, number: int, places: NDArray[np.int32] | None = None
) -> NDArray[np.uint32]:
    """One word of each hash, or of those at some places, as a number."""
    lane, shift = WORDS[number]
    part = hashes[:, lane] if places is None else hashes[places, lane]
    return (part >> np.uint64(shift)).astype(np.uint32) & np.uint32(_WORD_MASK)


def _once(pairs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each pair once, in an order of its own."""
    both = np.ascontiguousarray(pairs, np.int32).view(np.int64)
    return np.unique(both).view(np.int32).reshape(-1, 2)


def _expanded(
    low: NDArray[np.int32], high: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every query with every place of its range, about `_BLOCK` of them at a time."""
    counts = (high - low).astype(np.int64)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    first = done = 0
    while done < total:
        last = max(first + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        part = counts[first:last]
        query = np.repeat(np.arange(first, last), part)
        offsets = np.arange(len(query)) - np.repeat(np.cumsum(part) - part, part)
        yield query, low[query] + offsets
        done, first = int(ends[last - 1]), last


def _mapped(path: Path) -> NDArray[Any]:
    """An array of a file, read where it is looked at."""
    array = np.load(path, mmap_mode="r" if path.stat().st_size > _SMALL else None)
    return np.asarray(array)
