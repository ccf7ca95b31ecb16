"""What the camera does in a clip, found in stored signals: moves with direction, speed and time.

Travel, zoom and roll are smoothed over half a second; a stretch in which one of them keeps its
direction and goes far enough is a move, the rest is rest or wander. Whatever is faster than half a
second is shake. A picture that grows may be a zoom or a camera that moves in: signals of small
frames cannot tell, so both are called zoom.

A large thing that moves through the picture (a bus, a dancer) looks like a camera move to whoever
compares two frames. So the storyboard is asked too: where the picture behind it stays in place
from second to second, the camera stood still, whatever the signals say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.operators import Clip
from curation.operators.motion import PX_PER_PERCENT, STEADY_S, followed
from curation.operators.statistics import frame_rate, runs, smoothed
from curation.operators.text import Page

__all__ = ["CAMERA_VERSION", "Camera", "Move", "anchored_share", "camera_of"]

CAMERA_VERSION = 1

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """One way in which a camera moves."""

    name: str
    negative: str
    positive: str
    slowest: float
    """Per second; what is slower is rest."""
    shortest: float
    """How far a move goes at least, in the same unit."""
    slow: float
    fast: float
    whip: float
    unit: str


AXES = (
    Axis("pan", "left", "right", 1.5, 5.0, 8.0, 35.0, 120.0, "% of width"),
    Axis("tilt", "up", "down", 1.5, 4.0, 6.0, 25.0, 90.0, "% of width"),
    Axis("zoom", "out", "in", 1.2, 4.0, 4.0, 20.0, 80.0, "%"),
    Axis("roll", "counter-clockwise", "clockwise", 1.5, 5.0, 6.0, 30.0, 120.0, "degrees"),
)
SHAKY_PX, HANDHELD_PX, TRIPOD_PX = 2.5, 0.7, 0.25
"""RMS of fast camera travel per frame at 640 px width, as the operator `motion` measures it."""
WANDERS = 0.35
"""Net over total travel below which moves to and fro are the hand that holds the camera."""
WEAK = 0.3
"""A move this much weaker than another at the same time is not told."""
SHAKE_HIDES = 2.0
"""A move is the word for a clip when its strength is this many times the shake."""
ANCHORED, ADRIFT = 0.35, 0.25
"""Shares of detail that stays in place: at least so much of it where the camera stands still, and
less than that where it does not."""
BLOCK_PX, SMALL_PX, DETAIL_255, SAME = 12, 128, 3.0, 0.7
LEAST_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the camera, in seconds from the clip's start."""

    axis: str
    direction: str
    pace: str
    """slow, steady, fast or whip."""
    start_s: float
    end_s: float
    travel: float
    """With its sign, in the axis' unit."""
    strength: float
    """Travel in shortest moves."""

    @property
    def label(self) -> str:
        return f"{self.axis} {self.direction}"

    @property
    def per_second(self) -> float:
        return self.travel / max(self.end_s - self.start_s, 1e-6)

    def measures(self) -> Mapping[str, Any]:
        return {
            "move": self.label,
            "start_s": round(self.start_s, 2),
            "end_s": round(self.end_s, 2),
            "travel": round(self.travel, 2),
            "per_second": round(self.per_second, 2),
        }


@dataclass(frozen=True, slots=True)
class Camera:
    """The camera of one clip."""

    moves: tuple[Move, ...]
    """In order of time, weak company left out."""
    shake_px: float
    anchored: float = float("nan")
    """Share of the picture's detail that is in the same place a second later."""
    known: bool = True
    """Whether there was enough to follow: flat or flickering pictures say nothing."""

    @property
    def stands(self) -> bool:
        """Whether the storyboard proves that the camera stood still."""
        return self.anchored >= ANCHORED

    @property
    def hold(self) -> str:
        """still, steady, hand-held or shaky: how the camera is held beside its moves."""
        if self.stands:
            return "still"
        if self.shake_px >= SHAKY_PX:
            return "shaky"
        if self.shake_px >= HANDHELD_PX or self.anchored < ADRIFT:
            return "hand-held" if not self._travels else "steady"
        return "still" if self.shake_px < TRIPOD_PX and not self.moves else "steady"

    @property
    def _travels(self) -> bool:
        return bool(self.moves) and self.shake_px < HANDHELD_PX

    @property
    def is_static(self) -> bool:
        """No move, and no more shake than a hand has."""
        return self.known and not self.moves and self.hold in ("still", "steady")

    @property
    def label(self) -> str:
        """One word for the whole clip: its strongest move, or how it is held."""
        if not self.known:
            return "unknown"
        strongest = max(self.moves, key=lambda move: move.strength, default=None)
        if strongest and strongest.strength >= SHAKE_HIDES * self.shake_px:
            return strongest.label
        return "static" if self.is_static else "shake"


