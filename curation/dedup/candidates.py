"""Pairs of sources that may show the same: some of their anchors are near in some look.

Each look at a source (whole, mirrored, turned, through a smaller window, by halves) is a round of
look-ups. Nothing is decided here; `curation.dedup.align` looks closely at every pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.dedup.align import Look
from curation.dedup.hashes import Hashes, View, seen
from curation.dedup.index import HashIndex
from curation.dedup.sequences import Anchors

__all__ = ["Candidate", "candidates_among", "candidates_between"]

TURNS: tuple[View, ...] = ("turned90", "turned180", "turned270")
HALVES = Look(halves=True)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Source `one`, looked at in a way, may be found in source `other`; both are positions."""

    one: int
    other: int
    look: Look


def candidates_among(
    anchors: Anchors, max_distance: int, *, mirrored: bool, threads: int
) -> set[Candidate]:
    """Candidates of some sources among themselves."""
    kept = HashIndex(anchors.kept, threads)
    found: set[Candidate] = set()
    for look, asked, of in _looks(anchors, mirrored):
        queries, places = kept.near(asked, max_distance)
        found |= _candidates(of[queries], anchors.kept_of[places], look)
    every = HashIndex(anchors.asked, threads)
    for window, hashes in enumerate(_crops(anchors)):
        queries, places = every.near(hashes, max_distance)
        one, other = anchors.crops_of[queries], anchors.asked_of[places]
        found |= _candidates(one, other, Look(window=window))
    of = anchors.halves_of
    for hashes in _halves(anchors):
        first, second = HashIndex(hashes, threads).near(hashes, max_distance, only_later=True)
        found |= _candidates(of[first], of[second], HALVES)
    return found


def candidates_between(
    new: Anchors, old: Anchors, max_distance: int, *, mirrored: bool, threads: int
) -> set[Candidate]:
    """Candidates of new sources with old ones.

    The new ones are indexed, in all looks together, and each old anchor is looked up once: nearly
    all of them meet nobody, which is quickly seen.
    """
    looks = list(_looks(new, mirrored))
    looks += [(Look(window=n), hashes, new.crops_of) for n, hashes in enumerate(_crops(new))]
    ends = np.cumsum([len(hashes) for _, hashes, _ in looks])
    of = np.concatenate([of for _, _, of in looks])
    index = HashIndex(np.concatenate([hashes for _, hashes, _ in looks]), threads)
    olds, news = index.near(old.kept, max_distance)
    which = np.searchsorted(ends, news, side="right")
    found: set[Candidate] = set()
    for number, (look, _, _) in enumerate(looks):
        chosen = which == number
        found |= _candidates(of[news[chosen]], old.kept_of[olds[chosen]], look)
    every = HashIndex(new.asked, threads)
    for window, hashes in enumerate(_crops(old)):
        olds, news = every.near(hashes, max_distance)
        found |= _candidates(old.crops_of[olds], new.asked_of[news], Look(window=window))
    for ours, theirs in zip(_halves(new), _halves(old), strict=True):
        olds, news = HashIndex(ours, threads).near(theirs, max_distance)
        found |= _candidates(new.halves_of[news], old.halves_of[olds], HALVES)
    return found


def _looks(anchors: Anchors, mirrored: bool) -> Iterator[tuple[Look, Hashes, NDArray[np.int32]]]:
    """Each look at whole pictures, what is asked for in it, and of whom."""
    yield Look(), anchors.asked, anchors.asked_of
    if mirrored:
        yield Look("mirrored"), seen(anchors.asked, "mirrored"), anchors.asked_of
    for view in TURNS:
        yield Look(view), seen(anchors.kept, view), anchors.kept_of


def _halves(anchors: Anchors) -> list[Hashes]:
    return [np.ascontiguousarray(anchors.halves[:, half]) for half in range(2)]


def _crops(anchors: Anchors) -> list[Hashes]:
    count = anchors.crops.shape[1]
    return [np.ascontiguousarray(anchors.crops[:, window]) for window in range(count)]


def _candidates(one: NDArray[np.int32], other: NDArray[np.int32], look: Look) -> set[Candidate]:
    apart = one != other
    pairs = np.unique(np.stack([one[apart], other[apart]], axis=1), axis=0)
    return {Candidate(a, b, look) for a, b in pairs.tolist()}
