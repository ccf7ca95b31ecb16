"""Unit, up axis, handedness and travel of a motion, from the body itself.

Files of rotations name neither their unit nor their axes. What is known of people tells both:
an adult is 1.2 to 2.2 m tall, stands with the head above the feet most of the time, and has the
left hip on the left when the toes point ahead. Every finding has a confidence between 0 and 1
and where it came from; what a format or a recipe declares is taken as it is.

Handedness is reported, never repaired on its own: a left-handed file and a file whose left and
right joints are swapped look the same, and only the recipe can say which one it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from catalogs.errors import NotFoundError, UsageError
from curation.mocap import rotations as rot
from curation.mocap.layouts import HUMANML22
from curation.mocap.mapping import JointMapping, find_mapping, plain_name
from curation.mocap.skeleton import Motion

__all__ = ["UNITS", "Conventions", "Finding", "detect", "normalised", "stature"]

Array = npt.NDArray[np.floating]
Source = Literal["declared", "detected", "assumed", "override"]

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "cmu": 0.0254 / 0.45}
"""Metres per unit. `cmu` is that of the CMU collection: inches divided by 0.45."""
_ADULT_M = (1.2, 2.2)
_BODY_M = (0.6, 4.4)
"""Half and twice an adult: a metric unit is still believed, the size is then reported as odd."""
_TYPICAL_M = 1.7
_STATURE_PER_CHAIN = 1.15
"""Stature over leg plus spine, as in SMPL's mean body."""
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Finding:
    """A value, how sure it is (0 to 1) and where it came from."""

    value: str
    confidence: float
    source: Source


@dataclass(frozen=True)
class Conventions:
    """How a file measures the world, and the height of its subject."""

    unit: Finding
    metres_per_unit: float
    up_axis: Finding
    handedness: Finding
    travel_joint: Finding
    """The joint that carries the subject through the room."""
    stature_m: float | None
    """Standing height, from the lengths of legs and spine; None where there is no body."""


def detect(motion: Motion, declared: dict[str, str], override: dict[str, str]) -> Conventions:
    """What the motion's unit and axes are; `override` beats `declared` beats the body."""
    mapping = _mapping(motion)
    body = None if mapping is None else _seen(mapping.positions(motion))
    up = _declared("up_axis", declared, override) or _up_axis(motion, body)
    if up.value not in {*_AXES, *(f"-{axis}" for axis in _AXES)}:
        raise UsageError(f"up axis {up.value!r}", allowed="x, y, z, -x, -y or -z")
    length = None if body is None else stature(body)
    unit = _declared("unit", declared, override)
    if unit is not None:
        scale = _metres(unit.value)
    else:
        unit, scale = _unit(motion, mapping, length)
    return Conventions(
        unit=unit,
        metres_per_unit=scale,
        up_axis=up,
        handedness=_declared("handedness", declared, override) or _handedness(body),
        travel_joint=_travel_joint(motion, mapping),
        stature_m=None if length is None else length * scale,
    )


def stature(body: Array) -> float:
    """Standing height in the unit of `body` (T, 22, 3): legs plus spine, whatever the pose."""
    parents = np.maximum(HUMANML22.parents, 0)
    lengths = np.median(np.linalg.norm(body - body[:, parents], axis=-1), axis=0)

    def total(*names: str) -> float:
        return float(sum(lengths[HUMANML22.index(name)] for name in names))

    legs = total("left_knee", "left_ankle", "right_knee", "right_ankle") / 2
    spine = total("spine1", "spine2", "spine3", "neck", "head")
    return _STATURE_PER_CHAIN * (legs + spine)


def normalised(motion: Motion, conventions: Conventions) -> Motion:
    """The motion in metres, y up and right-handed."""
    turn = _to_y_up(conventions.up_axis.value)
    flip = conventions.handedness.source == "override" and conventions.handedness.value == "left"
    scale = conventions.metres_per_unit
    skeleton = motion.skeleton

    def place(points: Array | None) -> Array | None:
        if points is None:
            return None
        turned = points if turn is None else rot.rotate(turn, points)
        return turned * (scale * np.array([-1.0 if flip else 1.0, 1.0, 1.0]))

    turns = motion.rotations
    if turns is not None and turn is not None:
        turns = np.concatenate([turns[..., :1], rot.rotate(turn, turns[..., 1:])], axis=-1)
    if turns is not None and flip:
        turns = turns * np.array([1.0, 1.0, -1.0, -1.0])
    offsets, ends = place(skeleton.offsets), place(skeleton.end_offsets)
    assert offsets is not None
    assert ends is not None
    return replace(
        motion,
        skeleton=replace(skeleton, offsets=offsets, end_offsets=ends),
        root_positions=place(motion.root_positions),
        rotations=turns,
        local_positions=place(motion.local_positions),
        measured=place(motion.measured),
    )


def _mapping(motion: Motion) -> JointMapping | None:
    try:
        return find_mapping(motion.skeleton)
    except NotFoundError:
        return None


