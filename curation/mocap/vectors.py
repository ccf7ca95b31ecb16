"""From any motion to the vectors of a published representation, and back, by name.

    >>> vectors = encode(take.motion, "humanml263")
    >>> motion = decode(vectors, "humanml263")

| name | columns | rate | what is done on the way |
|---|---|---|---|
| `humanml263` | 263 | 20 | 22 joints, uniform skeleton, floor, origin, facing +z |
| `kit251` | 251 | 12.5 | 21 joints in millimetres, floor, origin, facing +z |
| `motion272` | 272 | 30 | 22 joints and SMPL rotations (from positions for other rigs) |
| `smpl24` | 72 | own | 24 joint positions in metres, floor, as they are |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from catalogs.errors import NotFoundError, UsageError, nearest
from curation.mocap import features, features272
from curation.mocap.ik import smpl_rotations
from curation.mocap.layouts import HUMANML22, KIT21, SMPL24, Layout
from curation.mocap.mapping import layout_skeleton, to_layout
from curation.mocap.resample import resample
from curation.mocap.retarget import retarget
from curation.mocap.skeleton import Motion

__all__ = ["REPRESENTATIONS", "Representation", "decode", "encode"]

Array = npt.NDArray[np.floating]
_KIT_UNITS_PER_M = 1000.0
_SMPL_RIGS = {"smpl", "smplh", "smplx"}


@dataclass(frozen=True)
class Representation:
    """A published way to write a motion as one vector per frame."""

    name: str
    layout: Layout
    width: int
    fps: Fraction | None
    """The rate of the published data; None keeps the motion's own."""
    to_vectors: Callable[[Motion], Array]
    to_joints: Callable[[Array], Array]


def encode(motion: Motion, name: str) -> npt.NDArray[np.float32]:
    """The motion as vectors, resampled to the representation's rate."""
    chosen = _representation(name)
    if chosen.fps is not None:
        motion = resample(motion, chosen.fps)
    return chosen.to_vectors(motion).astype(np.float32)


def decode(vectors: Array, name: str, fps: Fraction | None = None) -> Motion:
    """The joints of vectors as a motion in metres; `fps` where the representation has none."""
    chosen = _representation(name)
    if vectors.ndim != 2 or vectors.shape[1] != chosen.width:
        raise UsageError(
            f"vectors of shape {vectors.shape} are not {name}", allowed=f"(T, {chosen.width})"
        )
    rate = chosen.fps or fps
    if rate is None:
        raise UsageError(f"{name} has no rate of its own", hint="say fps")
    joints = chosen.to_joints(vectors.astype(np.float64))
    return Motion(layout_skeleton(chosen.layout, joints), rate, measured=joints)


def _representation(name: str) -> Representation:
    if name not in REPRESENTATIONS:
        raise NotFoundError(
            f"representation {name!r} is unknown",
            allowed=", ".join(REPRESENTATIONS),
            hint=nearest(name, REPRESENTATIONS),
        )
    return REPRESENTATIONS[name]


def _humanml(motion: Motion) -> Array:
    joints = to_layout(motion, HUMANML22).joints
    return features.extract(features.canonical(retarget(joints)))


def _kit(motion: Motion) -> Array:
    joints = to_layout(motion, KIT21).joints * _KIT_UNITS_PER_M
    return features.extract(features.canonical(joints, KIT21), KIT21)


def _kit_joints(vectors: Array) -> Array:
    return features.recover_joints(vectors, KIT21) / _KIT_UNITS_PER_M


def _motion272(motion: Motion) -> Array:
    joints = to_layout(motion, HUMANML22).joints
    own = motion.rotations is not None and motion.skeleton.rig in _SMPL_RIGS
    turns = motion.rotations[:, :22] if own and motion.rotations is not None else None
    return features272.extract(joints, smpl_rotations(joints) if turns is None else turns)


def _smpl24(motion: Motion) -> Array:
    joints = to_layout(motion, SMPL24).joints.copy()
    joints[..., 1] -= np.nanmin(joints[..., 1])
    return joints.reshape(len(joints), -1)


def _smpl24_joints(vectors: Array) -> Array:
    return vectors.reshape(len(vectors), len(SMPL24), 3)


REPRESENTATIONS = {
    one.name: one
    for one in (
        Representation(
            "humanml263", HUMANML22, 263, Fraction(20), _humanml, features.recover_joints
        ),
        Representation("kit251", KIT21, 251, Fraction(25, 2), _kit, _kit_joints),
        Representation(
            "motion272", HUMANML22, 272, Fraction(30), _motion272, features272.recover_joints
        ),
        Representation("smpl24", SMPL24, 72, None, _smpl24, _smpl24_joints),
    )
}
