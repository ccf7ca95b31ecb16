"""What goes wrong in mocap, planted on purpose: one function per defect.

Each takes a clean motion and the frames to spoil and gives the spoilt motion. Bones that change
length and joints that swap sides live in the translations, which a BVH file stores as position
channels of every joint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catalogs.testing.body import Motion
from catalogs.testing.skeleton import (
    PARENTS,
    SMPL_NAMES,
    Floats,
    forward_kinematics,
    joint_index,
)

__all__ = ["DEFECT_PLANTERS", "MOVES_JOINTS", "Spoilt"]

MOVES_JOINTS = {"left_right_swap", "bone_drift"}
"""Defects that a file of rotations alone cannot hold."""

SKATE_M_S = 0.5
JUMP_M = (1.2, 0.0, 0.5)
DRIFT_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Spoilt:
    motion: Motion
    span: tuple[int, int]
    """First bad frame and first good frame after it."""
    prepended: int = 0
    """Frames put before the take."""


def _middle(frames: int, share: float) -> tuple[int, int]:
    length = max(2, round(frames * share))
    start = (frames - length) // 2
    return start, start + length


def _nan(motion: Motion, fps: float) -> Spoilt:
    start, end = _middle(len(motion.rotations), 0.1)
    motion.rotations[start:end] = np.nan
    motion.translations[start:end, 0] = np.nan
    return Spoilt(motion, (start, end))


def _foot_skate(motion: Motion, fps: float) -> Spoilt:
    """The whole body slides sideways under feet that step as before."""
    frames = len(motion.rotations)
    start, end = _middle(frames, 0.6)
    sideways = motion.rotations[:, 0, :, 0]
    sliding = (np.arange(frames) >= start) & (np.arange(frames) < end)
    motion.translations[:, 0] += np.cumsum(sideways * sliding[:, None], axis=0) * SKATE_M_S / fps
    return Spoilt(motion, (start, end))


def _left_right_swap(motion: Motion, fps: float) -> Spoilt:
    """Left and right joints trade places, as when a tracker confuses them."""
    start, end = _middle(len(motion.rotations), 0.25)
    positions, turned = forward_kinematics(motion.rotations, motion.translations)
    partner = [SMPL_NAMES.index(_other_side(name)) for name in SMPL_NAMES]
    positions[start:end] = positions[start:end][:, partner]
    turned[start:end] = turned[start:end][:, partner]
    return Spoilt(_motion_of(positions, turned), (start, end))


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return name.replace("left_", "right_")
    return name.replace("right_", "left_")


def _motion_of(positions: Floats, turned: Floats) -> Motion:
    """Local rotations and translations of given world ones."""
    rotations, translations = turned.copy(), positions.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            back = np.swapaxes(turned[:, parent], -1, -2)
            rotations[:, joint] = back @ turned[:, joint]
            apart = positions[:, joint] - positions[:, parent]
            translations[:, joint] = np.einsum("tij,tj->ti", back, apart)
    return Motion(rotations, translations)


def _scale_2x(motion: Motion, fps: float) -> Spoilt:
    return Spoilt(Motion(motion.rotations, motion.translations * 2), (0, len(motion.rotations)))


def _jump_cut(motion: Motion, fps: float) -> Spoilt:
    """Somewhere else from one frame to the next."""
    place = len(motion.rotations) // 2
    motion.translations[place:, 0] += JUMP_M
    return Spoilt(motion, (place, place + 1))


def _frozen(motion: Motion, fps: float) -> Spoilt:
    """The span repeats the frame before it."""
    start, end = _middle(len(motion.rotations), 0.3)
    motion.rotations[start:end] = motion.rotations[start - 1]
    motion.translations[start:end] = motion.translations[start - 1]
    return Spoilt(motion, (start, end))


def _bone_drift(motion: Motion, fps: float) -> Spoilt:
    """The left shin grows."""
    frames = len(motion.rotations)
    growth = 1 + DRIFT_SHARE * np.linspace(0, 1, frames)
    motion.translations[:, joint_index("left_ankle")] *= growth[:, None]
    return Spoilt(motion, (1, frames))


def _t_pose_start(motion: Motion, fps: float) -> Spoilt:
    """A second of calibration pose before the take."""
    frames = round(fps)
    rotations = np.tile(np.eye(3), (frames, len(PARENTS), 1, 1))
    rotations[:, 0] = motion.rotations[0, 0]
    translations = np.repeat(motion.translations[:1], frames, axis=0)
    return Spoilt(
        Motion(
            np.concatenate([rotations, motion.rotations]),
            np.concatenate([translations, motion.translations]),
        ),
        (0, frames),
        prepended=frames,
    )


DEFECT_PLANTERS: dict[str, Callable[[Motion, float], Spoilt]] = {
    "nan": _nan,
    "foot_skate": _foot_skate,
    "left_right_swap": _left_right_swap,
    "scale_2x": _scale_2x,
    "jump_cut": _jump_cut,
    "frozen": _frozen,
    "bone_drift": _bone_drift,
    "t_pose_start": _t_pose_start,
}
