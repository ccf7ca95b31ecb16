"""Pairs of sources that may show the same: some of their anchors are near in some look.

Each look at a source (whole, mirrored, turned, through a smaller window, by halves) is a round of
look-ups. Nothing is decided here; `curation.dedup.align` looks closely at every pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.dedup.align import Look
from curation.dedup.hashes import Hashes, View, seen
from curation.dedup.index import HashIndex
from curation.dedup.sequences import Anchors

__all__ = ["Candidate", "candidates_among", "candidates_between"]

TURNS: tuple[View, ...] = ("turned90", "turned180", "turned270")
HALVES, INSIDE = Look(halves=True), Look(inside=True)
_MIRRORED = Look("mirrored")


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
    for look, hashes, of in _crops(anchors):
        queries, places = every.near(hashes, max_distance)
        found |= _candidates(of[queries], anchors.asked_of[places], look)
    queries, places = kept.near(anchors.inside, max_distance)
    found |= _candidates(anchors.inside_of[queries], anchors.kept_of[places], INSIDE)
    of = anchors.inside_of
    first, second = HashIndex(anchors.inside, threads).near(
        anchors.inside, max_distance, only_later=True
    )
    found |= _candidates(of[first], of[second], INSIDE)
    of = anchors.halves_of
    for hashes in _halves(anchors):
        first, second = HashIndex(hashes, threads).near(hashes, max_distance, only_later=True)
        found |= _candidates(of[first], of[second], HALVES)
    return found


def candidates_between(
    new: Anchors, old: Anchors, max_distance: int, *, mirrored: bool, threads: int
) -> set[Candidate]:
    """Candidates of new sources with old ones: the same as among all of them.

    The new ones are indexed and each anchor of the old is looked up: nearly all of them meet
    nobody, which is quickly seen.
    """
    kept = [(Look(), new.kept, new.kept_of)]
    if mirrored:
        kept.append((_MIRRORED, seen(new.kept, "mirrored"), new.kept_of))
    inside = (INSIDE, new.inside, new.inside_of)
    looks = [*_looks(new, mirrored), inside]
    found = _met(looks, old.kept, old.kept_of, max_distance, threads)
    bare = [(INSIDE, new.kept, new.kept_of), inside]
    found |= _met(bare, old.inside, old.inside_of, max_distance, threads)
    found |= _met([*kept, *_crops(new)], old.asked, old.asked_of, max_distance, threads)
    every = HashIndex(new.asked, threads)
    for look, hashes, of in _crops(old):
        olds, news = every.near(hashes, max_distance)
        found |= _candidates(of[olds], new.asked_of[news], look)
    for ours, theirs in zip(_halves(new), _halves(old), strict=True):
        olds, news = HashIndex(ours, threads).near(theirs, max_distance)
        found |= _candidates(new.halves_of[news], old.halves_of[olds], HALVES)
    return found


def _met(
    looks: Sequence[tuple[Look, Hashes, NDArray[np.int32]]],
    asked: Hashes,
    asked_of: NDArray[np.int32],
    max_distance: int,
    threads: int,
) -> set[Candidate]:
    """Candidates of sources in several looks, indexed together, with what is asked for."""
    ends = np.cumsum([len(hashes) for _, hashes, _ in looks])
    of = np.concatenate([of for _, _, of in looks])
    index = HashIndex(np.concatenate([hashes for _, hashes, _ in looks]), threads)
    queries, places = index.near(asked, max_distance)
    which = np.searchsorted(ends, places, side="right")
    found: set[Candidate] = set()
    for number, (look, _, _) in enumerate(looks):
        chosen = which == number
        found |= _candidates(of[places[chosen]], asked_of[queries[chosen]], look)
    return found


def _looks(anchors: Anchors, mirrored: bool) -> Iterator[tuple[Look, Hashes, NDArray[np.int32]]]:
    """Each look at whole pictures, what is asked for in it, and of whom."""
    yield Look(), anchors.asked, anchors.asked_of
    if mirrored:
        yield _MIRRORED, seen(anchors.asked, "mirrored"), anchors.asked_of
    for view in TURNS:
        yield Look(view), seen(anchors.kept, view), anchors.kept_of


def _halves(anchors: Anchors) -> list[Hashes]:
    return [np.ascontiguousarray(anchors.halves[:, half]) for half in range(2)]


def _crops(anchors: Anchors) -> Iterator[tuple[Look, Hashes, NDArray[np.int32]]]:
    """Each smaller window, its hashes, and of whom they are."""
    for window in range(anchors.crops.shape[1]):
        hashes = np.ascontiguousarray(anchors.crops[:, window])
        yield Look(window=window), hashes, anchors.crops_of


def _candidates(one: NDArray[np.int32], other: NDArray[np.int32], look: Look) -> set[Candidate]:
    apart = one != other
    pairs = np.unique(np.stack([one[apart], other[apart]], axis=1), axis=0)
    return {Candidate(a, b, look) for a, b in pairs.tolist()}