def _seen(body: Array) -> Array | None:
    """The frames in which every joint was seen, None when there is no body in them."""
    whole = body[np.isfinite(body).all(axis=(1, 2))]
    return whole if len(whole) and stature(whole) > 1e-6 else None


def _declared(name: str, declared: dict[str, str], override: dict[str, str]) -> Finding | None:
    if name in override:
        return Finding(override[name], 1.0, "override")
    return Finding(declared[name], 1.0, "declared") if name in declared else None


def _metres(unit: str) -> float:
    if unit not in UNITS:
        raise UsageError(f"unit {unit!r} is unknown", allowed=", ".join(UNITS))
    return UNITS[unit]


def _up_axis(motion: Motion, body: Array | None) -> Finding:
    if body is None:
        # without a body only the file's bulk is left: most files are y up
        return Finding("y", 0.3, "assumed")
    feet = body[:, [HUMANML22.index("left_ankle"), HUMANML22.index("right_ankle")]].mean(axis=1)
    upright = body[:, HUMANML22.index("head")] - feet
    length = np.linalg.norm(upright, axis=-1, keepdims=True)
    mean = np.mean(upright / np.maximum(length, 1e-9), axis=0)
    axis = int(np.argmax(np.abs(mean)))
    share = float(abs(mean[axis]) / max(np.abs(mean).sum(), 1e-9))
    name = _AXES[axis] if mean[axis] > 0 else f"-{_AXES[axis]}"
    return Finding(name, round(share * float(np.linalg.norm(mean)), 3), "detected")


def _unit(
    motion: Motion, mapping: JointMapping | None, length: float | None
) -> tuple[Finding, float]:
    if length is None or mapping is None:
        return _unit_of_thing(motion)
    names = {plain_name(name) for name in motion.skeleton.names}
    # CMU's own rig: no other unit but metric ones is in use for it
    cmu = "lhipjoint" in names
    known = ["m", "cm", "mm", "cmu"] if cmu else ["m", "cm", "mm", "inch"]
    for unit in known:
        if _ADULT_M[0] <= length * UNITS[unit] <= _ADULT_M[1]:
            middle = abs(np.log(length * UNITS[unit] / _TYPICAL_M))
            return Finding(unit, round(float(1 - middle / 2), 3), "detected"), UNITS[unit]
    for unit in ["cmu", "m", "cm"] if cmu else ["m", "cm"]:
        if _BODY_M[0] <= length * UNITS[unit] <= _BODY_M[1]:
            return Finding(unit, 0.3, "detected"), UNITS[unit]
    scale = _TYPICAL_M / length
    return Finding(f"{scale:.4g} m", 0.2, "assumed"), scale


def _unit_of_thing(motion: Motion) -> tuple[Finding, float]:
    """The metric unit in which the thing is between 0.3 and 3 m big."""
    seen = motion.joints[np.isfinite(motion.joints)]
    size = float(np.percentile(np.abs(seen), 99)) if len(seen) else 1.0
    for unit in ("m", "cm", "mm"):
        if 0.3 <= size * UNITS[unit] <= 3:
            return Finding(unit, 0.4, "assumed"), UNITS[unit]
    return Finding("m", 0.1, "assumed"), 1.0


def _handedness(body: Array | None) -> Finding:
    """The sign of left x spine . toes: it does not depend on the axes or on the posture."""
    if body is None:
        return Finding("right", 0.5, "assumed")
    index = HUMANML22.index
    left = body[:, index("left_hip")] - body[:, index("right_hip")]
    spine = body[:, index("neck")] - body[:, index("pelvis")]
    ahead = sum(
        body[:, index(f"{side}_foot")] - body[:, index(f"{side}_ankle")]
        for side in ("left", "right")
    )
    share = float(np.mean(np.sum(np.cross(left, spine) * ahead, axis=-1) > 0))
    value = "right" if share >= 0.5 else "left"
    return Finding(value, round(abs(2 * share - 1), 3), "detected")


def _travel_joint(motion: Motion, mapping: JointMapping | None) -> Finding:
    """The first joint, unless it stands still while the pelvis below it travels."""
    names = motion.skeleton.names
    if mapping is None or motion.rotations is None:
        return Finding(names[0], 1.0 if motion.rotations is not None else 0.5, "assumed")
    pelvis = mapping.sources[0][1]
    paths = motion.joints[:, [0, pelvis]]
    paths = paths[np.isfinite(paths).all(axis=(1, 2))]
    reach = np.linalg.norm(np.ptp(paths, axis=0), axis=-1) if len(paths) else np.ones(2)
    moved_share = float(reach[0] / max(reach[1], 1e-9))
    if pelvis == 0 or moved_share > 0.5:
        return Finding(names[0], 1.0, "detected")
    return Finding(names[pelvis], round(1 - moved_share, 3), "detected")


def _to_y_up(up: str) -> Array | None:
    """The rotation that brings the axis `up` to +y, or None when it already is."""
    if up == "y":
        return None
    vector = np.zeros(3)
    vector[_AXES.index(up[-1])] = -1.0 if up.startswith("-") else 1.0
    return rot.between(vector, np.array([0.0, 1.0, 0.0]))
