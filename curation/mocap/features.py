"""The 263-dim (HumanML3D) and 251-dim (KIT-ML) motion vectors, forward and back.

One frame of J joints holds, in order: the root's turning rate (half the angle per frame), its
velocity over the ground in the heading frame (x, z), its height; positions of the other joints in
the heading frame (3 (J-1)); their rotations as six numbers (6 (J-1)); velocities of all joints
in the heading frame (3 J); contacts of ankle and toe, left then right (4). T frames of joints
give T - 1 vectors, because velocities and contacts look one frame ahead.

The published extraction has properties that a clean one would not have, and models trained on
published vectors depend on them, so they are kept:

- the facing direction of a clip is the sum of hip and shoulder axes, but that of each frame takes
  the hip axis the other way round, so the two differ by some degrees while the body is twisted;
- the facing direction is smoothed over time (Gaussian, 20 frames) and replaced by identity in
  the first frame, so the first turning rate of a clip holds that difference;
- rotations come from positions: each bone's shortest turn from a nominal direction, which cannot
  see twist, and each chain restarts at the root, so collars are relative to the root;
- a foot is in contact when it moves less than the threshold, whatever its height.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap import rotations as rot
from curation.mocap.layouts import HUMANML22, KIT21, Layout

__all__ = [
    "HUMANML_LENGTHS",
    "FeatureColumns",
    "canonical",
    "columns",
    "contact_threshold",
    "extract",
    "layout_for_width",
    "recover_from_rotations",
    "recover_joints",
    "recover_root",
]

Array = npt.NDArray[np.floating]

HUMANML_LENGTHS = np.array(
    [
        *(0.0, 0.103074, 0.109883, 0.131568, 0.393623, 0.390188, 0.143190, 0.432433),
        *(0.425643, 0.057365, 0.143382, 0.149419, 0.219360, 0.137487, 0.143383, 0.103039),
        *(0.131614, 0.122984, 0.256840, 0.263092, 0.266012, 0.269876),
    ]
)
"""Bone lengths in metres of the skeleton to which HumanML3D retargets every clip."""

_CONTACT = {"humanml22": 0.002, "kit21": 0.05}
_SMOOTHING_FRAMES = 20
_UP = np.array([0.0, 1.0, 0.0])
_AHEAD = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class FeatureColumns:
    """Where each part of a vector stands."""

    root: slice
    positions: slice
    rotations: slice
    velocities: slice
    contacts: slice
    width: int


def columns(layout: Layout) -> FeatureColumns:
    """The parts of the vectors of a layout: 263 columns for 22 joints, 251 for 21."""
    joints = len(layout)
    bounds = np.cumsum([0, 4, 3 * (joints - 1), 6 * (joints - 1), 3 * joints, 4]).tolist()
    root, positions, rotations, velocities, contacts = (slice(a, b) for a, b in pairwise(bounds))
    return FeatureColumns(root, positions, rotations, velocities, contacts, bounds[-1])


def contact_threshold(layout: Layout) -> float:
    """Squared displacement per frame below which a foot counts as in contact."""
    return _CONTACT.get(layout.name, _CONTACT["humanml22"])


def extract(joints: Array, layout: Layout = HUMANML22, *, threshold: float | None = None) -> Array:
    """(T - 1, 8 + 12 (J - 1) + 3) vectors of (T, J, 3) joints as they are.

    For the published data sets bring joints to the uniform skeleton (`retarget.retarget`) and
    start (`canonical`) first, at 20 frames per second (KIT: 12.5, lengths in millimetres).
    """
    joints = _checked(joints, layout)
    turns, root = _inverse_kinematics(joints, layout)
    steps = joints[1:] - joints[:-1]
    yaw = rot.multiply(root[1:], rot.conjugate(root[:-1]))
    ground = rot.rotate(root[1:], steps[:, 0])
    local = joints - joints[:, :1] * np.array([1.0, 0.0, 1.0])
    local = rot.rotate(root[:, None], local)
    feet = [joint for foot in layout.feet for joint in foot]
    limit = contact_threshold(layout) if threshold is None else threshold
    contacts = np.sum(steps[:, feet] ** 2, axis=-1) < limit
    frames = len(steps)
    return np.concatenate(
        [
            np.arcsin(np.clip(yaw[:, 2:3], -1, 1)),
            ground[:, [0, 2]],
            joints[:-1, 0, 1:2],
            local[:-1, 1:].reshape(frames, -1),
            rot.to_six(turns[:-1, 1:]).reshape(frames, -1),
            rot.rotate(root[:-1, None], steps).reshape(frames, -1),
            contacts.astype(joints.dtype),
        ],
        axis=-1,
    )


def canonical(joints: Array, layout: Layout = HUMANML22) -> Array:
    """The clip on the floor, its first root above the origin, first facing +z."""
    joints = _checked(joints, layout)
    start = joints[0, 0] * np.array([1.0, 0.0, 1.0])
    moved = joints - start - np.nanmin(joints[..., 1]) * _UP
    right_hip, left_hip, right, left = layout.facing
    first = moved[0]
    across = first[right_hip] - first[left_hip] + first[right] - first[left]
    ahead = np.cross(_UP, across)
    return rot.rotate(rot.between(ahead, _AHEAD), moved)


def recover_root(vectors: Array, layout: Layout = HUMANML22) -> tuple[Array, Array]:
    """The root's heading (T, 4), world to heading frame, and path (T, 3)."""
    vectors = _checked_vectors(vectors, layout)
    angle = np.concatenate([[0.0], np.cumsum(vectors[:-1, 0])])
    zero = np.zeros_like(angle)
    heading = np.stack([np.cos(angle), zero, np.sin(angle), zero], axis=-1)
    step = np.zeros((len(vectors), 3))
    step[1:, [0, 2]] = vectors[:-1, 1:3]
    path = np.cumsum(rot.rotate(rot.conjugate(heading), step), axis=0)
    path[:, 1] = vectors[:, 3]
    return heading, path


