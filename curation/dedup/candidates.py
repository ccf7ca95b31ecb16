"""Pairs of sources that may show the same: some of their anchors are near in some look.

Each look at a source (whole, mirrored, turned, through a smaller window, inside of its bars, by
halves) is asked for among anchors of the others. Nothing is decided here; `curation.dedup.align`
looks closely at every pair.

Who was there first does not matter. What one of two sources asks of the other is found among all
of them at once, by the new one in the sorted anchors of the old, and, the other way round, by the
new one's anchors in what the old one would have asked, which is sorted as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.dedup.align import Look
from curation.dedup.hashes import View
from curation.dedup.index import Asked, Known, meetings
from curation.dedup.sequences import Anchors

__all__ = ["Candidate", "Pairs", "candidates_among", "candidates_between", "sorted_sets"]

WHOLE, MIRRORED, HALVES = Look(), Look("mirrored"), Look(halves=True)
INSIDE, BOTH_INSIDE = Look(inside=True), Look(both_inside=True)
TURNED, UPSIDE_DOWN = Look("turned90"), Look("turned180")

Looks = Sequence[tuple[Look, Asked]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Source `one`, looked at in a way, may be found in source `other`; both are positions."""

    one: int
    other: int
    look: Look


@dataclass(frozen=True, slots=True)
class Pairs:
    """New sources (first column) and old ones that meet in a look, which is the asking one's."""

    look: Look
    of_old: bool
    """Whether the old one is looked at in that way and found in the new one."""
    owners: NDArray[np.int32]


def candidates_among(
    anchors: Anchors, max_distance: int, *, mirrored: bool, threads: int
) -> set[Candidate]:
    """Candidates of some sources among themselves."""
    sets = _Sets(anchors)
    found: set[Candidate] = set()
    for name, looks in sets.asking(mirrored).items():
        owners = meetings(sets[name], [asked for _, asked in looks], max_distance, threads=threads)
        for (look, _), pairs in zip(looks, owners, strict=True):
            found |= {Candidate(one, other, look) for one, other in pairs.tolist()}
    return found


def candidates_between(
    new: Anchors, old: Mapping[str, Known], max_distance: int, *, mirrored: bool, threads: int
) -> Iterator[Pairs]:
    """What new sources have in common with old ones, whose anchors were sorted: see `sorted_sets`.

    The same that `candidates_among` finds of them all.
    """
    sets = _Sets(new)
    rounds = (
        *((name, False, looks) for name, looks in sets.asking(mirrored).items()),
        *((name, True, looks) for name, looks in sets.asked(mirrored).items()),
    )
    for name, of_old, looks in rounds:
        asked = [asked for _, asked in looks]
        owners = meetings(old[name], asked, max_distance, threads=threads, strangers=True)
        for (look, _), pairs in zip(looks, owners, strict=True):
            if len(pairs):
                yield Pairs(look, of_old, pairs)


def sorted_sets(anchors: Anchors) -> Iterator[tuple[str, Asked]]:
    """What is sorted of sources for those that come later, by name."""
    sets = _Sets(anchors)
    for name in sets.names():
        yield name, sets[name]


class _Sets:
    """The anchors of some sources by name, and who asks for what."""

    def __init__(self, anchors: Anchors):
        self._anchors = anchors
        self._windows = [f"window{number}" for number in range(anchors.crops.shape[1])]
        self._halves = [f"half{number}" for number in range(anchors.halves.shape[1])]

    def names(self) -> list[str]:
        return ["kept", "asked", "turned", "inside", *self._halves, *self._windows]

    def __getitem__(self, name: str) -> Asked:
        anchors = self._anchors
        match name:
            case "turned":
                return Asked(anchors.kept, anchors.kept_of, "turned90")
            case "kept" | "asked" | "inside":
                return Asked(getattr(anchors, name), getattr(anchors, f"{name}_of"))
        number = int(name[-1])
        if name in self._halves:
            return Asked(anchors.halves[:, number], anchors.halves_of)
        return Asked(anchors.crops[:, number], anchors.crops_of)

    def _seen(self, name: str, view: View) -> Asked:
        plain = self[name]
        return Asked(plain.hashes, plain.of, view)

    def asking(self, mirrored: bool) -> dict[str, Looks]:
        """By what is looked through, the looks in which these sources ask."""
        kept = [
            (WHOLE, self["asked"]),
            (TURNED, self["turned"]),
            (UPSIDE_DOWN, self._seen("kept", "turned180")),
            (INSIDE, self["inside"]),
        ]
        if mirrored:
            kept.append((MIRRORED, self._seen("asked", "mirrored")))
        windows = [(Look(window=n), self[name]) for n, name in enumerate(self._windows)]
        halves: dict[str, Looks] = {name: [(HALVES, self[name])] for name in self._halves}
        return {
            "kept": kept,
            "asked": windows,
            "inside": [(BOTH_INSIDE, self["inside"])],
            **halves,
        }

    def asked(self, mirrored: bool) -> dict[str, Looks]:
        """The same the other way round: these are looked through, the looks are the others'."""
        asked = [(WHOLE, self["kept"])]
        if mirrored:
            asked.append((MIRRORED, self._seen("kept", "mirrored")))
        windows: dict[str, Looks] = {
            name: [(Look(window=n), self["asked"])] for n, name in enumerate(self._windows)
        }
        return {
            "asked": asked,
            "turned": [(TURNED, self["kept"])],
            "inside": [(INSIDE, self["kept"])],
            **windows,
        }