def camera_of(clip: Clip, pictures: Sequence[NDArray[np.uint8]]) -> Camera:
    """The camera of a clip, from its signals and the pictures of its storyboard."""
    kept = followed(clip)
    rate = frame_rate(clip)
    if np.count_nonzero(kept) < max(3, 0.3 * rate):
        return Camera((), float("nan"), known=False)
    anchored = anchored_share(pictures)
    speeds = dict(_speeds(clip, kept, rate))
    width = round(STEADY_S * rate)
    moves = [move for axis in AXES for move in _moves(axis, speeds[axis.name], width, rate)]
    shake_px = _shake_px(speeds, kept, width, rate)
    return Camera(() if anchored >= ANCHORED else _told(moves), shake_px, anchored)


def _speeds(clip: Clip, kept: NDArray[np.bool_], rate: float) -> Iterator[tuple[str, Series]]:
    """Every axis in its unit per second; 0 where the picture could not be followed."""
    for axis in AXES:
        values = np.asarray(clip.changes(axis.name), np.float64)
        yield axis.name, np.where(kept & np.isfinite(values), values, 0.0) * rate


def _shake_px(
    speeds: Mapping[str, Series], kept: NDArray[np.bool_], width: int, rate: float
) -> float:
    fast = [speeds[name] - smoothed(speeds[name], width) for name in ("pan", "tilt")]
    length = np.hypot(*fast)[kept] * PX_PER_PERCENT / rate
    return float(np.sqrt(np.mean(length**2)))


def _moves(axis: Axis, speed: Series, width: int, rate: float) -> list[Move]:
    """Stretches of one direction that go far enough; none where they only go to and fro."""
    calm = smoothed(speed, width)
    found = []
    for sign in (-1, 1):
        for first, last in runs(sign * calm > axis.slowest):
            travel = float(speed[first:last].sum() / rate)
            if sign * travel >= axis.shortest:
                found.append(_move(axis, first / rate, last / rate, travel))
    net = abs(sum(move.travel for move in found))
    total = sum(abs(move.travel) for move in found)
    if len(found) > 2 and net < WANDERS * total:
        return []
    return found


def _move(axis: Axis, start_s: float, end_s: float, travel: float) -> Move:
    pace = abs(travel) / (end_s - start_s)
    names = (axis.slow, "slow"), (axis.fast, "steady"), (axis.whip, "fast")
    name = next((name for limit, name in names if pace < limit), "whip")
    direction = axis.positive if travel > 0 else axis.negative
    return Move(axis.name, direction, name, start_s, end_s, travel, abs(travel) / axis.shortest)


def _told(moves: Sequence[Move]) -> tuple[Move, ...]:
    """In order of time, without those that only come along with a much stronger one."""
    kept = [
        move
        for move in moves
        if not any(
            other.axis != move.axis
            and move.strength < WEAK * other.strength
            and min(move.end_s, other.end_s) - max(move.start_s, other.start_s)
            > 0.5 * (move.end_s - move.start_s)
            for other in moves
        )
    ]
    return tuple(sorted(kept, key=lambda move: (move.start_s, -move.strength)))


# -- what stays in place ---------------------------------------------------------------------


def anchored_share(pictures: Sequence[NDArray[np.uint8]]) -> float:
    """Median share of the blocks with detail that look the same in the next picture.

    Text is left out, for what is burnt in stays whatever the camera does. NaN with fewer than two
    pictures or without detail.
    """
    shares = [_same_share(a, b) for a, b in pairwise(map(_detail, pictures))]
    known = [value for value in shares if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def _detail(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(blocks, samples) of what is finer than a few pixels; zero under text."""
    import cv2

    page = Page(rgb)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = tuple(round(side * SMALL_PX / min(grey.shape)) for side in reversed(grey.shape))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    fine = small - cv2.GaussianBlur(small, (0, 0), 3)
    text = cv2.resize(page.area.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    fine[text > 0] = 0.0
    height, width = (side // BLOCK_PX * BLOCK_PX for side in fine.shape)
    tiled = fine[:height, :width].reshape(height // BLOCK_PX, BLOCK_PX, -1, BLOCK_PX)
    blocks = tiled.swapaxes(1, 2).reshape(-1, BLOCK_PX * BLOCK_PX)
    return np.asarray(blocks - blocks.mean(axis=1, keepdims=True), np.float32)


def _same_share(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    spread, spread_after = one.std(axis=1), other.std(axis=1)
    detailed = np.maximum(spread, spread_after) > DETAIL_255
    if np.count_nonzero(detailed) < LEAST_BLOCKS:
        return float("nan")
    likeness = (one * other).mean(axis=1) / np.maximum(spread * spread_after, 1e-3)
    return float(np.mean(likeness[detailed] > SAME))
