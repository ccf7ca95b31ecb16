"""Dissolves and fades: stretches where each frame is a mix of the pictures at its two ends.

Over a window centred on a frame, let A be its first picture and B its last. In a dissolve every
picture between them is close to A + share * (B - A), with a share that grows steadily from 0 to 1,
and A and B are different pictures. Motion fails the first test, for the middle of a pan is no mix
of its ends, and the last, for A moved along with the camera gives B. A change of light fails it
too: A and B are the same picture, brighter or darker. A fade is a dissolve from or to a flat
picture; between two flat pictures there is nothing to cut. Windows of several lengths are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.segment.base import Boundary, BoundaryKind
from curation.segment.looks import Looks, flat, frame_rate, likeness
from curation.signals import VideoSignals

__all__ = ["MOST_RESIDUAL", "find_gradual"]

MOST_RESIDUAL = 0.2

_LEAST_HALF = 4
_HALF_WINDOWS_S = (0.08, 0.16, 0.24, 0.36, 0.56, 0.84)
_MIDDLES = 5
_LEAST_CHANGE = 12.0
"""Root mean square luma between the ends."""
_LEAST_COVERAGE = 0.4
"""Share of the frame that changes by more than 8: a title that appears is no dissolve."""
_LARGEST_STEP = 0.45
"""Between two of the probed pictures: a hard cut is one step."""
_DIFFERENT = 0.6
"""Likeness of the ends above which they are one picture under another light."""
_CAME_BY_TRAVEL = 0.75
"""Likeness of the last picture with the first one moved along with the camera."""
_FLASH_S = 0.3
_GAP = 3
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class _Window:
    center: int
    half: int
    score: float


@dataclass(frozen=True, slots=True)
class _Change:
    start: int
    end: int
    kind: BoundaryKind | None
    """None between two flat pictures."""


def find_gradual(
    signals: VideoSignals, cuts: NDArray[np.intp], most_residual: float = MOST_RESIDUAL
) -> list[Boundary]:
    """Dissolves and fades of a video, in order; none reaches across one of `cuts`.

    Args:
        signals: of the video.
        cuts: first frames of shots, ascending.
        most_residual: what a mix may leave unexplained, of the change between its ends. More
            finds dissolves of livelier shots, and takes motion for dissolves.
    """
    looks = Looks(signals)
    rate = frame_rate(signals)
    halves = sorted({max(_LEAST_HALF, round(half_s * rate)) for half_s in _HALF_WINDOWS_S})
    windows = [
        window for half in halves for window in _mixing_windows(looks, half, cuts, most_residual)
    ]
    taken = np.zeros(len(signals), bool)
    found: list[_Change] = []
    for window in sorted(windows, key=lambda window: -window.score):
        start, end = _mixed_span(looks, window)
        if start > end or taken[start : end + 1].any():
            continue
        taken[start : end + 1] = True
        kind = _kind(looks, window)
        if kind == "dissolve":
            refused = _is_travel(signals, window)
        else:
            refused = _is_flash(looks, start, end, round(_FLASH_S * rate))
        if not refused:
            found.append(_Change(start, end, kind))
    return [
        Boundary(change.start, change.end, change.kind, int(signals.pts[change.start]))
        for change in _joined(found)
        if change.kind
    ]


def _mixing_windows(
    looks: Looks, half: int, cuts: NDArray[np.intp], most_residual: float
) -> Iterator[_Window]:
    """Windows of `2 * half + 1` frames that pass every test."""
    stride = max(1, half // 4)
    ends = len(looks) - half
    for first in range(half, ends, _BLOCK * stride):
        last = min(first + _BLOCK * stride, ends)
        centers, change = _changed_ends(looks, slice(first, last, stride), half)
        whole = np.searchsorted(cuts, centers - half, "right") == np.searchsorted(
            cuts, centers + half, "right"
        )
        centers, change = centers[whole], change[whole]
        residual, steady = _mix_fit(looks, centers, half)
        fits = steady & (residual < most_residual)
        score = change * (1.0 - residual)
        for center, value in zip(centers[fits].tolist(), score[fits].tolist(), strict=True):
            yield _Window(center, half, value)


def _changed_ends(
    looks: Looks, at: slice, half: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Centers whose ends differ much, widely and by more than light; and by how much."""
    opening, closing = (
        slice(at.start + shift, at.stop + shift, at.step) for shift in (-half, half)
    )
    change, alike, flat_end = looks.pairs(opening, closing)
    keep = (change > _LEAST_CHANGE) & (flat_end | (alike < _DIFFERENT))
    centers = np.arange(at.start, at.stop, at.step)[keep]
    difference = looks.at(centers + half) - looks.at(centers - half)
    wide = (np.abs(difference) > 8).mean(axis=1) > _LEAST_COVERAGE
    return centers[wide], change[keep][wide]


