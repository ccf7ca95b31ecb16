"""Finding near hashes among millions without comparing all with all.

Ten words of 24 bits are taken from a hash. Two hashes that differ in few bits have some word in
common, so for each word all hashes are sorted by its value, and those that have a value in common
are compared. Among some ten millions strangers have words in common, too: what tells most of them
apart, 20 other bits, lies beside the sorted values (a tag), so that a hash is not fetched for a
stranger. Work is that of sorting, plus a look at one tag for each meeting. Where very many meet
(the same picture in thousands of files) each compares itself only with those next to it in the
order of the tags, which still ties them all together.

What was sorted once can be kept in files and looked through without reading them whole: a look-up
touches one place of each word's table, however many hashes there are. Whether two hashes meet
depends on the two alone, not on how many others there are, so it does not matter who came when.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hashes import BITS, Hashes, View, distance, seen, seen_by_flips

__all__ = ["Asked", "Kept", "Known", "meetings"]

WORDS = (*((lane, shift) for lane in range(4) for shift in (0, 24)), (0, 40), (1, 40))
"""From which 64 bits of the hash, and from which bit on, each word is taken."""
WORD_BITS = 24
TAG_BITS = 20
"""Bits of a hash, none of the word's own, that lie beside its word."""
MOST_MET = 64
"""How many hashes one looks at in a word that very many have in common."""
_BLOCK = 1 << 18
_AS_IT_IS: Hashes = np.zeros(4, np.uint64)
_LEAST_PREFIX_BITS = 12
_LOW_MASK = (1 << WORD_BITS - _LEAST_PREFIX_BITS) - 1
"""Bits of a word that stand in its tag; tables are found by the ones before."""
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
_TABLES = ("order", "tags", "starts")


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

    queries = [_Queries(*seen_by_flips(item.hashes, item.view), item.of) for item in asked]

    def by(number: int) -> list[NDArray[np.int32]]:
        word = known.word(number)
        return [word.met(item, max_distance, strangers=strangers) for item in queries]

    with ThreadPoolExecutor(threads) as pool:
        by_word = list(pool.map(by, range(len(WORDS))))
    return [_once(np.concatenate(parts)) for parts in zip(*by_word, strict=True)]


@dataclass(frozen=True, slots=True)
class _Queries:
    """Hashes that are asked for after some bits of each are flipped, and whose they are."""

    hashes: Hashes
    flips: Hashes
    of: Owners


class _Word:
    """Known hashes in the order of one of their words: look-up by its first bits."""

    def __init__(
        self,
        hashes: Hashes,
        of: Owners,
        number: int,
        order: NDArray[np.int32],
        tags: NDArray[np.uint32],
        starts: NDArray[np.int32],
    ):
        self._hashes, self._of, self._number = hashes, of, number
        self._order, self._tags, self._starts = order, tags, starts
        self._shift = np.uint32(WORD_BITS - (len(starts).bit_length() - 1))

    def met(self, asked: _Queries, max_distance: int, *, strangers: bool) -> NDArray[np.int32]:
        """(n, 2) owners of hashes that are asked for and of near ones, once each."""
        found = [np.zeros((0, 2), np.int32)]
        most_in_tag = _most_in_tag(max_distance)
        for first in range(0, len(asked.hashes), _BLOCK):
            hashes = asked.hashes[first : first + _BLOCK]
            values = _values(hashes, self._number, asked.flips)
            rest = _rest(hashes, self._number, asked.flips)
            # In order of their values, queries go through the tables from front to back.
            values, at = _ranked(values)
            prefixes = values >> self._shift
            low, high = self._starts[prefixes], self._starts[prefixes + np.uint32(1)]
            there = np.flatnonzero(low < high)
            low, high, at = low[there], high[there], at[there]
            tags = _tagged(values[there], rest[at])
            self._narrow(low, high, tags)
            for query, place in _expanded(low, high):
                apart = self._tags[place] ^ tags[query]
                near = apart < 1 << TAG_BITS
                near &= np.bitwise_count(apart) <= most_in_tag
                mine, met = at[query[near]], self._order[place[near]]
                pairs = np.stack([asked.of[first + mine], self._of[met]], axis=1)
                if not strangers:
                    others = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
                    mine, met, pairs = mine[others], met[others], pairs[others]
                bits = distance(hashes[mine] ^ asked.flips, self._hashes[met])
                found.append(_once(pairs[bits <= max_distance]))
        return _once(np.concatenate(found))

    def _narrow(
        self, low: NDArray[np.int32], high: NDArray[np.int32], tags: NDArray[np.uint32]
    ) -> None:
        """Of crowded ranges leave what stands next to the query in the order of the tags."""
        for at in np.flatnonzero(high - low > MOST_MET).tolist():
            inside, word = self._tags[low[at] : high[at]], int(tags[at]) >> TAG_BITS
            edges = np.array([word, word + 1], np.uint64) << np.uint64(TAG_BITS)
            first, last = np.searchsorted(inside, edges).tolist()
            low[at], high[at] = low[at] + first, low[at] + last
            if last - first > MOST_MET:
                place = int(np.searchsorted(inside[first:last], tags[at])) - MOST_MET // 2
                low[at] += min(max(place, 0), last - first - MOST_MET)
                high[at] = low[at] + MOST_MET


