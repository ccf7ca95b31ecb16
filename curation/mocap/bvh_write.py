"""A body's joints as a BVH file, for programs that animate characters.

The bones keep their mean length over the motion; what a joint turns is the least turn that brings
its bones where they were (see `ik`). Lengths are centimetres, y up.

    write_bvh(joints, Fraction(20), Path("walk.bvh"))       # joints: (T, 22, 3), metres
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.mocap import rotations as rot
from curation.mocap.amass import neutral_skeleton
from curation.mocap.ik import local_rotations
from curation.mocap.skeleton import Skeleton

__all__ = ["write_bvh"]

Array = npt.NDArray[np.floating]
_CENTIMETRES = 100.0
_ORDER = "ZXY"
_TURNS = " ".join(f"{axis}rotation" for axis in _ORDER)


def write_bvh(joints: Array, fps: Fraction, path: Path) -> Path:
    """Write (T, 22, 3) joints of a body in metres, y up."""
    skeleton = _sized(neutral_skeleton("body"), joints)
    degrees = rot.to_euler(local_rotations(joints, skeleton), _ORDER)
    lines = ["HIERARCHY", *_joint(skeleton, 0, 0), "MOTION", f"Frames: {len(joints)}"]
    lines.append(f"Frame Time: {float(1 / fps):.8f}")
    places = joints[:, 0] * _CENTIMETRES
    order = _depth_first(skeleton, 0)
    numbers = np.concatenate([places, degrees[:, order].reshape(len(joints), -1)], axis=1)
    lines += [" ".join(f"{value:.5f}" for value in row) for row in numbers]
    path.write_text("\n".join(lines) + "\n")
    return path


def _sized(skeleton: Skeleton, joints: Array) -> Skeleton:
    """The skeleton with the bone lengths of a motion; its root is where the motion puts it."""
    offsets = np.array(skeleton.offsets, dtype=float)
    offsets[0] = 0
    for parent, child in skeleton.bones:
        length = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1).mean()
        offsets[child] *= length / max(np.linalg.norm(offsets[child]), 1e-9)
    return replace(skeleton, offsets=offsets)


def _depth_first(skeleton: Skeleton, joint: int) -> list[int]:
    """Joints as their channels come."""
    children = [c for c, parent in enumerate(skeleton.parents) if parent == joint]
    return [joint, *(found for child in children for found in _depth_first(skeleton, child))]


def _joint(skeleton: Skeleton, joint: int, depth: int) -> list[str]:
    """A joint with all that hangs on it."""
    indent, offset = "  " * depth, skeleton.offsets[joint] * _CENTIMETRES
    x, y, z = offset
    root = depth == 0
    channels = f"6 Xposition Yposition Zposition {_TURNS}" if root else f"3 {_TURNS}"
    lines = [
        f"{indent}{'ROOT' if root else 'JOINT'} {skeleton.names[joint]}",
        f"{indent}{{",
        f"{indent}  OFFSET {x:.6f} {y:.6f} {z:.6f}",
        f"{indent}  CHANNELS {channels}",
    ]
    children = [c for c, parent in enumerate(skeleton.parents) if parent == joint]
    for child in children:
        lines += _joint(skeleton, child, depth + 1)
    if not children:
        lines += [
            f"{indent}  End Site",
            f"{indent}  {{",
            f"{indent}    OFFSET 0 0 0",
            f"{indent}  }}",
        ]
    return [*lines, f"{indent}}}"]
