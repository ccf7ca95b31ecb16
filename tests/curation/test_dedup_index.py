"""Looking hashes up: the same as comparing all with all, but for what shares no word."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.dedup.hashes import as_words, distance
from curation.dedup.index import MOST_MET, WORD_BYTES, WORDS, HashIndex


@pytest.fixture(scope="module")
def hashes() -> NDArray[np.uint64]:
    """300 hashes, and three neighbours of each that differ in up to 24 bits."""
    random = np.random.default_rng(5)
    bits = random.integers(0, 2, (300, 256), np.uint8)
    near = np.repeat(bits, 3, axis=0)
    for row in near:
        row[random.permutation(256)[: random.integers(0, 25)]] ^= 1
    return as_words(np.packbits(np.concatenate([bits, near]), axis=1))


def brute_force(hashes: NDArray[np.uint64], limit: int) -> set[tuple[int, int]]:
    """Pairs within the limit that share one of the words."""
    apart = distance(hashes[:, None], hashes[None])
    parts = hashes.view(np.uint8).reshape(-1, 32)[:, : WORDS * WORD_BYTES]
    words = parts.reshape(-1, WORDS, WORD_BYTES)
    shared = (words[:, None] == words[None]).all(-1).any(-1)
    return {(a, b) for a, b in np.argwhere((apart <= limit) & shared).tolist() if a < b}


def test_all_near_pairs_are_found(hashes) -> None:
    first, second = HashIndex(hashes).near(hashes, 31, only_later=True)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == brute_force(hashes, 31)


def test_most_near_pairs_share_a_word(hashes) -> None:
    apart = distance(hashes[:, None], hashes[None])
    near = int(np.triu(apart <= 31, 1).sum())
    assert len(brute_force(hashes, 31)) > 0.75 * near


def test_threads_and_order_do_not_matter(hashes) -> None:
    order = np.random.default_rng(2).permutation(len(hashes))
    one = HashIndex(hashes, threads=1).near(hashes[:50], 31)
    other = HashIndex(hashes[order], threads=3).near(hashes[:50], 31)
    shuffled = sorted(zip(other[0].tolist(), order[other[1]].tolist(), strict=True))
    assert list(zip(one[0].tolist(), one[1].tolist(), strict=True)) == shuffled


def test_what_very_many_have_stays_tied_together_with_bounded_work() -> None:
    random = np.random.default_rng(7)
    bits = np.repeat(random.integers(0, 2, (1, 256), np.uint8), 5 * MOST_MET, axis=0)
    for row in bits:
        row[random.permutation(256)[:3]] ^= 1
    same = as_words(np.packbits(bits, axis=1))
    first, second = HashIndex(same).near(same, 31, only_later=True)
    assert len(first) <= WORDS * MOST_MET * len(same)
    reached = {0}
    for _ in range(len(same)):
        more = {b for a, b in zip(first.tolist(), second.tolist(), strict=True) if a in reached}
        more |= {a for a, b in zip(first.tolist(), second.tolist(), strict=True) if b in reached}
        if more <= reached:
            break
        reached |= more
    assert len(reached) == len(same)


def test_nothing_is_found_in_nothing() -> None:
    nothing = np.zeros((0, 4), np.uint64)
    assert [len(part) for part in HashIndex(nothing).near(nothing, 31)] == [0, 0]
