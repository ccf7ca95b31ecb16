"""The order of an epoch: which windows follow each other, and how they fall into batches.

Everything here is a function of the seed, the epoch and the windows. Ranks and workers take every
n-th batch of one global list, so their number changes nothing about the order, and a list of what
was consumed is enough to go on with other numbers, or with another batch size.

Shuffling sorts by a hash of its own, not by a library's random generator, so that an order can be
made again years later, by another version of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batches", "Consumed", "hash_numbers", "make_batches", "remaining", "shuffled"]

Numbers = NDArray[np.int64]
Consumed = Sequence[tuple[int, int]]
"""What an epoch has given out so far: (batch size, batches of it), oldest first."""

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hash_numbers(numbers: Numbers, *salts: int) -> NDArray[np.uint64]:
    """64 well-mixed bits for each number (SplitMix64), others for other salts."""
    state = numbers.astype(np.uint64)
    for salt in (*salts, 0):
        state = _mixed(state + np.uint64((salt + 1) * _GOLDEN % 2**64))
    return state


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def shuffled(
    entries: Numbers, copies: Numbers, pools: NDArray[np.int32] | None, *salts: int
) -> Numbers:
    """Places of `entries` in shuffled order; an entry's copies are told apart by their number.

    With `pools`, which say to which pool an entry belongs, the pools come one after the other and
    only their contents are mixed.
    """
    keys = hash_numbers(entries, *salts) ^ hash_numbers(copies, *salts, 1)
    if pools is None:
        return np.argsort(keys, kind="stable")
    return np.lexsort((keys, pools))


@dataclass(frozen=True)
class Batches:
    """An order cut into batches: batch `i` is `order[starts[i] : starts[i + 1]]`."""

    order: Numbers
    starts: Numbers

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> Numbers:
        return self.order[self.starts[number] : self.starts[number + 1]]


def make_batches(order: Numbers, buckets: NDArray[np.int32] | None, size: int) -> Batches:
    """Batches of equal buckets, each placed where its last window stood in the order.

    `buckets` has the bucket of each window; without it any windows share a batch. What does not
    fill a batch comes last.
    """
    if buckets is None:
        return Batches(order, np.append(np.arange(0, len(order), size), len(order)))
    parts: list[tuple[bool, int, Numbers]] = []
    here = buckets[order]
    for bucket in np.unique(here):
        places = np.flatnonzero(here == bucket)
        for first in range(0, len(places), size):
            batch = places[first : first + size]
            parts.append((len(batch) < size, int(batch[-1]), batch))
    parts.sort(key=lambda part: part[:2])
    chosen = [order[batch] for _, _, batch in parts]
    starts = np.cumsum([0, *map(len, chosen)])
    return Batches(np.concatenate(chosen) if chosen else order[:0], starts)


def remaining(order: Numbers, buckets: NDArray[np.int32] | None, consumed: Consumed) -> Numbers:
    """The places of `order` that no consumed batch held, still in order.

    `order` must hold each number once.
    """
    for size, count in consumed:
        batches = make_batches(order, buckets, size)
        gone = batches.order[: batches.starts[min(count, len(batches))]]
        order = order[~np.isin(order, gone)]
    return order
