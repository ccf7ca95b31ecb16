"""Pairs of sources that may show the same: some of their anchors are near in some look.

Each look at a source (whole, mirrored, turned, through a smaller window, inside of its bars, by
halves) is asked for among anchors of the others. Nothing is decided here; `curation.dedup.align`
looks closely at every pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.dedup.align import Look
from curation.dedup.hashes import View, seen
from curation.dedup.index import Asked, meetings
from curation.dedup.sequences import Anchors

__all__ = ["Candidate", "candidates_among", "candidates_between"]

WHOLE, MIRRORED, HALVES = Look(), Look("mirrored"), Look(halves=True)
INSIDE, BOTH_INSIDE = Look(inside=True), Look(both_inside=True)
TURNS: tuple[View, ...] = ("turned90", "turned180", "turned270")

Looks = Sequence[tuple[Look, Asked]]


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
    kept, asked = Asked(anchors.kept, anchors.kept_of), Asked(anchors.asked, anchors.asked_of)
    inside = Asked(anchors.inside, anchors.inside_of)
    rounds: list[tuple[Asked, Looks]] = [
        (kept, [*_looks(anchors, mirrored), (INSIDE, inside)]),
        (asked, _crops(anchors)),
        (inside, [(BOTH_INSIDE, inside)]),
        *((half, [(HALVES, half)]) for half in _halves(anchors)),
    ]
    found: set[Candidate] = set()
    for known, looks in rounds:
        found |= _asked_for(known, looks, max_distance, threads)
    return found


def candidates_between(
    new: Anchors, old: Anchors, max_distance: int, *, mirrored: bool, threads: int
) -> set[Candidate]:
    """Candidates of new sources with old ones: the same as among all of them.

    The new ones are sorted and each anchor of the old is looked up: nearly all of them meet
    nobody, which is quickly seen.
    """
    kept, inside = Asked(new.kept, new.kept_of), Asked(new.inside, new.inside_of)
    kept_looks = [(WHOLE, kept)]
    if mirrored:
        kept_looks.append((MIRRORED, Asked(new.kept, new.kept_of, "mirrored")))
    rounds: list[tuple[Looks, Asked]] = [
        ([*_looks(new, mirrored), (INSIDE, inside)], Asked(old.kept, old.kept_of)),
        ([*kept_looks, *_crops(new)], Asked(old.asked, old.asked_of)),
        ([(BOTH_INSIDE, inside)], Asked(old.inside, old.inside_of)),
        *(
            ([(HALVES, ours)], theirs)
            for ours, theirs in zip(_halves(new), _halves(old), strict=True)
        ),
    ]
    found: set[Candidate] = set()
    for looks, asked in rounds:
        (owners,) = meetings(_together(looks), [asked], max_distance, threads=threads)
        found |= _told(owners, looks)
    for known, looks in (
        (Asked(new.asked, new.asked_of), _crops(old)),
        (kept, [(INSIDE, Asked(old.inside, old.inside_of))]),
    ):
        found |= _asked_for(known, looks, max_distance, threads)
    return found


def _asked_for(known: Asked, looks: Looks, max_distance: int, threads: int) -> set[Candidate]:
    """Candidates of what is asked for in several looks with what is known."""
    found: set[Candidate] = set()
    pairs = meetings(known, [asked for _, asked in looks], max_distance, threads=threads)
    for (look, _), owners in zip(looks, pairs, strict=True):
        found |= _candidates(owners, look)
    return found


def _together(looks: Looks) -> Asked:
    """Several looks as one; an owner below zero names source and look, see `_told`."""
    hashes = np.concatenate([seen(asked.hashes, asked.view) for _, asked in looks])
    owners = [asked.of * len(looks) + number for number, (_, asked) in enumerate(looks)]
    return Asked(hashes, (-1 - np.concatenate(owners)).astype(np.int32))


def _told(owners: NDArray[np.int32], looks: Looks) -> set[Candidate]:
    """Candidates from meetings with what was put together."""
    source, which = np.divmod(-1 - owners[:, 1], len(looks))
    found: set[Candidate] = set()
    for number, (look, _) in enumerate(looks):
        chosen = which == number
        found |= _candidates(np.stack([source[chosen], owners[chosen, 0]], axis=1), look)
    return found


def _looks(anchors: Anchors, mirrored: bool) -> list[tuple[Look, Asked]]:
    """Each look at whole pictures, and what is asked for in it."""
    asked = Asked(anchors.asked, anchors.asked_of)
    looks = [(WHOLE, asked)]
    if mirrored:
        looks.append((MIRRORED, Asked(anchors.asked, anchors.asked_of, "mirrored")))
    looks += [(Look(view), Asked(anchors.kept, anchors.kept_of, view)) for view in TURNS]
    return looks


def _crops(anchors: Anchors) -> list[tuple[Look, Asked]]:
    """Each smaller window as a look."""
    return [
        (Look(window=window), Asked(hashes, anchors.crops_of))
        for window, hashes in enumerate(np.moveaxis(anchors.crops, 1, 0))
    ]


def _halves(anchors: Anchors) -> list[Asked]:
    return [Asked(hashes, anchors.halves_of) for hashes in np.moveaxis(anchors.halves, 1, 0)]


def _candidates(owners: NDArray[np.integer], look: Look) -> set[Candidate]:
    return {Candidate(one, other, look) for one, other in owners.tolist()}