def _mix_fit(
    looks: Looks, centers: NDArray[np.intp], half: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Worst residual of the mix over the probed pictures, and whether its share grows steadily."""
    opening = looks.at(centers - half)
    difference = looks.at(centers + half) - opening
    power = np.maximum((difference * difference).mean(axis=1), 1e-6)
    shares = [np.zeros(len(centers), np.float32)]
    worst = np.zeros(len(centers), np.float32)
    for step in np.rint(np.linspace(-half, half, _MIDDLES + 2)[1:-1]).astype(int):
        offset = looks.at(centers + step) - opening
        share = (offset * difference).mean(axis=1) / power
        rest = offset - share[:, None] * difference
        worst = np.maximum(worst, (rest * rest).mean(axis=1) / power)
        shares.append(share)
    shares.append(np.ones(len(centers), np.float32))
    steps = np.diff(np.stack(shares), axis=0)
    residual = np.sqrt(worst)
    steady = (steps.min(axis=0) > -0.05) & (steps.max(axis=0) < _LARGEST_STEP)
    return residual, steady


def _mixed_span(looks: Looks, window: _Window) -> tuple[int, int]:
    """First and last mixed frame, from the line through the shares of the window."""
    frames = np.arange(window.center - window.half, window.center + window.half + 1)
    opening = looks.at(frames[:1])
    difference = looks.at(frames[-1:]) - opening
    offset = looks.at(frames) - opening
    share = (offset * difference).mean(axis=1) / np.mean(difference * difference)
    middle = (share > 0.2) & (share < 0.8)
    if np.count_nonzero(middle) < 2:
        middle = (share > 0.02) & (share < 0.98)
    if np.count_nonzero(middle) < 2:
        return window.center, window.center
    slope, level = np.polyfit(frames[middle], share[middle], 1)
    if slope <= 0:
        return int(frames[0]) + 1, int(frames[-1]) - 1
    start = int(np.floor(-level / slope)) + 1
    end = int(np.ceil((1 - level) / slope)) - 1
    return max(start, int(frames[0])), min(end, int(frames[-1]))


def _kind(looks: Looks, window: _Window) -> BoundaryKind | None:
    """By the end that is flat; None when both are."""
    ends = looks.at(np.array([window.center - window.half, window.center + window.half]))
    opens, closes = flat(ends).tolist()
    if opens and closes:
        return None
    if opens:
        return "fade_in"
    return "fade_out" if closes else "dissolve"


def _is_travel(signals: VideoSignals, window: _Window) -> bool:
    """Whether the last picture of a window is the first one, moved as the camera moved."""
    first, last = window.center - window.half, window.center + window.half
    steps = slice(first + 1, last + 1)
    total = {name: float(signals[name][steps].sum()) for name in ("pan", "tilt", "zoom", "roll")}
    height, width = signals.thumbs.shape[1:]
    center = ((width - 1) / 2, (height - 1) / 2)
    warp = cv2.getRotationMatrix2D(center, total["roll"], exp(total["zoom"] / 100))
    warp[:, 2] -= np.array([total["pan"], total["tilt"]]) * width / 100
    size = (width, height)
    moved = cv2.warpAffine(signals.thumbs[first].astype(np.float32), warp, size)
    covered = cv2.warpAffine(np.ones((height, width), np.float32), warp, size) > 0.99
    if np.count_nonzero(covered) < covered.size / 4:
        return False
    reached = signals.thumbs[last][covered].astype(np.float32)
    return float(likeness(moved[covered][None], reached[None])[0]) > _CAME_BY_TRAVEL


def _is_flash(looks: Looks, start: int, end: int, reach: int) -> bool:
    """Whether the picture after a fade was there shortly before it, or the other way round."""
    before = np.full(reach, start - 1)
    after = np.full(reach, min(end + 1, len(looks) - 1))
    steps = np.arange(1, reach + 1)
    came_back = (before - steps >= 0) & looks.same(after, before - steps, before)
    will_return = (after + steps < len(looks)) & looks.same(before, after + steps, after)
    return bool((came_back | will_return).any())


def _joined(changes: list[_Change]) -> list[_Change]:
    """Neighbours as one, for a long change may be found in parts: of one kind, or partly flat."""
    joined: list[_Change] = []
    for change in sorted(changes, key=lambda change: change.start):
        last = joined[-1] if joined else None
        if (
            last
            and change.start <= last.end + _GAP
            and (last.kind == change.kind or None in (last.kind, change.kind))
        ):
            joined[-1] = _Change(last.start, change.end, last.kind or change.kind)
        else:
            joined.append(change)
    return joined