def _most_in_tag(max_distance: int) -> int:
    """In how many bits the tags of near hashes differ: two deviations more than on average."""
    mean = max_distance * TAG_BITS / (BITS - WORD_BITS)
    return math.ceil(mean + 2 * math.sqrt(mean))


def _sorted(
    hashes: Hashes, number: int
) -> tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]]:
    """The order of hashes by a word, their tags, and where each beginning of a word begins."""
    values = _values(hashes, number)
    prefix_bits = min(WORD_BITS, max(_LEAST_PREFIX_BITS, len(values).bit_length()))
    starts = np.zeros((1 << prefix_bits) + 1, np.int32)
    counts = np.bincount(values >> np.uint32(WORD_BITS - prefix_bits), minlength=1 << prefix_bits)
    np.cumsum(counts, out=starts[1:])
    values, order = _ranked(values)
    tags = _tagged(values, _rest(hashes, number)[order])
    _sort_crowds(values, order, tags)
    return order, tags, starts


def _ranked(values: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Values in order, and where they stood. Sorting numbers is faster than sorting places."""
    both = values.astype(np.uint64)
    both <<= np.uint64(32)
    both |= np.arange(len(values), dtype=np.uint32)
    both.sort()
    order = both.astype(np.uint32).view(np.int32)
    both >>= np.uint64(32)
    return both.astype(np.uint32), order


def _sort_crowds(
    values: NDArray[np.uint32], order: NDArray[np.int32], tags: NDArray[np.uint32]
) -> None:
    """Put what very many have in common in the order of its tags; all are in order of values."""
    far = np.flatnonzero(values[MOST_MET:] == values[:-MOST_MET])
    crowded = np.unique(values[far])
    firsts = np.searchsorted(values, crowded)
    lasts = np.searchsorted(values, crowded, side="right")
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        by_tag = np.argsort(tags[first:last], kind="stable")
        for array in (order, tags):
            array[first:last] = array[first:last][by_tag]


def _tagged(values: NDArray[np.uint32], rest: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The last bits of words, and bits of their hashes by which strangers are told apart."""
    return ((values & np.uint32(_LOW_MASK)) << np.uint32(TAG_BITS)) | rest


def _rest(hashes: Hashes, number: int, flips: Hashes = _AS_IT_IS) -> NDArray[np.uint32]:
    lane, _ = WORDS[number]
    return _bits_of(hashes, (lane + 2) % 4, 64 - TAG_BITS, TAG_BITS, flips)


def _values(hashes: Hashes, number: int, flips: Hashes = _AS_IT_IS) -> NDArray[np.uint32]:
    """One word of each hash as a number."""
    return _bits_of(hashes, *WORDS[number], WORD_BITS, flips)


def _bits_of(
    hashes: Hashes, lane: int, shift: int, count: int, flips: Hashes
) -> NDArray[np.uint32]:
    """Some bits of each hash, without a copy of all lanes."""
    found = np.empty(len(hashes), np.uint32)
    for first in range(0, len(hashes), _BLOCK):
        part = (hashes[first : first + _BLOCK, lane] ^ flips[lane]) >> np.uint64(shift)
        found[first : first + _BLOCK] = part & np.uint64((1 << count) - 1)
    return found


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