def recover_joints(vectors: Array, layout: Layout = HUMANML22) -> Array:
    """(T, J, 3) joints from the position part of the vectors."""
    heading, path = recover_root(vectors, layout)
    local = vectors[:, columns(layout).positions].reshape(len(vectors), -1, 3)
    others = rot.rotate(rot.conjugate(heading)[:, None], local)
    others += (path * np.array([1.0, 0.0, 1.0]))[:, None]
    return np.concatenate([path[:, None], others], axis=1)


def recover_from_rotations(
    vectors: Array, layout: Layout = HUMANML22, lengths: Array = HUMANML_LENGTHS
) -> Array:
    """(T, J, 3) joints from the rotation part of the vectors and bone lengths."""
    heading, path = recover_root(vectors, layout)
    six = vectors[:, columns(layout).rotations].reshape(len(vectors), -1, 6)
    turns = np.concatenate([heading[:, None], rot.from_six(six)], axis=1)
    return _chain_kinematics(turns, heading, path, layout, lengths)


def _checked(joints: Array, layout: Layout) -> Array:
    if joints.ndim != 3 or joints.shape[1:] != (len(layout), 3) or len(joints) < 2:
        raise UsageError(
            f"joints of shape {joints.shape} are no {layout.name} clip",
            allowed=f"(T >= 2, {len(layout)}, 3)",
            hint="map other rigs with mapping.to_layout first",
        )
    if not np.isfinite(joints).all():
        raise UsageError(
            "joints hold NaN or infinite values",
            hint="cut the gaps out or fill them before features are computed",
        )
    return joints


def _checked_vectors(vectors: Array, layout: Layout) -> Array:
    width = columns(layout).width
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise UsageError(
            f"vectors of shape {vectors.shape} are not those of {layout.name}",
            allowed=f"(T, {width})",
        )
    return vectors


def _inverse_kinematics(joints: Array, layout: Layout) -> tuple[Array, Array]:
    """Published rotations (T, J, 4) and headings (T, 4) of joint positions."""
    first_hip, second_hip, right, left = layout.facing
    # the hip axis runs the other way round here than in `canonical`: as published
    across = joints[:, second_hip] - joints[:, first_hip] + joints[:, right] - joints[:, left]
    across = across / np.linalg.norm(across, axis=-1, keepdims=True)
    ahead = _gaussian(np.cross(_UP, across), _SMOOTHING_FRAMES)
    root = rot.between(ahead, np.broadcast_to(_AHEAD, ahead.shape))
    root[0] = rot.IDENTITY
    directions = np.array(layout.directions, float)
    turns = np.broadcast_to(rot.IDENTITY, (*joints.shape[:2], 4)).copy()
    turns[:, 0] = root
    for chain in layout.chains:
        above = root
        for parent, child in pairwise(chain):
            bone = joints[:, child] - joints[:, parent]
            whole = rot.between(np.broadcast_to(directions[child], bone.shape), bone)
            turns[:, child] = rot.multiply(rot.conjugate(above), whole)
            above = whole
    return turns, root


def _chain_kinematics(
    turns: Array, root: Array, path: Array, layout: Layout, lengths: Array
) -> Array:
    """Joints from chain rotations: the inverse of `_inverse_kinematics`."""
    offsets = np.array(layout.directions, float) * np.asarray(lengths)[:, None]
    joints = np.empty((*turns.shape[:2], 3))
    joints[:, 0] = path
    for chain in layout.chains:
        whole = root
        for parent, child in pairwise(chain):
            whole = rot.multiply(whole, turns[:, child])
            joints[:, child] = joints[:, parent] + rot.rotate(whole, offsets[child])
    return joints


def _gaussian(values: Array, sigma: float) -> Array:
    """Smoothing along axis 0 with the edges held, out to four sigma."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
    smooth = [np.convolve(padded[:, axis], weights, mode="valid") for axis in range(3)]
    return np.stack(smooth, axis=-1)


def layout_for_width(width: int) -> Layout:
    """The layout whose vectors have `width` columns."""
    for layout in (HUMANML22, KIT21):
        if columns(layout).width == width:
            return layout
    raise UsageError(f"no layout has vectors of {width} columns", allowed="263 or 251")
