"""What a rendered mocap take is known to hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIONS", "DEFECTS", "Action", "Defect", "TakeTruth"]

Action = Literal[
    "stand",
    "walk",
    "run",
    "turn",
    "jump",
    "squat",
    "wave",
    "raise_arm",
    "kick",
    "bow",
    "sit",
]
Defect = Literal[
    "nan",
    "foot_skate",
    "left_right_swap",
    "scale_2x",
    "jump_cut",
    "frozen",
    "bone_drift",
    "t_pose_start",
]
ACTIONS: tuple[str, ...] = get_args(Action)
DEFECTS: tuple[str, ...] = get_args(Defect)


@dataclass(frozen=True, slots=True, eq=False)
class TakeTruth:
    """Everything that is known of a rendered take."""

    path: Path
    action: str
    frames: int
    fps: Fraction
    joints: NDArray[np.float64]
    """(frames, 22, 3) world positions in metres, y up, in the SMPL joint order."""
    contacts: NDArray[np.bool_]
    """(frames, 2) whether the left and the right foot is planted (its toe joint at rest)."""
    unit: str
    up_axis: str
    rig: str
    joint_names: list[str]
    """The names in the file, in the order of `joints`."""
    span: tuple[int, int]
    """First frame of the action and first frame after it."""
    side: str | None = None
    """`left` or `right`, where the action has one."""
    direction: str | None = None
    """Of travel, relative to where the person faces: forward, backward, left, right."""
    count: int | None = None
    """Steps, jumps, squats, waves or kicks."""
    turn_deg: float = 0.0
    """Change of heading, positive to the person's left."""
    distance_m: float = 0.0
    speed_m_s: float = 0.0
    """Mean speed of the root over the ground during `span`."""
    height_m: float | None = None
    """Of a jump: rise of the root above standing."""
    defect: str | None = None
    defect_span: tuple[int, int] | None = None
    """First bad frame and first good frame after it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        joints = np.round(self.joints, 6).astype(object)
        joints[np.isnan(self.joints)] = None
        plain.update(
            path=str(self.path),
            fps=str(self.fps),
            joints=joints.tolist(),
            contacts=self.contacts.astype(int).tolist(),
        )
        return plain

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> TakeTruth:
        def pair(value: list[int] | None) -> tuple[int, int] | None:
            return None if value is None else (value[0], value[1])

        typed = {
            "path": Path(plain["path"]),
            "fps": Fraction(plain["fps"]),
            "joints": np.array(plain["joints"], dtype=np.float64),
            "contacts": np.array(plain["contacts"], dtype=bool),
            "span": pair(plain["span"]),
            "defect_span": pair(plain["defect_span"]),
        }
        return cls(**(plain | typed))

    @classmethod
    def from_json(cls, text: str) -> TakeTruth:
        return cls.from_dict(json.loads(text))
