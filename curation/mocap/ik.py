"""Local rotations from joint positions, for layouts that want rotations where none were recorded.

Every bone is turned the shortest way from its rest direction; a joint with several bones takes
the rotation that fits all of them best. The joints land where they were, up to bone lengths.
The twist of a bone about its own axis is not in the positions: it comes out as the least one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation.mocap import rotations as rot
from curation.mocap.amass import neutral_skeleton
from curation.mocap.skeleton import Skeleton

__all__ = ["local_rotations", "smpl_rotations"]

Array = npt.NDArray[np.floating]


def smpl_rotations(joints: Array) -> Array:
    """(T, 22, 4) rotations of SMPL's T-pose body that follow (T, 22, 3) joints."""
    return local_rotations(joints, neutral_skeleton("body"))


def local_rotations(joints: Array, skeleton: Skeleton) -> Array:
    """(T, J, 4): how each joint of `skeleton` turns, seen from its parent."""
    children: list[list[int]] = [[] for _ in skeleton.names]
    for child, parent in enumerate(skeleton.parents):
        if parent >= 0:
            children[parent].append(child)
    whole = np.broadcast_to(rot.IDENTITY, (*joints.shape[:2], 4)).copy()
    local = whole.copy()
    for joint, parent in enumerate(skeleton.parents):
        above = (
            whole[:, parent] if parent >= 0 else np.broadcast_to(rot.IDENTITY, whole[:, 0].shape)
        )
        bones = [child for child in children[joint] if np.any(skeleton.offsets[child])]
        if not bones:
            whole[:, joint] = above
            continue
        seen = rot.rotate(rot.conjugate(above)[:, None], joints[:, bones] - joints[:, [joint]])
        local[:, joint] = _fit(skeleton.offsets[bones], seen)
        whole[:, joint] = rot.multiply(above, local[:, joint])
    return local


def _fit(rest: Array, seen: Array) -> Array:
    """The rotation that brings the bones at rest nearest to those seen."""
    if len(rest) == 1:
        return rot.between(np.broadcast_to(rest[0], seen[:, 0].shape), seen[:, 0])
    covariance = np.einsum("tbi,bj->tij", seen, rest)
    left, _, right = np.linalg.svd(covariance)
    # a best fit that mirrors is no rotation: turn its weakest axis round
    flip = np.ones((len(seen), 3))
    flip[:, 2] = np.sign(np.linalg.det(left @ right))
    return rot.from_matrix(left @ (flip[:, :, None] * right))
