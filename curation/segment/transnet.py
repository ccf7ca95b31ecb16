"""TransNetV2's boundaries, made exact and checked by the other signals.

The network says roughly where a shot ends; the frame comes from our own measurements: the largest
unexplained change for a cut, the mixing span for a dissolve or fade. Where it is sure, it may still
be refuted by a flash, a change of light or a dropout; where it sees nothing at all, our own
detector's boundary is dropped. The probabilities are the stored signal `transnet_cut`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curation.segment import shots
from curation.segment.base import Boundary, cuts_at, spaced
from curation.segment.gradual import find_gradual
from curation.segment.looks import Looks, flat
from curation.signals import VideoSignals

__all__ = ["detect"]

_ONSET = 2
_CLEAR_CHANGE = 5.0
_LIVELY_RESIDUAL = 0.35
"""The network vouches for the change, so its mix may be rougher."""


def detect(
    signals: VideoSignals,
    *,
    threshold: float = 0.5,
    doubt: float = 0.02,
    min_frames: int = 0,
    refine: bool = True,
) -> list[Boundary]:
    """Boundaries of the network, or of both.

    Args:
        signals: measured with the network.
        threshold: probability that the network is believed at.
        doubt: probability below which it is sure that nothing happens.
        min_frames: cuts sooner than this after the last one are dropped.
        refine: use the other signals; False gives the network's own cuts.
    """
    likely = signals["transnet_cut"]
    seen = _runs(likely >= threshold)
    if not refine:
        return cuts_at(signals, spaced(_after(seen, len(signals)), min_frames))
    ours = [
        boundary
        for boundary in shots.detect(signals, min_frames=min_frames)
        if _highest(likely, boundary) >= doubt
    ]
    missed = [run for run in seen if not any(_touches(run, boundary) for boundary in ours)]
    return sorted([*ours, *_confirmed(signals, missed)])


def _confirmed(signals: VideoSignals, runs: list[tuple[int, int]]) -> list[Boundary]:
    """Boundaries that only the network sees: a cut where the picture jumps, else a dissolve."""
    if not runs:
        return []
    cuts = np.array([_exact_frame(signals, first, last) for first, last in runs], np.intp)
    jumps = signals["unexplained"][cuts] >= _CLEAR_CHANGE
    mixes = find_gradual(signals, cuts[jumps], _LIVELY_RESIDUAL)
    found: list[Boundary] = []
    for run, at, jump in zip(runs, cuts.tolist(), jumps.tolist(), strict=True):
        mix = next((mix for mix in mixes if _touches(run, mix)), None)
        if not jump and mix:
            found.append(mix)
        elif not _refuted(signals, at):
            found += cuts_at(signals, [at])
    return found


def _refuted(signals: VideoSignals, at: int) -> bool:
    """Whether a cut is a flash, a change of light, a dropout, or lies between flat pictures."""
    looks, cut = Looks(signals), np.array([at])
    between_flat = flat(looks.at(cut - 1)) & flat(looks.at(cut))
    return bool((shots.refuted(signals, cut) | between_flat)[0])


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of set flags."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]


def _after(runs: list[tuple[int, int]], frames: int) -> NDArray[np.intp]:
    """A shot that ends with a frame is followed by one that begins with the next."""
    starts = np.array([last + 1 for _, last in runs], np.intp)
    return starts[starts < frames]


def _highest(likely: NDArray[np.float32], boundary: Boundary) -> float:
    around = likely[max(0, boundary.frame - 1 - _ONSET) : boundary.end_frame + _ONSET]
    return float(around.max(initial=0.0))


def _touches(run: tuple[int, int], boundary: Boundary) -> bool:
    return boundary.frame <= run[1] + 1 + _ONSET and boundary.end_frame >= run[0] + 1 - _ONSET


def _exact_frame(signals: VideoSignals, first: int, last: int) -> int:
    """The frame of the largest unexplained change near the run, if that change is clear."""
    most = len(signals) - 1
    low, high = max(1, first + 1 - _ONSET), min(most, last + 1 + _ONSET)
    if low > high:
        return min(last + 1, most)
    change = signals["unexplained"][low : high + 1]
    best = int(np.argmax(change))
    return low + best if change[best] >= _CLEAR_CHANGE else min(last + 1, most)
