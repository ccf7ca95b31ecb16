"""From a few curves per action to joint rotations, by closed-form inverse kinematics.

An action says where the pelvis goes, where each foot stands and how spine and arms bend
(`Controls`); `solve` finds the legs. Feet are given by their toe joint, so a planted foot stays
exactly where it is while its heel may lift. The pelvis sinks where a leg would not reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from catalogs.testing.skeleton import (
    PARENTS,
    Floats,
    forward_kinematics,
    joint_index,
    rotation,
)

__all__ = ["LEFT", "RIGHT", "Controls", "Motion", "blank_controls", "solve"]

LEFT, RIGHT = 0, 1
SIDES = ("left", "right")
REACH = 0.995
"""Of a leg's length: knees never lock."""
SMOOTHING_S = 0.12


@dataclass(eq=False)
class Controls:
    """Curves over T frames; angles in radians, lengths in metres, y up."""

    root: Floats
    """(T, 3) wanted pelvis position."""
    yaw: Floats
    """(T,) heading; 0 faces +z, positive turns to the left."""
    pelvis_pitch: Floats
    spine_pitch: Floats
    """(T,) bend forward, shared by the three spine joints."""
    spine_twist: Floats
    head_pitch: Floats
    toe: Floats
    """(T, 2, 3) toe joint of the left and right foot."""
    foot_yaw: Floats
    """(T, 2)"""
    foot_pitch: Floats
    """(T, 2) heel up."""
    arm_swing: Floats
    """(T, 2) upper arm forward."""
    arm_lift: Floats
    """(T, 2) upper arm sideways and up: 0 hangs, pi/2 is level."""
    elbow_flex: Floats
    """(T, 2) forearm forward."""
    elbow_raise: Floats
    """(T, 2) forearm in the plane of the chest, up when the arm is level."""
    planted: NDArray[np.bool_]
    """(T, 2) whether the toe rests."""


@dataclass(eq=False)
class Motion:
    """A solved take: what a mocap file stores."""

    rotations: Floats
    """(T, 22, 3, 3) local."""
    translations: Floats
    """(T, 22, 3) from the parent; of the root, its position."""

    @property
    def joints(self) -> Floats:
        return forward_kinematics(self.rotations, self.translations)[0]


def blank_controls(frames: int, offsets: Floats, heading: float) -> Controls:
    """Standing at the origin, arms hanging, both feet planted."""
    facing = rotation("y", heading)
    toe = np.empty((frames, 2, 3))
    for side, name in enumerate(SIDES):
        toe[:, side] = facing @ _rest_toe(offsets, name)
    zero, pair = np.zeros(frames), np.zeros((frames, 2))
    return Controls(
        root=np.tile([0.0, offsets[0, 1], 0.0], (frames, 1)),
        yaw=np.full(frames, heading),
        pelvis_pitch=zero.copy(),
        spine_pitch=zero.copy(),
        spine_twist=zero.copy(),
        head_pitch=zero.copy(),
        toe=toe,
        foot_yaw=np.full((frames, 2), heading),
        foot_pitch=pair.copy(),
        arm_swing=pair.copy(),
        arm_lift=pair + 0.2,
        elbow_flex=pair + 0.25,
        elbow_raise=pair.copy(),
        planted=np.ones((frames, 2), dtype=bool),
    )


def _rest_toe(offsets: Floats, side: str) -> Floats:
    """The toe joint of a person who stands at the origin in the rest pose."""
    chain = [offsets[joint_index(f"{side}_{part}")] for part in ("hip", "knee", "ankle", "foot")]
    return np.sum([offsets[0], *chain], axis=0)


def solve(controls: Controls, offsets: Floats, fps: float) -> Motion:
    """Rotations that put the body where the controls want it."""
    frames = len(controls.yaw)
    controls = replace(controls, root=_lowered_root(controls, offsets, fps))
    local = np.tile(np.eye(3), (frames, len(PARENTS), 1, 1))
    pelvis = rotation("y", controls.yaw) @ rotation("x", controls.pelvis_pitch)
    local[:, 0] = pelvis
    for name in ("spine1", "spine2", "spine3"):
        bend = rotation("x", controls.spine_pitch / 3)
        local[:, joint_index(name)] = bend @ rotation("y", controls.spine_twist / 3)
    for name in ("neck", "head"):
        local[:, joint_index(name)] = rotation("x", controls.head_pitch / 2)
    for side, name in enumerate(SIDES):
        _pose_arm(local, controls, side, name)
        _pose_leg(local, controls, offsets, pelvis, side, name)
    translations = np.tile(offsets, (frames, 1, 1))
    translations[:, 0] = controls.root
    return Motion(local, translations)


