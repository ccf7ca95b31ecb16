"""Writing of BVH files from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["LengthUnit", "write_bvh"]

LengthUnit = Literal["m", "cm", "mm", "inch"]


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
    """
    raise NotImplementedError
