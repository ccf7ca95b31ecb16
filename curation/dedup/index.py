"""Finding near hashes among millions without comparing all with all.

A hash is divided into ten words of 24 bits. Two hashes that differ in few bits have some word in
common, so each word's table lists who holds which value, sorted; hashes that meet in a table are
compared in full. Work is that of sorting plus one comparison for each meeting: values are so many
that strangers rarely meet, and where many meet (the same picture in thousands of files) each
compares itself with its nearest neighbours in the order of the hash only, which still ties them
all together.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hashes import Hashes, distance

__all__ = ["HashIndex"]

WORDS, WORD_BYTES = 10, 3
WORD_BITS = 8 * WORD_BYTES
MOST_MET = 64
"""How many hashes one looks at in a word that very many have in common."""
_BLOCK = 1 << 20
_LEAST_PREFIX_BITS = 12

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


class HashIndex:
    """Hashes that others are looked up in. Threads may share it."""

    def __init__(self, hashes: Hashes, threads: int = 2):
        self.hashes = hashes
        self._threads = threads
        usual = len(hashes).bit_length()
        self._prefix_bits = min(WORD_BITS, max(_LEAST_PREFIX_BITS, usual))

    def near(self, queries: Hashes, max_distance: int, *, only_later: bool = False) -> Pairs:
        """Positions of queries and of hashes at most `max_distance` away, each pair once, sorted.

        Args:
            queries: hashes to look up.
            max_distance: in bits. Pairs near this limit may share no word and be missed.
            only_later: skip pairs whose query does not stand before the hash: for looking up the
                index's own hashes.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(
                pool.map(
                    lambda word: self._near_by_word(word, queries, max_distance, only_later),
                    range(WORDS),
                )
            )
        keys = np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
        size = max(1, len(self.hashes))
        return keys // size, keys % size

    def _near_by_word(
        self, word: int, queries: Hashes, max_distance: int, only_later: bool
    ) -> NDArray[np.int64]:
        """Pairs that share one word, as `query * size + hash`."""
        size = len(self.hashes)
        if not size or not len(queries):
            return np.zeros(0, np.int64)
        values = _values(self.hashes, word)
        second = self.hashes[:, _second(word)]
        order = np.lexsort((second, values))
        values = values[order]
        known = np.zeros(1 << WORD_BITS, bool)
        known[values] = True
        shift = WORD_BITS - self._prefix_bits
        counts = np.bincount(values >> shift, minlength=1 << self._prefix_bits)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        found = [np.zeros(0, np.int64)]
        for first in range(0, len(queries), _BLOCK):
            block = queries[first : first + _BLOCK]
            asked = _values(block, word)
            who = np.flatnonzero(known[asked])
            asked, block = asked[who], block[who]
            low, high = starts[asked >> shift], starts[(asked >> shift) + 1]
            self._narrow(low, high, asked, block[:, _second(word)], values, order, word)
            for query, place in _expanded(low, high):
                met = order[place]
                keep = values[place] == asked[query]
                if only_later:
                    keep &= who[query] + first < met
                query, met = query[keep], met[keep]
                near = distance(block[query], self.hashes[met]) <= max_distance
                found.append((who[query[near]] + first) * size + met[near])
        return np.unique(np.concatenate(found))

    def _narrow(
        self,
        low: NDArray[np.int64],
        high: NDArray[np.int64],
        asked: NDArray[np.uint32],
        rest: NDArray[np.uint64],
        values: NDArray[np.uint32],
        order: NDArray[np.intp],
        word: int,
    ) -> None:
        """Of crowded ranges leave what stands next to the query in the order of the hash."""
        for at in np.flatnonzero(high - low > MOST_MET).tolist():
            same = values[low[at] : high[at]]
            high[at] = low[at] + np.searchsorted(same, asked[at], side="right")
            low[at] += np.searchsorted(same, asked[at])
            if high[at] - low[at] > MOST_MET:
                inside = self.hashes[order[low[at] : high[at]], _second(word)]
                place = int(np.searchsorted(inside, rest[at])) - MOST_MET // 2
                low[at] += min(max(place, 0), int(high[at] - low[at]) - MOST_MET)
                high[at] = low[at] + MOST_MET


def _second(word: int) -> int:
    """The 64 bits by which hashes with the same word are ordered: none of the word's own."""
    return (word * WORD_BITS // 64 + 2) % 4


def _values(hashes: Hashes, word: int) -> NDArray[np.uint32]:
    """One word of each hash as a number."""
    part = hashes.view(np.uint8).reshape(-1, 32)[:, word * WORD_BYTES : (word + 1) * WORD_BYTES]
    wide = part.astype(np.uint32)
    return np.asarray(wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2], np.uint32)


def _expanded(low: NDArray[np.int64], high: NDArray[np.int64]) -> Iterator[Pairs]:
    """Every query with every place of its range, about `_BLOCK` of them at a time."""
    counts = high - low
    ends = np.cumsum(counts)
    first, total = 0, int(ends[-1]) if len(ends) else 0
    done = 0
    while done < total:
        last = max(first + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        part = counts[first:last]
        query = np.repeat(np.arange(first, last), part)
        offsets = np.arange(len(query)) - np.repeat(np.cumsum(part) - part, part)
        yield query, low[query] + offsets
        done = int(ends[last - 1])
        first = last
