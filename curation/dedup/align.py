"""Where two sources show the same: one offset in time, and the stretches that match at it.

Hashes that are near vote for the offset at which they would coincide. For an offset with many
votes, each hash of one source is compared with what the other shows at that moment, also between
two of its hashes. Where most of them match for a while is a stretch. Then the next offset has its
turn with what is left, so that a film that uses two scenes of another has two stretches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hashes import BITS, Hashes, View, between, distance, seen
from curation.dedup.sequences import HashedSource

__all__ = ["Look", "Stretch", "align", "seconds_at_best"]

RATES = tuple(Fraction(*pair) for pair in ((1, 1), (24, 25), (25, 24), (4, 5), (5, 4)))
"""Seconds of the other source for one of this: as it is, PAL speed-up, 24 frames shown as 30."""
_BIN_S = 0.125
_OFFSETS = 4
_MOST_ALIGNMENTS = 8
_BEST_DONE = 0.9
_LONGEST_GAP_S = 2.0
_LEAST_MATCHED = 3
_LEAST_SHARE = 0.5
_MOST_CELLS = 1 << 20
_SLACK_S = 0.15
_STRANGERS = 96
"""Halves convince only where the whole pictures differ by less, in bits."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one source is looked at to be found in another.

    Turned or mirrored, through the smaller window of that number, so that a mark on one half of
    the picture does not count, or inside of its bars, the other as it is or inside of its own.
    """

    view: View = "whole"
    window: int | None = None
    halves: bool = False
    inside: bool = False
    both_inside: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of one source that shows what a stretch of another shows; times in ticks."""

    start_pts: int
    end_pts: int
    other_start_pts: int
    other_end_pts: int
    rate: float
    alignment: int
    """Stretches with the same number lie at the same offset."""
    matched: int
    compared: int
    distance: float
    """Median of the hashes that match, in bits."""


@dataclass(frozen=True)
class _Track:
    """What is compared of one source: its good hashes in a look, and how long each stands."""

    source: HashedSource
    at: NDArray[np.intp]
    ends: NDArray[np.int64]
    hashes: Hashes
    targets: Hashes
    """What the hashes are compared with: all of the other source."""
    halves: NDArray[np.uint64] | None

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.source.seconds[self.at]


@dataclass(frozen=True)
class _Alignment:
    rate: Fraction
    offset_s: float
    distances: NDArray[np.int64]
    """Of each hash of the track; more than all bits where there is nothing to compare it with."""


def seconds_at_best(stretches: Sequence[Stretch], time_base: Fraction) -> float:
    """Seconds in stretches of the alignment that has the most."""
    ticks: dict[int, int] = {}
    for item in stretches:
        ticks[item.alignment] = ticks.get(item.alignment, 0) + item.end_pts - item.start_pts
    return max(ticks.values(), default=0) * float(time_base)


def align(one: HashedSource, other: HashedSource, look: Look, max_distance: int) -> list[Stretch]:
    """All stretches of `one`, seen in a way, that match `other`."""
    track = _track(one, other, look)
    open_ = np.ones(len(track.at), bool)
    found: list[Stretch] = []
    for number in range(_MOST_ALIGNMENTS):
        best = _best(track, other, max_distance, open_)
        if best is None:
            break
        hits = np.flatnonzero((best.distances <= max_distance) & open_)
        compared = (best.distances <= BITS) & open_
        runs = [run for run in _runs(track, hits) if _convinces(run, compared)]
        for run in runs:
            found.append(_stretch(track, other, best, run, compared, number))
            open_[run[0] : run[-1] + 1] = False
        if not runs or open_.sum() < _LEAST_MATCHED:
            break
    return found


def _track(one: HashedSource, other: HashedSource, look: Look) -> _Track:
    if look.window is not None:
        at, hashes = one.with_crops, one.crops[:, look.window]
    elif look.halves:
        at, hashes = one.with_halves, one.whole[one.with_halves]
    else:
        bare = look.inside or look.both_inside
        at, hashes = np.arange(len(one.pts)), one.without_bars if bare else one.whole
    ends = np.append(one.pts[at[1:]], one.end_pts)
    keep = one.good[at]
    halves = np.ascontiguousarray(one.halves[keep]) if look.halves else None
    whole = seen(np.ascontiguousarray(hashes[keep]), look.view)
    targets = other.without_bars if look.both_inside else other.whole
    return _Track(one, at[keep], ends[keep], whole, targets, halves)


def _best(
    track: _Track, other: HashedSource, max_distance: int, open_: NDArray[np.bool_]
) -> _Alignment | None:
    """The alignment at which the most hashes match."""
    mine, theirs = _votes(track, other, max_distance, open_)
    best, most = None, _LEAST_MATCHED - 1
    for rate in RATES if len(mine) else ():
        for offset in _offsets(theirs - float(rate) * mine):
            distances = _distances(track, other, float(rate), offset)
            matched = int(((distances <= max_distance) & open_).sum())
            if matched > most:
                best, most = _Alignment(rate, offset, distances), matched
            if most >= _BEST_DONE * open_.sum():
                return best
        if best is not None and most >= _BEST_DONE * ((best.distances <= BITS) & open_).sum():
            break
    return best


