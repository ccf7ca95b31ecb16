"""What a body does, as events with measurements: the facts that captions are written from.

    >>> [event.kind for event in find_events(Scene(body))]
    ['walk', 'raise']

An event names the part that acts, its frames, and the numbers it rests on. Thresholds scale with
the size of the body. `side` is left, right, both or empty; in a mirrored motion the same events
are found with the sides swapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from curation.mocap.body import Body, angle_between, length
from curation.mocap.body_signals import body_signals
from curation.mocap.curves import rate, runs, smoothed

__all__ = [
    "SIDES",
    "Event",
    "Scene",
    "close_gaps",
    "joined_sides",
    "local_peaks",
    "turning_points",
]

Array = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
SIDES = ("left", "right")


@dataclass(frozen=True)
class Event:
    """Something that a part of the body does from `start` to `end` (exclusive)."""

    kind: str
    part: str
    """body, trunk, arm or leg."""
    start: int
    end: int
    side: str = ""
    measures: Mapping[str, float | str] = field(default_factory=dict)
    weight: float = 1.0
    """How much of the take it is, for choosing what a brief caption says."""

    def number(self, name: str) -> float:
        return float(self.measures[name])


@dataclass(frozen=True, eq=False)
class Scene:
    """A body with the curves that several kinds of events are found in."""

    body: Body

    @property
    def fps(self) -> float:
        return self.body.fps

    @property
    def frames(self) -> int:
        return len(self.body.joints)

    @property
    def size(self) -> float:
        """Standing height in metres."""
        return self.body.stature

    @cached_property
    def scale(self) -> float:
        """Speeds and distances of a body of 1.7 m times this are this body's."""
        return self.size / 1.7

    @cached_property
    def signals(self) -> dict[str, Array]:
        return body_signals(self.body)

    @cached_property
    def velocity(self) -> Array:
        """(T, 2) of the pelvis seen from the body: to the left, and ahead."""
        ground = rate(smoothed(self.body["pelvis"], self.fps, 0.15), self.fps)
        sin, cos = np.sin(self.body.heading), np.cos(self.body.heading)
        left = ground[:, 0] * cos - ground[:, 2] * sin
        ahead = ground[:, 0] * sin + ground[:, 2] * cos
        return np.stack([left, ahead], axis=-1)

    @cached_property
    def speed(self) -> Array:
        return np.linalg.norm(self.velocity, axis=-1)

    @cached_property
    def pelvis_height(self) -> Array:
        """Of the pelvis above the floor, as a share of its standing height."""
        standing = 0.53 * self.size
        return (self.body["pelvis"][:, 1] - self.body.floor) / standing

    @cached_property
    def lean(self) -> Array:
        """(T, 2) degrees by which the trunk leans to the left and ahead; past 90 is upside down."""
        trunk = self.in_body(self.body["neck"] - self.body["pelvis"])
        unit = trunk / length(trunk)
        up = np.degrees(np.arccos(np.clip(unit[:, 1], -1, 1)))
        across = np.maximum(np.linalg.norm(unit[:, [0, 2]], axis=-1), 1e-9)
        return np.stack([up * unit[:, 0] / across, up * unit[:, 2] / across], axis=-1)

    def in_body(self, vectors: Array) -> Array:
        """World vectors (T, 3) turned so that +x is the body's left and +z its front."""
        sin, cos = np.sin(self.body.heading), np.cos(self.body.heading)
        left = vectors[:, 0] * cos - vectors[:, 2] * sin
        ahead = vectors[:, 0] * sin + vectors[:, 2] * cos
        return np.stack([left, vectors[:, 1], ahead], axis=-1)

    def spans(self, flags: Flags, least_s: float, gap_s: float = 0.0) -> list[tuple[int, int]]:
        """Stretches of True of at least `least_s`, those nearer than `gap_s` joined."""
        whole = close_gaps(flags, round(gap_s * self.fps))
        return [(a, b) for a, b in runs(whole) if b - a >= least_s * self.fps]

    def elbow(self, side: str) -> Array:
        """Degrees of flexion."""
        body = self.body
        return angle_between(
            body[f"{side}_elbow"] - body[f"{side}_shoulder"],
            body[f"{side}_wrist"] - body[f"{side}_elbow"],
        )


def close_gaps(flags: Flags, frames: int) -> Flags:
    """The flags with inner stretches of False of at most `frames` filled."""
    out = flags.copy()
    for start, end in runs(~flags):
        if start > 0 and end < len(flags) and end - start <= frames:
            out[start:end] = True
    return out


def local_peaks(curve: Array, least: float, distance: float) -> list[int]:
    """Maxima of at least `least`, the highest first kept, none nearer than `distance` frames."""
    padded = np.concatenate([[-np.inf], curve, [-np.inf]])
    maxima = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:]))
    taken: list[int] = []
    for at in maxima[np.argsort(-curve[maxima], kind="stable")]:
        if curve[at] >= least and all(abs(int(at) - other) >= distance for other in taken):
            taken.append(int(at))
    return sorted(taken)


def turning_points(curve: Array, least: float) -> int:
    """How often a curve turns back by at least `least`."""
    turns, low, high, rising = 0, curve[0], curve[0], 0
    for value in curve:
        low, high = min(low, value), max(high, value)
        if rising <= 0 and value - low >= least:
            turns += rising < 0
            rising, high = 1, value
        elif rising >= 0 and high - value >= least:
            turns += rising > 0
            rising, low = -1, value
        if rising > 0:
            low = high
        elif rising < 0:
            high = low
    return turns


def joined_sides(events: list[Event]) -> list[Event]:
    """Events of the same kind that both sides do together become one of `both`."""
    out: list[Event] = []
    left = [event for event in events if event.side == "left"]
    right = [event for event in events if event.side == "right"]
    used: set[int] = set()
    for one in left:
        for i, other in enumerate(right):
            shared = min(one.end, other.end) - max(one.start, other.start)
            whole = max(one.end, other.end) - min(one.start, other.start)
            if i not in used and one.kind == other.kind and shared > 0.5 * whole:
                used.add(i)
                out.append(_both(one, other))
                break
        else:
            out.append(one)
    return out + [event for i, event in enumerate(right) if i not in used]


def _both(one: Event, other: Event) -> Event:
    measures: dict[str, float | str] = {}
    for name, value in one.measures.items():
        twin = other.measures[name]
        if isinstance(value, str) or isinstance(twin, str):
            # words that differ are told by the larger number beside them
            first = one if one.weight >= other.weight else other
            measures[name] = first.measures[name]
        else:
            measures[name] = max(value, twin)
    return replace(
        one,
        side="both",
        start=min(one.start, other.start),
        end=max(one.end, other.end),
        measures=measures,
        weight=one.weight + other.weight,
    )
