"""The 272-dim motion vectors of MotionStreamer and MotionMillion, forward and back.

One frame holds, in order: the root's velocity over the ground (x, z) in the heading frame of the
frame before (2); its turn since that frame as six numbers (6); positions of the 22 joints in the
heading frame, over the origin (66); their change since the frame before (66); the 22 local SMPL
rotations, the root's without heading, as six numbers (132). The first frame's velocities are
zero and its turn is identity. Six numbers are the first two rows of the matrix here, its first
two columns in the 263-dim vectors. The published rate is 30 frames per second.

Rotations are SMPL's own. A motion of another rig has none; `ik.smpl_rotations` gives rotations
that put the joints in the same places but cannot know the twist of limbs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap import rotations as rot

__all__ = ["WIDTH", "extract", "recover_joints", "recover_pose"]

Array = npt.NDArray[np.floating]
JOINTS = 22
WIDTH = 8 + 12 * JOINTS
_POSITIONS = slice(8, 8 + 3 * JOINTS)
_VELOCITIES = slice(8 + 3 * JOINTS, 8 + 6 * JOINTS)
_ROTATIONS = slice(8 + 6 * JOINTS, WIDTH)


def extract(joints: Array, rotations: Array) -> Array:
    """(T, 272) vectors of joints (T, 22, 3) and local SMPL rotations (T, 22, 4)."""
    if joints.shape[1:] != (JOINTS, 3) or rotations.shape != (*joints.shape[:2], 4):
        raise UsageError(
            f"joints {joints.shape} and rotations {rotations.shape} do not belong together",
            allowed="(T, 22, 3) and (T, 22, 4)",
        )
    moved = joints - joints[0, 0] * np.array([1.0, 0.0, 1.0])
    moved[..., 1] -= joints[..., 1].min()
    steps = np.diff(moved[:, 0], axis=0)
    ahead = rot.rotate(rotations[:, 0], np.array([0.0, 0.0, 1.0]))
    heading = -np.arctan2(ahead[:, 0], ahead[:, 2])
    facing = rot.yaw(heading)
    over_origin = moved - moved[:, :1] * np.array([1.0, 0.0, 1.0])
    local = rot.rotate(facing[:, None], over_origin)
    turns = rotations.copy()
    turns[:, 0] = rot.multiply(facing, rotations[:, 0])
    frames = len(joints)
    vectors = np.zeros((frames, WIDTH))
    vectors[1:, :2] = rot.rotate(facing[:-1], steps)[:, [0, 2]]
    vectors[0, 2:8] = rot.to_six(rot.IDENTITY, rows=True)
    vectors[1:, 2:8] = rot.to_six(rot.yaw(np.diff(heading)), rows=True)
    vectors[:, _POSITIONS] = local.reshape(frames, -1)
    vectors[1:, _VELOCITIES] = np.diff(local, axis=0).reshape(frames - 1, -1)
    vectors[:, _ROTATIONS] = rot.to_six(turns, rows=True).reshape(frames, -1)
    return vectors


def recover_joints(vectors: Array) -> Array:
    """(T, 22, 3) joints from the position part, the first root above the origin, facing +z."""
    facing, path = _root(vectors)
    local = vectors[:, _POSITIONS].reshape(len(vectors), JOINTS, 3)
    return rot.rotate(rot.conjugate(facing)[:, None], local) + path[:, None]


def recover_pose(vectors: Array) -> tuple[Array, Array]:
    """The root's path (T, 3) and the local SMPL rotations (T, 22, 4)."""
    facing, path = _root(vectors)
    turns = rot.from_six(vectors[:, _ROTATIONS].reshape(len(vectors), JOINTS, 6), rows=True)
    turns[:, 0] = rot.multiply(rot.conjugate(facing), turns[:, 0])
    path[:, 1] = vectors[:, _POSITIONS][:, 1]
    return path, turns


def _root(vectors: Array) -> tuple[Array, Array]:
    """World to heading frame (T, 4), and the root's path over the ground (T, 3)."""
    if vectors.ndim != 2 or vectors.shape[1] != WIDTH:
        raise UsageError(f"vectors of shape {vectors.shape}", allowed=f"(T, {WIDTH})")
    turn = rot.from_six(vectors[:, 2:8], rows=True)
    heading = np.cumsum(2 * np.arctan2(turn[:, 2], turn[:, 0]))
    facing = rot.yaw(heading)
    steps = np.zeros((len(vectors), 3))
    steps[:, [0, 2]] = vectors[:, :2]
    steps[1:] = rot.rotate(rot.conjugate(facing[:-1]), steps[1:])
    return facing, np.cumsum(steps, axis=0)
