"""The signals that need a person: contact with the floor, posture, energy, sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation.mocap.body import Body, angle_between, length, total
from curation.mocap.curves import largest_seen, rate, smoothed
from curation.mocap.layouts import HUMANML22
from curation.mocap.retarget import bone_lengths

__all__ = ["body_signals", "knee_bend", "near_floor"]

Array = npt.NDArray[np.floating]
FOOT_NEAR_SHARE = 0.03
"""A foot joint is near the floor within this share of body height of its own lowest point."""
CONTACT_SPEED_H_S = 0.35
"""A near foot slower than this (body heights per second) is planted."""
_SIDES = ("left", "right")
_FEET = [joint for foot in HUMANML22.feet for joint in foot]
_TRUNK_MASS = {"pelvis": 0.142, "spine1": 0.1, "spine2": 0.1, "spine3": 0.155, "head": 0.081}
_LIMB_MASS = {"knee": 0.1, "ankle": 0.0465, "foot": 0.0145, "elbow": 0.028, "wrist": 0.022}
_SEGMENT_MASS = _TRUNK_MASS | {
    f"{side}_{part}": mass for side in _SIDES for part, mass in _LIMB_MASS.items()
}
"""Share of body mass that moves with each joint (after Winter), summing to 1."""
_KNEE_LIMIT_DEG = 20.0
_NECK_LIMIT_DEG = 110.0
_SPINE_LIMIT_DEG = 150.0


def body_signals(body: Body) -> dict[str, Array]:
    """Everything of `SIGNALS` that only a body has."""
    speed_local = body.speed(body.joints - body.joints[:, :1])
    index = HUMANML22.index
    signals = {
        "root_height_m": body["pelvis"][:, 1] - body.floor,
        "heading_deg": np.degrees(body.heading),
        "turn_deg_s": np.degrees(rate(body.heading, body.fps)),
        "hands_speed_m_s": largest_seen(
            speed_local[:, [index("left_wrist"), index("right_wrist")]]
        ),
        "feet_speed_m_s": largest_seen(speed_local[:, [index("left_ankle"), index("right_ankle")]]),
        "energy_j_kg": _energy(body),
        "stature_m": _stature(body),
        "body_gap": (~np.isfinite(body.joints).all(axis=(1, 2))).astype(float),
        "limit_breaks": _limit_breaks(body),
        "mirrored": _mirrored(body),
        "pose_change_m_s": _pose_change(body),
        "rest_pose": _rest_pose(body),
    }
    return signals | _floor_signals(body)


def near_floor(body: Body) -> npt.NDArray[np.bool_]:
    """(T, 4) whether ankle and toe, left and right, are near their own lowest point."""
    heights = body.joints[:, _FEET, 1]
    seen = heights[np.isfinite(heights).all(axis=1)]
    lowest = seen.min(axis=0)
    return heights <= lowest + FOOT_NEAR_SHARE * body.height


def _floor_signals(body: Body) -> dict[str, Array]:
    near = near_floor(body)
    over_ground = body.joints[:, _FEET][..., [0, 2]]
    steps = np.diff(over_ground, axis=0)
    # the way to the next frame, as a sliding foot is seen between two frames
    ahead = np.concatenate([steps, steps[-1:]])
    sliding = np.linalg.norm(ahead, axis=-1) * body.fps / body.height
    count = near.sum(axis=1)
    total = np.where(near, np.nan_to_num(sliding), 0.0).sum(axis=1)
    slowest = np.where(near, np.nan_to_num(sliding, nan=np.inf), np.inf).min(axis=1)
    planted = near & (sliding < CONTACT_SPEED_H_S)
    lowest = _lowest(body.joints) - body.floor
    return {
        "feet_near": count.astype(float),
        "foot_skate_h_s": np.where(count > 0, total / np.maximum(count, 1), np.nan),
        "foot_slide_h_s": np.where(np.isfinite(slowest), slowest, np.nan),
        "contact_left": planted[:, :2].any(axis=1).astype(float),
        "contact_right": planted[:, 2:].any(axis=1).astype(float),
        "ground_penetration_m": np.maximum(-lowest, 0.0),
        "ground_gap_m": np.maximum(lowest, 0.0),
    }


def _lowest(joints: Array) -> Array:
    return -largest_seen(-joints[..., 1])


def _energy(body: Body) -> Array:
    index = HUMANML22.index
    speeds = body.speed(body.joints)
    masses = np.array(list(_SEGMENT_MASS.values()))
    moving = speeds[:, [index(name) for name in _SEGMENT_MASS]]
    return 0.5 * (masses * moving**2).sum(axis=1) / masses.sum()


def _stature(body: Body) -> Array:
    lengths = bone_lengths(body.joints)
    index = HUMANML22.index
    legs = total(
        *(lengths[:, index(f"{side}_{part}")] for side in _SIDES for part in ("knee", "ankle"))
    )
    spine = total(
        *(lengths[:, index(name)] for name in ("spine1", "spine2", "spine3", "neck", "head"))
    )
    return 1.15 * (legs / 2 + spine)


def knee_bend(body: Body, side: str) -> Array:
    """Degrees of flexion of a knee; negative where the shin swings to the front of the thigh."""
    thigh = body[f"{side}_knee"] - body[f"{side}_hip"]
    shin = body[f"{side}_ankle"] - body[f"{side}_knee"]
    left = body["left_hip"] - body["right_hip"]
    axis = np.cross(thigh, shin)
    # the axis of a bent knee points to the left; across it, the sign says nothing
    along = np.sum(axis * left, axis=-1) / (length(axis) * length(left))[..., 0]
    angle = angle_between(thigh, shin)
    return np.where(along < -0.5, -angle, angle)


def _limit_breaks(body: Body) -> Array:
    breaks = [-knee_bend(body, side) > _KNEE_LIMIT_DEG for side in _SIDES]
    breaks.append(
        angle_between(body["neck"] - body["spine3"], body["head"] - body["neck"]) > _NECK_LIMIT_DEG
    )
    breaks.append(
        angle_between(body["spine1"] - body["pelvis"], body["neck"] - body["spine3"])
        > _SPINE_LIMIT_DEG
    )
    return np.sum(breaks, axis=0).astype(float)


def _mirrored(body: Body) -> Array:
    """Whether the toes point behind the body that hips, shoulders and spine describe."""
    left = body["left_hip"] - body["right_hip"] + body["left_shoulder"] - body["right_shoulder"]
    spine = body["neck"] - body["pelvis"]
    facing = np.cross(left, spine)
    toes = total(*(body[f"{side}_foot"] - body[f"{side}_ankle"] for side in _SIDES))
    agreement = np.sum(facing * toes, axis=-1) / (length(facing) * length(toes))[:, 0]
    return (agreement < -0.3).astype(float)


def _pose_change(body: Body) -> Array:
    """Mean speed of the joints in the body's own frame of reference."""
    return smoothed(body.speed(body.aligned).mean(axis=1), body.fps, 0.05)


def _rest_pose(body: Body) -> Array:
    """Straight arms held out to the sides (T or A), upright."""
    up = np.array([0.0, 1.0, 0.0])
    out = angle_between(body["neck"] - body["pelvis"], np.broadcast_to(up, body["neck"].shape)) < 15
    for side in _SIDES:
        upper = body[f"{side}_elbow"] - body[f"{side}_shoulder"]
        fore = body[f"{side}_wrist"] - body[f"{side}_elbow"]
        from_down = angle_between(upper, np.broadcast_to(-up, upper.shape))
        out &= (angle_between(upper, fore) < 25) & (from_down > 35) & (from_down < 110)
    return out.astype(float)
