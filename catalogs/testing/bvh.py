"""Writing of BVH files from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError

__all__ = ["LengthUnit", "write_bvh"]

LengthUnit = Literal["m", "cm", "mm", "inch"]
PER_METRE = {"m": 1.0, "cm": 100.0, "mm": 1000.0, "inch": 1 / 0.0254}


def write_bvh(
    path: str | Path,
    names: Sequence[str],
    parents: Sequence[int],
    offsets: NDArray[np.float64],
    rotations_euler: NDArray[np.float64],
    root_positions: NDArray[np.float64],
    fps: Fraction | float,
    *,
    unit: LengthUnit = "cm",
    channel_order: str = "ZXY",
    joint_positions: NDArray[np.float64] | None = None,
    end_sites: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """Write a take; lengths are given in metres and written in `unit`.

    Args:
        path: the file to write.
        names: of the joints; a parent comes before its children.
        parents: index of each joint's parent, -1 for the root.
        offsets: (J, 3) from the parent in the rest pose, metres.
        rotations_euler: (T, J, 3) degrees, in the order of `channel_order`.
        root_positions: (T, 3) metres.
        fps: frames per second.
        unit: of lengths in the file.
        channel_order: axes of the rotation channels, outermost first.
        joint_positions: (T, J, 3) metres from the parent; when given, every joint carries
            position channels, which replace its offset (bones may then change length).
        end_sites: by joint name, where a last bone ends, metres from the joint.
    """
    if sorted(channel_order) != ["X", "Y", "Z"]:
        raise UsageError(
            f"channel order {channel_order!r} is not one", allowed="an order of X, Y and Z"
        )
    scale = PER_METRE[unit]
    order = _depth_first(parents)
    tree = _Tree(
        names, parents, np.asarray(offsets) * scale, channel_order, joint_positions is not None,
        {name: scale * np.asarray(end) for name, end in (end_sites or {}).items()},
    )  # fmt: skip
    frames = len(root_positions)
    moved = joint_positions if joint_positions is not None else root_positions[:, None]
    columns = []
    for joint in order:
        if joint == order[0] or joint_positions is not None:
            columns.append(np.asarray(moved)[:, joint] * scale)
        columns.append(rotations_euler[:, joint])
    values = np.concatenate(columns, axis=1)
    row = " ".join(["%.6f"] * values.shape[1])
    lines = [
        "HIERARCHY",
        *tree.lines(order[0], ""),
        "MOTION",
        f"Frames: {frames}",
        f"Frame Time: {1 / float(fps):.8f}",
        *(row % tuple(frame) for frame in values.tolist()),
    ]
    path = Path(path)
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _depth_first(parents: Sequence[int]) -> list[int]:
    """Joints in the order in which BVH nests them."""

    def below(joint: int) -> list[int]:
        children = [child for child, parent in enumerate(parents) if parent == joint]
        return [joint, *(nested for child in children for nested in below(child))]

    roots = [joint for joint, parent in enumerate(parents) if parent < 0]
    if len(roots) != 1:
        raise UsageError(f"the skeleton has {len(roots)} roots", allowed="one parent of -1")
    return below(roots[0])


class _Tree:
    def __init__(
        self,
        names: Sequence[str],
        parents: Sequence[int],
        offsets: NDArray[np.float64],
        channel_order: str,
        moving_joints: bool,
        end_sites: Mapping[str, NDArray[np.float64]],
    ):
        self._names, self._parents, self._offsets = names, parents, offsets
        self._end_sites = end_sites
        self._moving_joints = moving_joints
        self._rotations = [f"{axis}rotation" for axis in channel_order]

    def lines(self, joint: int, indent: str) -> list[str]:
        """The HIERARCHY block of a joint and all below it."""
        is_root = self._parents[joint] < 0
        positions = ["Xposition", "Yposition", "Zposition"]
        channels = (positions if is_root or self._moving_joints else []) + self._rotations
        children = [child for child, parent in enumerate(self._parents) if parent == joint]
        inner = indent + "\t"
        offset = np.zeros(3) if is_root else self._offsets[joint]
        body = [
            f"{inner}OFFSET {_numbers(offset)}",
            f"{inner}CHANNELS {len(channels)} {' '.join(channels)}",
        ]
        for child in children:
            body += self.lines(child, inner)
        if not children:
            end = self._end_sites.get(self._names[joint], self._offsets[joint] / 2)
            body += [
                f"{inner}End Site",
                inner + "{",
                f"{inner}\tOFFSET {_numbers(end)}",
                inner + "}",
            ]
        word = "ROOT" if is_root else "JOINT"
        return [f"{indent}{word} {self._names[joint]}", indent + "{", *body, indent + "}"]


def _numbers(vector: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6f}" for value in vector)
