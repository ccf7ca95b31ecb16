"""A 22-joint person in the SMPL order: proportions, joint names of common rigs, kinematics.

Metres, y up, facing +z with the left side towards +x; the rest pose is a T-pose.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "END_SITES", "PARENTS", "REST_OFFSETS", "RIG_NAMES", "SMPL_NAMES", "Floats", "Rig",
    "euler_degrees", "forward_kinematics", "joint_index", "rotation",
]  # fmt: skip

Floats = NDArray[np.float64]
Rig = Literal["mixamo", "smpl", "cmu"]

_SMPL_JOINTS: list[tuple[str, int, tuple[float, float, float]]] = [
    ("pelvis", -1, (0.0, 0.97, 0.0)),
    ("left_hip", 0, (0.08, -0.08, 0.0)),
    ("right_hip", 0, (-0.08, -0.08, 0.0)),
    ("spine1", 0, (0.0, 0.10, -0.01)),
    ("left_knee", 1, (0.0, -0.42, 0.0)),
    ("right_knee", 2, (0.0, -0.42, 0.0)),
    ("spine2", 3, (0.0, 0.13, 0.0)),
    ("left_ankle", 4, (0.0, -0.40, 0.0)),
    ("right_ankle", 5, (0.0, -0.40, 0.0)),
    ("spine3", 6, (0.0, 0.05, 0.0)),
    ("left_foot", 7, (0.02, -0.05, 0.13)),
    ("right_foot", 8, (-0.02, -0.05, 0.13)),
    ("neck", 9, (0.0, 0.20, -0.02)),
    ("left_collar", 9, (0.07, 0.12, -0.01)),
    ("right_collar", 9, (-0.07, 0.12, -0.01)),
    ("head", 12, (0.0, 0.09, 0.03)),
    ("left_shoulder", 13, (0.11, 0.04, 0.0)),
    ("right_shoulder", 14, (-0.11, 0.04, 0.0)),
    ("left_elbow", 16, (0.27, 0.0, 0.0)),
    ("right_elbow", 17, (-0.27, 0.0, 0.0)),
    ("left_wrist", 18, (0.25, 0.0, 0.0)),
    ("right_wrist", 19, (-0.25, 0.0, 0.0)),
]

SMPL_NAMES = [name for name, _, _ in _SMPL_JOINTS]
PARENTS = [parent for _, parent, _ in _SMPL_JOINTS]
REST_OFFSETS: Floats = np.array([offset for _, _, offset in _SMPL_JOINTS])
"""From the parent; the first row is the pelvis above the floor. Head top at 1.70 m."""
END_SITES = {
    "head": (0.0, 0.16, 0.0),
    "left_foot": (0.0, 0.0, 0.06),
    "right_foot": (0.0, 0.0, 0.06),
    "left_wrist": (0.16, 0.0, 0.0),
    "right_wrist": (-0.16, 0.0, 0.0),
}

_CENTRE = {
    "mixamo": ["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"],
    "cmu": ["Hips", "LowerBack", "Spine", "Spine1", "Neck", "Head"],
}
_SMPL_CENTRE = ["pelvis", "spine1", "spine2", "spine3", "neck", "head"]
_LIMBS = {
    "hip": "UpLeg",
    "knee": "Leg",
    "ankle": "Foot",
    "foot": "ToeBase",
    "collar": "Shoulder",
    "shoulder": "Arm",
    "elbow": "ForeArm",
    "wrist": "Hand",
}


def _rig_names(rig: Literal["mixamo", "cmu"], prefix: str) -> list[str]:
    centre = dict(zip(_SMPL_CENTRE, _CENTRE[rig], strict=True))

    def renamed(name: str) -> str:
        if name in centre:
            return centre[name]
        side, limb = name.split("_")
        return side.capitalize() + _LIMBS[limb]

    return [prefix + renamed(name) for name in SMPL_NAMES]


RIG_NAMES: dict[str, list[str]] = {
    "smpl": SMPL_NAMES,
    "mixamo": _rig_names("mixamo", "mixamorig:"),
    "cmu": _rig_names("cmu", ""),
}


def joint_index(name: str) -> int:
    return SMPL_NAMES.index(name)


def rotation(axis: Literal["x", "y", "z"], angle: Floats | float) -> Floats:
    """(..., 3, 3) matrices that turn column vectors about an axis by `angle` radians."""
    angle = np.asarray(angle, dtype=np.float64)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrices = np.zeros((*angle.shape, 3, 3))
    matrices[..., range(3), range(3)] = 1.0
    matrices[..., first, first] = matrices[..., second, second] = np.cos(angle)
    matrices[..., second, first] = np.sin(angle)
    matrices[..., first, second] = -np.sin(angle)
    return matrices


def euler_degrees(matrices: Floats, order: str) -> Floats:
    """Angles of (..., 3, 3) matrices about the axes of `order`, outermost first."""
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    sine = np.clip(sign * matrices[..., i, k], -1.0, 1.0)
    middle = np.arcsin(sine)
    locked = np.abs(sine) > 1 - 1e-9
    outer = np.where(
        locked,
        np.arctan2(sign * matrices[..., k, j], matrices[..., j, j]),
        np.arctan2(-sign * matrices[..., j, k], matrices[..., k, k]),
    )
    inner = np.where(locked, 0.0, np.arctan2(-sign * matrices[..., i, j], matrices[..., i, i]))
    return np.degrees(np.stack([outer, middle, inner], axis=-1))


def forward_kinematics(rotations: Floats, translations: Floats) -> tuple[Floats, Floats]:
    """World positions (T, J, 3) and rotations of joints.

    Args:
        rotations: (T, J, 3, 3) local.
        translations: (T, J, 3) from the parent, of the root from the origin.
    """
    positions, turned = np.empty_like(translations), np.empty_like(rotations)
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            positions[:, joint], turned[:, joint] = translations[:, joint], rotations[:, joint]
            continue
        moved = np.einsum("tij,tj->ti", turned[:, parent], translations[:, joint])
        positions[:, joint] = positions[:, parent] + moved
        turned[:, joint] = turned[:, parent] @ rotations[:, joint]
    return positions, turned