def _votes(
    track: _Track, other: HashedSource, max_distance: int, open_: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moments of both sources whose hashes are near."""
    everywhere = np.arange(len(other.pts))
    pairs = [(track.hashes, everywhere, track.targets)]
    if track.halves is not None:
        pairs += [
            (track.halves[:, half], other.with_halves, other.halves[:, half])
            for half in range(track.halves.shape[1])
        ]
    mine, theirs = [], []
    for hashes, places, targets in pairs:
        a, b = np.flatnonzero(open_), np.flatnonzero(other.good[places])
        a = a[:: 1 + len(a) * len(b) // _MOST_CELLS]
        hit_a, hit_b = np.nonzero(distance(hashes[a][:, None], targets[b][None]) <= max_distance)
        mine.append(track.seconds[a[hit_a]])
        theirs.append(other.seconds[places[b[hit_b]]])
    return np.concatenate(mine), np.concatenate(theirs)


def _offsets(offsets: NDArray[np.float64]) -> Iterator[float]:
    """The offsets with the most votes, each away from the ones before."""
    bins = np.rint(offsets / _BIN_S).astype(np.int64)
    low = int(bins.min())
    smooth = np.convolve(np.bincount(bins - low), (1, 2, 1), mode="same")
    for _ in range(_OFFSETS):
        peak = int(smooth.argmax())
        if not smooth[peak]:
            return
        near = np.abs(bins - low - peak) <= 1
        yield float(np.median(offsets[near])) if near.any() else (peak + low) * _BIN_S
        smooth[max(0, peak - 2) : peak + 3] = 0


def _distances(track: _Track, other: HashedSource, rate: float, offset: float) -> NDArray[np.int64]:
    """How far each hash of the track is from what the other source shows at that moment."""
    moments = track.seconds * rate + offset
    found = _to_moments(track.hashes, moments, other.seconds, track.targets)
    if track.halves is not None and len(other.with_halves):
        seconds = other.seconds[other.with_halves]
        halves = [
            _to_moments(track.halves[:, half], moments, seconds, other.halves[:, half])
            for half in range(track.halves.shape[1])
        ]
        related = found <= _STRANGERS
        found = np.where(related, np.minimum(found, np.min(halves, axis=0)), found)
    outside = (moments < other.seconds[0] - _SLACK_S) | (moments > other.end_s + _SLACK_S)
    shown = np.clip(np.searchsorted(other.seconds, moments, side="right") - 1, 0, None)
    return np.where(outside | ~other.good[shown], BITS + 1, found)


def _to_moments(
    hashes: Hashes,
    moments: NDArray[np.float64],
    seconds: NDArray[np.float64],
    targets: Hashes,
) -> NDArray[np.int64]:
    """Distance of each hash to the targets around its moment, and to pictures between them."""
    last = len(seconds) - 1
    behind = np.searchsorted(seconds, moments)
    best = np.full(len(hashes), BITS, np.int64)
    for step in (-2, -1, 0, 1):
        near = np.clip(behind + step, 0, last)
        best = np.minimum(best, distance(hashes, targets[near]))
        if step < 1:
            after = np.clip(near + 1, 0, last)
            best = np.minimum(best, between(hashes, targets[near], targets[after]))
    return best


def _runs(track: _Track, hits: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Matching hashes without a long gap between them."""
    gaps = np.flatnonzero(np.diff(track.seconds[hits]) > _LONGEST_GAP_S)
    return list(np.split(hits, gaps + 1))


def _convinces(run: NDArray[np.intp], compared: NDArray[np.bool_]) -> bool:
    if len(run) < _LEAST_MATCHED:
        return False
    return len(run) >= _LEAST_SHARE * int(compared[run[0] : run[-1] + 1].sum())


def _stretch(
    track: _Track,
    other: HashedSource,
    found: _Alignment,
    run: NDArray[np.intp],
    compared: NDArray[np.bool_],
    number: int,
) -> Stretch:
    one = track.source
    start, end = int(one.pts[track.at[run[0]]]), int(track.ends[run[-1]])
    seconds_per_tick = float(one.time_base) * float(found.rate)
    low, high = (
        round((pts * seconds_per_tick + found.offset_s) / float(other.time_base))
        for pts in (start, end)
    )
    low = min(max(low, int(other.pts[0])), other.end_pts - 1)
    return Stretch(
        start_pts=start,
        end_pts=end,
        other_start_pts=low,
        other_end_pts=max(min(high, other.end_pts), low + 1),
        rate=float(found.rate),
        alignment=number,
        matched=len(run),
        compared=int(compared[run[0] : run[-1] + 1].sum()),
        distance=float(np.median(found.distances[run])),
    )
