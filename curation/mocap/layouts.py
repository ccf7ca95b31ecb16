"""The joint layouts of published motion features.

`HUMANML22` is the body of SMPL without hands, in SMPL's order; `SMPL24` adds the two hand
joints; `KIT21` is that of KIT-ML. A layout also knows what features need: its bones, the chains
along which published inverse kinematics walks, the joints that define the facing direction, the
joints of the feet, and which joints trade places in a mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from catalogs.errors import NotFoundError, nearest

__all__ = ["HUMANML22", "KIT21", "LAYOUTS", "SMPL24", "Layout", "layout_of"]


@dataclass(frozen=True)
class Layout:
    """An ordered set of joints with a fixed meaning."""

    name: str
    joints: tuple[str, ...]
    chains: tuple[tuple[int, ...], ...]
    """Paths from the root (or a branch) outwards; together they visit every joint."""
    directions: tuple[tuple[int, int, int], ...]
    """Unit direction of each joint from its parent in the layout's nominal pose."""
    facing: tuple[int, int, int, int]
    """Right hip, left hip, right shoulder, left shoulder, as the published code indexes them."""
    feet: tuple[tuple[int, int], tuple[int, int]]
    """(ankle, toe) of the left and of the right foot."""
    lower_leg: tuple[int, int]
    """The two joints whose bones give the published leg length."""

    def __len__(self) -> int:
        return len(self.joints)

    @cached_property
    def parents(self) -> npt.NDArray[np.intp]:
        parents = np.full(len(self), -1, np.intp)
        for chain in self.chains:
            parents[list(chain[1:])] = chain[:-1]
        return parents

    @cached_property
    def mirrored(self) -> npt.NDArray[np.intp]:
        """For each joint, the joint on the other side (itself on the middle line)."""

        def other(name: str) -> str:
            for side, opposite in (
                ("left_", "right_"),
                ("right_", "left_"),
                ("L", "R"),
                ("R", "L"),
            ):
                if name.startswith(side):
                    return opposite + name.removeprefix(side)
            return name

        return np.array(
            [
                self.joints.index(other(name)) if other(name) in self.joints else i
                for i, name in enumerate(self.joints)
            ],
            np.intp,
        )

    def index(self, name: str) -> int:
        if name not in self.joints:
            raise NotFoundError(
                f"layout {self.name} has no joint {name!r}",
                allowed=", ".join(self.joints),
                hint=nearest(name, self.joints),
            )
        return self.joints.index(name)


_RIGHT, _UP, _DOWN, _LEFT, _AHEAD = (-1, 0, 0), (0, 1, 0), (0, -1, 0), (1, 0, 0), (0, 0, 1)

HUMANML22 = Layout(
    name="humanml22",
    joints=(
        *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2"),
        *("left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck"),
        *("left_collar", "right_collar", "head", "left_shoulder", "right_shoulder"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    ),
    chains=(
        (0, 2, 5, 8, 11),
        (0, 1, 4, 7, 10),
        (0, 3, 6, 9, 12, 15),
        (9, 14, 17, 19, 21),
        (9, 13, 16, 18, 20),
    ),
    directions=(
        *((0, 0, 0), _LEFT, _RIGHT, _UP, _DOWN, _DOWN, _UP, _DOWN, _DOWN, _UP, _AHEAD, _AHEAD),
        *(_UP, _LEFT, _RIGHT, _AHEAD, _DOWN, _DOWN, _DOWN, _DOWN, _DOWN, _DOWN),
    ),
    facing=(2, 1, 17, 16),
    feet=((7, 10), (8, 11)),
    lower_leg=(5, 8),
)

SMPL24 = Layout(
    name="smpl24",
    joints=(*HUMANML22.joints, "left_hand", "right_hand"),
    chains=(*HUMANML22.chains[:3], (9, 14, 17, 19, 21, 23), (9, 13, 16, 18, 20, 22)),
    directions=(*HUMANML22.directions, _DOWN, _DOWN),
    facing=HUMANML22.facing,
    feet=HUMANML22.feet,
    lower_leg=HUMANML22.lower_leg,
)

KIT21 = Layout(
    name="kit21",
    joints=(
        *("root", "BP", "BT", "BLN", "BUN", "LS", "LE", "LW", "RS", "RE", "RW"),
        *("LH", "LK", "LA", "LMrot", "LF", "RH", "RK", "RA", "RMrot", "RF"),
    ),
    chains=(
        (0, 11, 12, 13, 14, 15),
        (0, 16, 17, 18, 19, 20),
        (0, 1, 2, 3, 4),
        (3, 5, 6, 7),
        (3, 8, 9, 10),
    ),
    directions=(
        *((0, 0, 0), _UP, _UP, _UP, _UP, _LEFT, _DOWN, _DOWN, _RIGHT, _DOWN, _DOWN),
        *(_LEFT, _DOWN, _DOWN, _AHEAD, _AHEAD, _RIGHT, _DOWN, _DOWN, _AHEAD, _AHEAD),
    ),
    # the published code takes the L... joints for the right side: its across vector runs from
    # RH to LH, and the data follows it
    facing=(11, 16, 5, 8),
    feet=((14, 15), (19, 20)),
    lower_leg=(17, 18),
)

LAYOUTS = {layout.name: layout for layout in (HUMANML22, SMPL24, KIT21)}


def layout_of(name: str) -> Layout:
    """The layout called `name`."""
    if name not in LAYOUTS:
        raise NotFoundError(
            f"layout {name!r} is unknown", allowed=", ".join(LAYOUTS), hint=nearest(name, LAYOUTS)
        )
    return LAYOUTS[name]