def _pose_arm(local: Floats, controls: Controls, side: int, name: str) -> None:
    mirror = 1.0 if side == LEFT else -1.0
    hang = mirror * (controls.arm_lift[:, side] - np.pi / 2)
    local[:, joint_index(f"{name}_shoulder")] = rotation(
        "x", -controls.arm_swing[:, side]
    ) @ rotation("z", hang)
    local[:, joint_index(f"{name}_elbow")] = rotation(
        "z", mirror * controls.elbow_raise[:, side]
    ) @ rotation("y", -mirror * controls.elbow_flex[:, side])


def _pose_leg(
    local: Floats, controls: Controls, offsets: Floats, pelvis: Floats, side: int, name: str
) -> None:
    """Two bones in the plane that holds hip and ankle and is square to the foot's sideways axis."""
    thigh_length, shin_length = _leg_lengths(offsets, name)
    foot = _foot_rotation(controls, side)
    ankle = _ankle(controls, offsets, side, name)
    hip = controls.root + pelvis @ offsets[joint_index(f"{name}_hip")]
    line = ankle - hip
    reach = np.linalg.norm(line, axis=-1, keepdims=True)
    along = line / reach
    reach = np.clip(reach, 0.2, REACH * (thigh_length + shin_length))
    sideways = rotation("y", controls.foot_yaw[:, side])[..., 0]
    sideways = _unit(sideways - along * np.sum(along * sideways, -1, keepdims=True))
    front = np.cross(along, sideways)
    to_knee = (thigh_length**2 - shin_length**2 + reach**2) / (2 * reach)
    bulge = np.sqrt(np.maximum(thigh_length**2 - to_knee**2, 0))
    knee = to_knee * along + bulge * front
    thigh = _bone_frame(knee, sideways)
    shin = _bone_frame(reach * along - knee, sideways)
    local[:, joint_index(f"{name}_hip")] = _inverse(pelvis) @ thigh
    local[:, joint_index(f"{name}_knee")] = _inverse(thigh) @ shin
    local[:, joint_index(f"{name}_ankle")] = _inverse(shin) @ foot


def _lowered_root(controls: Controls, offsets: Floats, fps: float) -> Floats:
    """The wanted root, lowered smoothly to where both legs reach their feet."""
    pelvis = rotation("y", controls.yaw) @ rotation("x", controls.pelvis_pitch)
    excess = np.zeros(len(controls.yaw))
    for side, name in enumerate(SIDES):
        hip = controls.root + pelvis @ offsets[joint_index(f"{name}_hip")]
        ankle = _ankle(controls, offsets, side, name)
        across = np.sum((ankle - hip)[:, [0, 2]] ** 2, axis=-1)
        leg = REACH * sum(_leg_lengths(offsets, name))
        reach = np.sqrt(np.maximum(leg**2 - across, 0.05))
        excess = np.maximum(excess, hip[:, 1] - ankle[:, 1] - reach)
    lowered = controls.root.copy()
    lowered[:, 1] -= _smooth_cover(excess, max(1, round(SMOOTHING_S * fps / 2)))
    return lowered


def _smooth_cover(curve: Floats, reach: int) -> Floats:
    """A smooth curve that is nowhere below `curve`: the mean of its running maximum."""
    windows = np.lib.stride_tricks.sliding_window_view
    highest = windows(np.pad(curve, reach, mode="edge"), 2 * reach + 1).max(axis=-1)
    return windows(np.pad(highest, reach, mode="edge"), 2 * reach + 1).mean(axis=-1)


def _ankle(controls: Controls, offsets: Floats, side: int, name: str) -> Floats:
    toe = offsets[joint_index(f"{name}_foot")]
    return controls.toe[:, side] - _foot_rotation(controls, side) @ toe


def _foot_rotation(controls: Controls, side: int) -> Floats:
    return rotation("y", controls.foot_yaw[:, side]) @ rotation("x", controls.foot_pitch[:, side])


def _leg_lengths(offsets: Floats, name: str) -> tuple[float, float]:
    knee, ankle = (offsets[joint_index(f"{name}_{part}")] for part in ("knee", "ankle"))
    return float(np.linalg.norm(knee)), float(np.linalg.norm(ankle))


def _bone_frame(bone: Floats, sideways: Floats) -> Floats:
    """Rotations that take a bone hanging along -y to `bone`, its x axis to `sideways`."""
    upward = _unit(-bone)
    return np.stack([sideways, upward, np.cross(sideways, upward)], axis=-1)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def _inverse(rotations: Floats) -> Floats:
    return np.swapaxes(rotations, -1, -2)
