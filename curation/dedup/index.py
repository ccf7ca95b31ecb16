"""Finding near hashes among millions without comparing all with all.

Ten words of 24 bits are taken from a hash. Two hashes that differ in few bits have some word in
common, so for each word all hashes are sorted by its value, and those that have a value in common
are compared in full. Work is that of sorting plus one comparison for each such meeting: values are
so many that strangers rarely meet, and where very many meet (the same picture in thousands of
files) each compares itself only with those next to it in the order of the whole hash, which still
ties them all together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hashes import Hashes, View, distance, seen

__all__ = ["Asked", "meetings"]

WORDS = (*((lane, shift) for lane in range(4) for shift in (0, 24)), (0, 40), (1, 40))
"""From which 64 bits of the hash, and from which bit on, each word is taken."""
WORD_BITS = 24
_WORD_MASK = (1 << WORD_BITS) - 1
MOST_MET = 64
"""How many hashes one looks at in a word that very many have in common."""
_BLOCK = 1 << 20
_LEAST_PREFIX_BITS = 12

Owners = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Asked:
    """Hashes in a view, and whose they are."""

    hashes: Hashes
    of: Owners
    view: View = "whole"


def meetings(
    known: Asked, asked: Sequence[Asked], max_distance: int, *, threads: int = 2
) -> list[NDArray[np.int32]]:
    """For each of `asked`: (n, 2) owners of a hash and of a near one in `known`, sorted, once each.

    Nobody meets himself. Pairs near the limit may share no word, and then do not meet.

    Args:
        known: what is looked through.
        asked: what is looked for; turned as its view says.
        max_distance: in bits.
        threads: words that are worked on at a time.
    """
    with ThreadPoolExecutor(threads) as pool:
        by_word = list(
            pool.map(lambda word: _Word(known, word).meetings(asked, max_distance), WORDS)
        )
    return [_once(np.concatenate(parts)) for parts in zip(*by_word, strict=True)]


class _Word:
    """All known hashes sorted by one of their words."""

    def __init__(self, known: Asked, word: tuple[int, int]):
        self._known, self._word = known, word
        values = _values(known.hashes, word)
        order = values.astype(np.uint64) << np.uint64(64 - WORD_BITS)
        order |= self._rest(known.hashes)
        self._order = np.argsort(order).astype(np.int32)
        del order
        self._values = values[self._order]
        prefix_bits = min(WORD_BITS, max(_LEAST_PREFIX_BITS, len(values).bit_length()))
        self._shift = WORD_BITS - prefix_bits
        counts = np.bincount(self._values >> self._shift, minlength=1 << prefix_bits)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self._there = np.zeros(1 << WORD_BITS, bool)
        self._there[values] = True

    def _rest(self, hashes: Hashes) -> NDArray[np.uint64]:
        """Bits, none of the word's own, by which hashes with the same value are ordered."""
        return hashes[:, (self._word[0] + 2) % 4] >> np.uint64(WORD_BITS)

    def meetings(self, asked: Sequence[Asked], max_distance: int) -> list[NDArray[np.int32]]:
        return [self._met(item, max_distance) for item in asked]

    def _met(self, asked: Asked, max_distance: int) -> NDArray[np.int32]:
        found = [np.zeros((0, 2), np.int32)]
        for first in range(0, len(asked.hashes), _BLOCK):
            hashes = seen(asked.hashes[first : first + _BLOCK], asked.view)
            values = _values(hashes, self._word)
            there = np.flatnonzero(self._there[values])
            hashes, values = hashes[there], values[there]
            of = asked.of[first + there]
            low = self._starts[values >> self._shift]
            high = self._starts[(values >> self._shift) + 1]
            self._narrow(low, high, values, self._rest(hashes))
            for query, place in _expanded(low, high):
                same = self._values[place] == values[query]
                query, met = query[same], self._order[place[same]]
                apart = of[query] != self._known.of[met]
                query, met = query[apart], met[apart]
                near = distance(hashes[query], self._known.hashes[met]) <= max_distance
                pairs = np.stack([of[query[near]], self._known.of[met[near]]], axis=1)
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
            same = self._values[low[at] : high[at]]
            high[at] = low[at] + np.searchsorted(same, values[at], side="right")
            low[at] += np.searchsorted(same, values[at])
            if high[at] - low[at] > MOST_MET:
                inside = self._rest(self._known.hashes[self._order[low[at] : high[at]]])
                place = int(np.searchsorted(inside, rest[at])) - MOST_MET // 2
                low[at] += min(max(place, 0), int(high[at] - low[at]) - MOST_MET)
                high[at] = low[at] + MOST_MET


def _values(hashes: Hashes, word: tuple[int, int]) -> NDArray[np.uint32]:
    """One word of each hash as a number."""
    lane, shift = word
    return (hashes[:, lane] >> np.uint64(shift)).astype(np.uint32) & np.uint32(_WORD_MASK)


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
