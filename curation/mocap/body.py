"""A motion seen as a person: 22 joints, floor, height and heading."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from catalogs.errors import NotFoundError
from curation.mocap import rotations as rot
from curation.mocap.curves import rate, smoothed
from curation.mocap.detect import stature
from curation.mocap.layouts import HUMANML22
from curation.mocap.mapping import find_mapping
from curation.mocap.skeleton import Motion

__all__ = [
    "Body",
    "angle_between",
    "body_from_joints",
    "body_of",
    "length",
    "total",
    "without_gaps",
]

Array = npt.NDArray[np.floating]
_HEADING_SMOOTHING_S = 0.1
_LEAST_EXTENT_SHARE = 0.8
_SMALLEST_M = 0.05
"""Joints that lie closer together are no body."""


@dataclass(frozen=True, eq=False)
class Body:
    """The 22 joints of a person, and the few facts about them that most measures need."""

    joints: Array
    """(T, 22, 3)"""
    fps: float
    height: float
    """Body height in metres: the median vertical extent, at least 0.8 of the stature."""
    stature: float
    """Standing height in metres by the bones, whatever the posture."""
    floor: float
    """Height of the floor: where the feet rest."""
    heading: Array
    """(T,) radians, unwrapped, positive to the left; 0 faces +z."""

    def __getitem__(self, name: str) -> Array:
        return self.joints[:, HUMANML22.index(name)]

    @cached_property
    def aligned(self) -> Array:
        """(T, 22, 3) postures: the pelvis above the origin, always facing +z."""
        local = self.joints - self.joints[:, :1] * np.array([1.0, 0.0, 1.0])
        return rot.rotate(rot.yaw(-self.heading)[:, None], local)

    def speed(self, points: Array) -> Array:
        """Speeds of points (T, ..., 3) by central differences."""
        return np.linalg.norm(rate(points, self.fps), axis=-1)


def body_of(motion: Motion) -> Body | None:
    """The motion as a body, or None when its joints are not those of a person."""
    try:
        joints = find_mapping(motion.skeleton).positions(motion)
    except NotFoundError:
        return None
    seen = joints[np.isfinite(joints).all(axis=(1, 2))]
    if not len(seen) or not stature(seen) >= _SMALLEST_M:
        return None
    return body_from_joints(joints, float(motion.fps))


def body_from_joints(joints: Array, fps: float) -> Body:
    """A body of (T, 22, 3) joints, of which at least one frame is whole."""
    feet = joints[:, [i for foot in HUMANML22.feet for i in foot], 1]
    seen = joints[np.isfinite(joints).all(axis=(1, 2))]
    tall = stature(seen)
    extent = float(np.median(np.ptp(seen[..., 1], axis=1)))
    height = max(extent, _LEAST_EXTENT_SHARE * tall)
    return Body(joints, fps, height, tall, _floor(feet), _heading(joints, fps))


def without_gaps(body: Body) -> Body:
    """The body with frames that lack a joint replaced by the last whole one."""
    seen = np.isfinite(body.joints).all(axis=(1, 2))
    if seen.all():
        return body
    nearest = np.maximum.accumulate(np.where(seen, np.arange(len(body.joints)), 0))
    nearest[: int(np.argmax(seen))] = int(np.argmax(seen))
    filled = body_from_joints(body.joints[nearest], body.fps)
    return replace(filled, height=body.height, stature=body.stature, floor=body.floor)


def length(v: Array) -> Array:
    """Lengths of vectors (..., 3) as (..., 1), never zero."""
    return np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def angle_between(a: Array, b: Array) -> Array:
    """Degrees between vectors."""
    cosine = np.sum(a * b, axis=-1) / (length(a) * length(b))[..., 0]
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def total(*values: Array) -> Array:
    """The sum of arrays of one shape."""
    return np.sum(values, axis=0)


def _floor(feet: Array) -> float:
    """Where the lower toes are in the lowest tenth of frames: robust to a single dip."""
    lowest = np.min(feet[np.isfinite(feet).all(axis=1)], axis=1)
    return float(np.percentile(lowest, 10))


def _heading(joints: Array, fps: float) -> Array:
    index = HUMANML22.index
    across = (
        joints[:, index("left_hip")]
        - joints[:, index("right_hip")]
        + joints[:, index("left_shoulder")]
        - joints[:, index("right_shoulder")]
    )
    # facing is left x up: with y up, (ax, az) faces (-az, ax) turned into x and z
    ahead = smoothed(np.stack([-across[:, 2], across[:, 0]], axis=-1), fps, _HEADING_SMOOTHING_S)
    angle = np.arctan2(ahead[:, 0], ahead[:, 1])
    seen = np.isfinite(angle)
    angle[seen] = np.unwrap(angle[seen])
    return angle
