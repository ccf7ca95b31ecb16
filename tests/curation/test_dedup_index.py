"""Looking hashes up: the same as comparing all with all, but for what shares no word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from catalogs.duplicates import Groups
from curation.dedup.hashes import as_words, distance, seen
from curation.dedup.index import MOST_MET, TAG_BITS, WORD_BITS, WORDS, Asked, Kept, meetings
from curation.dedup.sequences import Anchors
from curation.signals import CROPS


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
    """Pairs within the limit that share one of the words and most of the bits of its tag."""
    apart = distance(hashes[:, None], hashes[None])
    found = np.zeros_like(apart, bool)
    for lane, at in WORDS:
        words = hashes[:, lane] >> np.uint64(at) & np.uint64((1 << WORD_BITS) - 1)
        rest = hashes[:, (lane + 2) % 4] >> np.uint64(64 - TAG_BITS)
        alike = np.bitwise_count(rest[:, None] ^ rest[None]) <= 6
        found |= (words[:, None] == words[None]) & alike
    return {(a, b) for a, b in np.argwhere((apart <= limit) & found).tolist() if a < b}


def asked(hashes: NDArray[np.uint64], of: NDArray[np.int32] | None = None) -> Asked:
    return Asked(hashes, np.arange(len(hashes), dtype=np.int32) if of is None else of)


def met(known: Asked | Kept, hashes: Asked, **options: int) -> set[tuple[int, int]]:
    (pairs,) = meetings(known, [hashes], 31, **options)
    return {(a, b) for a, b in pairs.tolist()}


def test_all_near_pairs_are_found(hashes) -> None:
    found = met(asked(hashes), asked(hashes))
    assert {(a, b) for a, b in found if a < b} == brute_force(hashes, 31)
    assert {(b, a) for a, b in found} == found


def test_most_near_pairs_share_a_word(hashes) -> None:
    apart = distance(hashes[:, None], hashes[None])
    near = int(np.triu(apart <= 31, 1).sum())
    assert len(brute_force(hashes, 31)) > 0.75 * near


def test_nobody_meets_himself(hashes) -> None:
    of = np.concatenate([np.arange(300), np.repeat(np.arange(300), 3)]).astype(np.int32)
    assert met(asked(hashes, of), asked(hashes, of)) == set()


def test_hashes_are_asked_for_in_their_view(hashes) -> None:
    turned = seen(hashes[:40], "turned270")
    of = np.arange(1000, 1040, dtype=np.int32)
    found = met(asked(hashes), Asked(turned, of, "turned90"))
    assert {(1000 + n, n) for n in range(40)} <= found


def test_threads_and_order_do_not_matter(hashes) -> None:
    order = np.random.default_rng(2).permutation(len(hashes)).astype(np.int32)
    few = asked(hashes[:50], np.arange(5000, 5050, dtype=np.int32))
    one = met(asked(hashes), few, threads=1)
    assert one == met(asked(hashes[order], order), few, threads=3)


def test_what_very_many_have_stays_tied_together_with_bounded_work() -> None:
    random = np.random.default_rng(7)
    bits = np.repeat(random.integers(0, 2, (1, 256), np.uint8), 5 * MOST_MET, axis=0)
    for row in bits:
        row[random.permutation(256)[:3]] ^= 1
    same = as_words(np.packbits(bits, axis=1))
    found = met(asked(same), asked(same))
    assert len(found) <= len(WORDS) * MOST_MET * len(same)
    ties = Groups((str(a), str(b)) for a, b in found)
    assert len({name for _, name in ties.members()}) == 1
    assert len(dict(ties.members())) == len(same)


def test_sorted_files_give_the_same(hashes, tmp_path: Path) -> None:
    Kept.write(tmp_path / "kept", asked(hashes), threads=2)
    few = asked(hashes[::7], np.arange(0, len(hashes), 7, dtype=np.int32))
    assert met(Kept.open(tmp_path / "kept"), few) == met(asked(hashes), few)
    assert met(Kept.open(tmp_path / "kept"), few, strangers=True) > met(asked(hashes), few)


def test_nothing_is_found_in_nothing() -> None:
    nothing = asked(np.zeros((0, 4), np.uint64))
    assert met(nothing, nothing) == set()


def test_anchors_of_batches_lie_one_behind_the_other() -> None:
    random = np.random.default_rng(9)

    def batch(sources: int) -> Anchors:
        shapes = {"halves": (2, 4), "crops": (len(CROPS), 4)}
        fields = {}
        for name in ("kept", "asked", "halves", "crops", "inside"):
            of = np.repeat(np.arange(sources, dtype=np.int32), random.integers(0, 9, sources))
            fields[f"{name}_of"] = of
            shape = (len(of), *shapes.get(name, (4,)))
            fields[name] = random.integers(0, 2**64, shape, np.uint64)
        return Anchors(**fields)

    batches = [batch(count) for count in (3, 1, 20, 7)]
    joined = Anchors.joined(zip((0, 3, 4, 24), batches, strict=True))
    for name in Anchors.__dataclass_fields__:
        parts = [getattr(item, name) for item in batches]
        if name.endswith("_of"):
            parts = [of + first for of, first in zip(parts, (0, 3, 4, 24), strict=True)]
        np.testing.assert_array_equal(getattr(joined, name), np.concatenate(parts))
    assert not len(Anchors.joined([]).kept)
