"""The default: hard cuts, dissolves and fades, without a network.

A hard cut is a frame that no local motion makes out of the one before (`unexplained`), over a good
part of the picture, and much more so than its neighbours: a fast shot changes all the time, a cut
once. Some things look like that and are none, and the frames around tell: a flash or glitch (the
old picture is back at once), a change of light (the same picture, brighter), the end of a dropout
(a moving shot broke, froze and moves again), the smaller of two neighbouring peaks (a frame blended
of both shots). Gradual changes are found beside them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curation.segment.base import Boundary, cuts_at, spaced
from curation.segment.gradual import find_gradual
from curation.segment.looks import Looks, frame_rate, likeness
from curation.signals import VideoSignals

__all__ = ["detect", "refuted"]

_NEIGHBOURS = 3
_LEAST_CHANGE = 5.0
_LEAST_SHARE = 1 / 3
_SAME_PICTURE = 0.9
_FLASH_S = 0.2
_BLEND_FRAMES = 2
_FREEZE_S = 0.3
_FROZEN = 1.0
"""Mean change of value below which a frame repeats the one before."""
_MOVING = 3.0


def detect(
    signals: VideoSignals, *, threshold: float = 3.0, min_frames: int = 0, gradual: bool = True
) -> list[Boundary]:
    """Boundaries of all kinds, in order.

    Args:
        signals: of the video.
        threshold: how many times more than its neighbours a cut changes.
        min_frames: cuts sooner than this after the last one are dropped.
        gradual: look for dissolves and fades too.
    """
    cuts = _hard_cuts(signals, threshold)
    mixes = find_gradual(signals, cuts) if gradual else []
    return sorted([*cuts_at(signals, spaced(cuts, min_frames)), *mixes])


def _hard_cuts(signals: VideoSignals, threshold: float) -> NDArray[np.intp]:
    change = signals["unexplained"]
    wide = (change >= _LEAST_CHANGE) & (signals["unexplained_share"] >= _LEAST_SHARE)
    wide[:1] = False
    candidates = np.flatnonzero(wide)
    candidates = candidates[
        change[candidates] >= threshold * (1.0 + _usual_change(change, candidates))
    ]
    kept = candidates[~refuted(signals, candidates)]
    return _strongest(kept, change)


def refuted(signals: VideoSignals, cuts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which cuts are flashes, changes of light or ends of a dropout."""
    looks, rate = Looks(signals), frame_rate(signals)
    dropout = [_ends_dropout(signals, at, round(_FREEZE_S * rate)) for at in cuts.tolist()]
    return (
        _returns_soon(looks, cuts, max(2, round(_FLASH_S * rate)))
        | _only_light(looks, cuts)
        | np.array(dropout, bool)
    )


def _usual_change(change: NDArray[np.float32], at: NDArray[np.intp]) -> NDArray[np.float32]:
    """The second largest change among the neighbours: one of them may belong to the same cut."""
    steps = [*range(-_NEIGHBOURS, 0), *range(1, _NEIGHBOURS + 1)]
    around = change[np.clip(at[:, None] + np.array(steps), 0, len(change) - 1)]
    return np.sort(around, axis=1)[:, -2]


def _returns_soon(looks: Looks, cuts: NDArray[np.intp], reach: int) -> NDArray[np.bool_]:
    """Whether the picture before a cut is back within `reach` frames, or was there before."""
    returned = np.zeros(len(cuts), bool)
    for step in range(1, reach + 1):
        inside = cuts + step < len(looks)
        returned |= inside & looks.same(cuts - 1, cuts + step, cuts)
        inside = cuts - 1 - step >= 0
        returned |= inside & looks.same(cuts, cuts - 1 - step, cuts - 1)
    return returned


def _only_light(looks: Looks, cuts: NDArray[np.intp]) -> NDArray[np.bool_]:
    return likeness(looks.at(cuts - 1), looks.at(cuts)) > _SAME_PICTURE


def _ends_dropout(signals: VideoSignals, cut: int, least: int) -> bool:
    """Whether a moving shot broke, stood still for `least` frames and moves again from `cut`."""
    change = signals["lum_delta"]
    still = cut - 1
    while still > 0 and change[still] < _FROZEN:
        still -= 1
    if cut - 1 - still < least or still < 2 * _NEIGHBOURS:
        return False
    breaks = slice(still - _NEIGHBOURS, still + 1)
    jump = still - _NEIGHBOURS + int(np.argmax(signals["unexplained"][breaks]))
    share = signals["unexplained_share"][jump]
    broke = signals["unexplained"][jump] >= _LEAST_CHANGE and share < _LEAST_SHARE
    before = np.median(change[jump - _NEIGHBOURS : jump])
    after = np.median(change[cut + 1 : cut + 1 + _NEIGHBOURS]) if cut + 1 < len(change) else 0.0
    return bool(broke and min(before, after) >= _MOVING)


def _strongest(cuts: NDArray[np.intp], change: NDArray[np.float32]) -> NDArray[np.intp]:
    """Of cuts within two frames of each other, the first of the largest change."""
    kept: list[int] = []
    for at in cuts.tolist():
        if kept and at - kept[-1] <= _BLEND_FRAMES:
            if change[at] > change[kept[-1]]:
                kept[-1] = at
        else:
            kept.append(at)
    return np.array(kept, np.intp)
