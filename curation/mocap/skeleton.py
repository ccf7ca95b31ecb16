"""One skeleton model for every mocap format.

A `Skeleton` is a tree of named joints; a `Motion` is what it does over time. Readers turn each
format into these two, in the file's own unit and axes; `detect.normalised` brings them to metres,
y up, right-handed, and everything downstream relies on that.

    >>> motion = Motion(skeleton, Fraction(30), root_positions=path, rotations=quaternions)
    >>> motion.joints.shape            # forward kinematics, computed once
    (120, 31, 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from catalogs.errors import NotFoundError, UsageError, nearest
from curation.mocap import rotations as rot

__all__ = ["Motion", "Skeleton", "forward_kinematics"]

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A tree (or forest) of joints, parents before children."""

    names: tuple[str, ...]
    parents: npt.NDArray[np.intp]
    """Index of each joint's parent, -1 for a root."""
    offsets: Array
    """(J, 3): each joint seen from its parent in the rest pose."""
    end_parents: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """The joint that carries each end site (finger tip, top of the head)."""
    end_offsets: Array = field(default_factory=lambda: np.zeros((0, 3)))
    rig: str = "unknown"
    """The family of joint names, such as `cmu`, `mixamo` or `smpl`; see `mapping`."""

    def __post_init__(self) -> None:
        late = [i for i, parent in enumerate(self.parents) if parent >= i]
        if late:
            raise UsageError(
                f"joint {self.names[late[0]]!r} comes before its parent",
                allowed="parents before children",
            )
        if not len(self.names) == len(self.parents) == len(self.offsets):
            raise UsageError(
                f"{len(self.names)} names, {len(self.parents)} parents and "
                f"{len(self.offsets)} offsets do not belong together",
                allowed="one of each per joint",
            )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def levels(self) -> list[npt.NDArray[np.intp]]:
        """Joints grouped by depth below their root: each level needs only those above it."""
        depth = np.zeros(len(self), np.intp)
        for joint, parent in enumerate(self.parents):
            depth[joint] = 0 if parent < 0 else depth[parent] + 1
        return [np.flatnonzero(depth == level) for level in range(int(depth.max(initial=0)) + 1)]

    @cached_property
    def bones(self) -> npt.NDArray[np.intp]:
        """(B, 2) pairs of parent and child."""
        children = np.flatnonzero(self.parents >= 0)
        return np.stack([self.parents[children], children], axis=-1)

    def index(self, name: str) -> int:
        """Where the joint stands, or an error that names the nearest joint."""
        if name not in self.names:
            raise NotFoundError(
                f"the skeleton has no joint {name!r}",
                allowed=", ".join(self.names),
                hint=nearest(name, self.names),
            )
        return self.names.index(name)


def forward_kinematics(
    skeleton: Skeleton, local_positions: Array, rotations: Array
) -> tuple[Array, Array]:
    """Global positions (T, J, 3) and rotations (T, J, 4) from local ones.

    One step per level of the tree, each over all frames and all joints of the level.
    """
    shape = np.broadcast_shapes(local_positions.shape[:2], rotations.shape[:2])
    positions = np.empty((*shape, 3))
    turns = np.empty((*shape, 4))
    for depth, level in enumerate(skeleton.levels):
        if depth == 0:
            positions[:, level] = local_positions[:, level]
            turns[:, level] = rotations[:, level]
            continue
        parents = skeleton.parents[level]
        above = turns[:, parents]
        positions[:, level] = positions[:, parents] + rot.rotate(above, local_positions[:, level])
        turns[:, level] = rot.multiply(above, rotations[:, level])
    return positions, turns


@dataclass(frozen=True, eq=False)
class Motion:
    """A skeleton in time: local rotations, or measured joint positions, or both.

    Formats that hold rotations give `root_positions` and `rotations`; where joints also travel
    relative to their parents, `local_positions` replaces the fixed offsets. Formats that hold
    positions (markers, joint arrays) give `measured`.
    """

    skeleton: Skeleton
    fps: Fraction
    root_positions: Array | None = None
    """(T, 3): the first joint's path."""
    rotations: Array | None = None
    """(T, J, 4): local rotations, wxyz."""
    local_positions: Array | None = None
    """(T, J, 3): each joint seen from its parent, when it is not the fixed offset."""
    measured: Array | None = None
    """(T, J, 3): positions as recorded; NaN where a joint was not seen."""

    def __post_init__(self) -> None:
        if self.measured is None and self.rotations is None:
            raise UsageError("a motion needs rotations or measured positions")
        if self.rotations is not None and self.root_positions is None:
            raise UsageError("a motion with rotations needs the path of its root")
        if self.fps <= 0:
            raise UsageError(f"{self.fps} frames per second is not a rate", allowed="above 0")

    def __len__(self) -> int:
        """Frames."""
        stored = self.measured if self.measured is not None else self.rotations
        assert stored is not None
        return len(stored)

    @property
    def duration_s(self) -> Fraction:
        return len(self) / self.fps

    @cached_property
    def joints(self) -> Array:
        """(T, J, 3): where every joint is."""
        return self.measured if self.measured is not None else self._global[0]

    @cached_property
    def global_rotations(self) -> Array | None:
        """(T, J, 4), or None when the format holds positions only."""
        return None if self.rotations is None else self._global[1]

    @cached_property
    def _global(self) -> tuple[Array, Array]:
        assert self.rotations is not None
        return forward_kinematics(self.skeleton, self.local(), self.rotations)

    def local(self) -> Array:
        """(T or 1, J, 3): each joint seen from its parent; roots in the world."""
        if self.local_positions is not None:
            return self.local_positions
        assert self.root_positions is not None
        local = np.repeat(self.skeleton.offsets[None], len(self), axis=0)
        local[:, 0] = self.root_positions
        return local

    @cached_property
    def end_sites(self) -> Array:
        """(T, E, 3): tips of fingers, toes and head where the format states them."""
        turns = self.global_rotations
        if turns is None or not len(self.skeleton.end_parents):
            return np.zeros((len(self), 0, 3))
        carriers = self.skeleton.end_parents
        return self.joints[:, carriers] + rot.rotate(
            turns[:, carriers], self.skeleton.end_offsets[None]
        )

    def frames(self, start: int, end: int) -> Motion:
        """The frames `[start, end)`."""
        if not 0 <= start < end <= len(self):
            raise UsageError(
                f"frames [{start}, {end}) lie outside the motion",
                allowed=f"0 <= start < end <= {len(self)}",
            )
        return self.at(np.arange(start, end))

    def at(self, indices: Sequence[int] | npt.NDArray[np.intp]) -> Motion:
        """The frames of `indices`, at the same rate."""

        def pick(values: Array | None) -> Array | None:
            return None if values is None else values[np.asarray(indices)]

        return replace(
            self,
            root_positions=pick(self.root_positions),
            rotations=pick(self.rotations),
            local_positions=pick(self.local_positions),
            measured=pick(self.measured),
        )
