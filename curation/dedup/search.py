"""From candidates to matches.

Candidates come from few hashes of each source (`curation.dedup.candidates`). Every pair is aligned
in the looks in which it was met, and the look that explains most of the shorter source is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from curation.dedup.align import Look, Stretch, align, seconds_at_best
from curation.dedup.candidates import Candidate
from curation.dedup.hashes import View
from curation.dedup.sequences import HashedSource

__all__ = ["Match", "aligned"]

_EXPLAINED = 0.95
"""Share of the shorter source from which no other look is tried."""
PAIRS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Match:
    """Two sources and the stretches that they share."""

    one: HashedSource
    other: HashedSource
    look: Look
    """How the first has to be looked at to show what the other shows; a window is of either."""
    stretches: tuple[Stretch, ...]


def aligned(
    candidates: Iterable[Candidate],
    names: Sequence[str],
    load: Callable[[Sequence[str]], Mapping[str, HashedSource]],
    max_distance: int,
    *,
    ours: int | None = None,
) -> Iterator[Match]:
    """The matches among candidates, in order of the sources' names.

    Args:
        candidates: pairs by position in `names`.
        names: ids of sources.
        load: gives sources by id.
        max_distance: in bits.
        ours: so many of the names, from the first, are of one side and tell of the other; without
            it the smaller name of a pair does.
    """
    pairs: dict[tuple[str, str], set[Candidate]] = defaultdict(set)
    for item in candidates:
        one, other = names[item.one], names[item.other]
        tells = item.one < ours if ours is not None else one < other
        if one != other:
            pairs[(one, other) if tells else (other, one)].add(item)
    ordered = sorted(pairs)
    for first in range(0, len(ordered), PAIRS_AT_ONCE):
        batch = ordered[first : first + PAIRS_AT_ONCE]
        sources = load(sorted({name for pair in batch for name in pair}))
        for one, other in batch:
            looks = {_told(item.look, names[item.one] == other) for item in pairs[one, other]}
            match = _match(sources[one], sources[other], looks, max_distance)
            if match is not None:
                yield match


def _match(
    one: HashedSource,
    other: HashedSource,
    looks: set[tuple[Look, bool]],
    max_distance: int,
) -> Match | None:
    """The look that explains most; `looks` tell in whose window the other one is seen."""
    shorter_s = min(one.good_s, other.good_s)
    best, most = None, 0.0
    for look, of_other in sorted(looks, key=_simplest_first):
        if look.window is None and not look.inside and look.view in _EITHER_WAY:
            of_other = len(other.pts) < len(one.pts)
        track, target = (other, one) if of_other else (one, other)
        stretches = align(track, target, look, max_distance)
        seconds = seconds_at_best(stretches, track.time_base)
        if seconds > most:
            found = tuple(map(_swapped, stretches)) if of_other else tuple(stretches)
            best, most = Match(one, other, look, found), seconds
        if most >= _EXPLAINED * shorter_s:
            break
    return best


_BACK: dict[View, View] = {"turned90": "turned270", "turned270": "turned90"}
_EITHER_WAY: tuple[View, ...] = ("whole", "mirrored", "turned180")
_VIEWS: tuple[View, ...] = (*_EITHER_WAY, "turned90", "turned270")


def _told(look: Look, of_other: bool) -> tuple[Look, bool]:
    """A look as the first of two sources tells it; windows and bars are one source's own."""
    if look.window is not None or look.inside or not of_other:
        return look, of_other
    return replace(look, view=_BACK.get(look.view, look.view)), False


def _simplest_first(item: tuple[Look, bool]) -> tuple[int, ...]:
    look, of_other = item
    window = -1 if look.window is None else look.window
    kinds = look.inside, look.both_inside, look.halves
    return _VIEWS.index(look.view), *kinds, window, of_other


def _swapped(item: Stretch) -> Stretch:
    """The same stretch told from the other source."""
    return replace(
        item,
        start_pts=item.other_start_pts,
        end_pts=item.other_end_pts,
        other_start_pts=item.start_pts,
        other_end_pts=item.end_pts,
        rate=1 / item.rate,
    )
