"""Variants of a motion as recorded transforms: views of a take, not files.

A view is a list of transforms that a recipe names and a catalog stores; `apply` makes the motion
when it is wanted, and the list is all that is kept.

    >>> view = [Mirror(), Heading(90)]
    >>> transforms_from_json(transforms_to_json(view)) == view
    True
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError, nearest
from curation.mocap import rotations as rot
from curation.mocap.skeleton import Motion, Skeleton

__all__ = [
    "Heading",
    "Mirror",
    "Speed",
    "Transform",
    "apply",
    "mirror_partners",
    "transforms_from_json",
    "transforms_to_json",
]

Array = npt.NDArray[np.floating]
_REFLECT = np.array([-1.0, 1.0, 1.0])
_REFLECT_TURN = np.array([1.0, 1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Mirror:
    """Left and right trade places."""


@dataclass(frozen=True)
class Speed:
    """Faster by `factor`: the frames are kept, the rate changes."""

    factor: float

    def __post_init__(self) -> None:
        if not 0.1 <= self.factor <= 10:
            raise UsageError(f"speed factor {self.factor}", allowed="0.1 to 10")


@dataclass(frozen=True)
class Heading:
    """The whole take turned about the vertical, in degrees to the left."""

    degrees: float


Transform = Mirror | Speed | Heading
_KINDS: dict[str, type[Transform]] = {"mirror": Mirror, "speed": Speed, "heading": Heading}


def apply(motion: Motion, transforms: Sequence[Transform]) -> Motion:
    """The motion with the transforms applied in order."""
    for transform in transforms:
        match transform:
            case Mirror():
                motion = _mirrored(motion)
            case Speed(factor):
                motion = replace(motion, fps=motion.fps * Fraction(str(factor)))
            case Heading(degrees):
                motion = _turned(motion, np.radians(degrees))
    return motion


def transforms_to_json(transforms: Sequence[Transform]) -> str:
    names = {kind: name for name, kind in _KINDS.items()}
    return json.dumps([{"kind": names[type(one)], **asdict(one)} for one in transforms])


def transforms_from_json(text: str) -> list[Transform]:
    """The transforms of a recorded view; an unknown kind names the nearest."""
    transforms: list[Transform] = []
    for entry in json.loads(text):
        values = dict(entry)
        kind = str(values.pop("kind", ""))
        if kind not in _KINDS:
            raise UsageError(
                f"unknown transform {kind!r}", allowed=", ".join(_KINDS), hint=nearest(kind, _KINDS)
            )
        try:
            transforms.append(_KINDS[kind](**values))
        except TypeError as error:
            raise UsageError(f"transform {kind!r}: {error}") from error
    return transforms


def mirror_partners(skeleton: Skeleton) -> npt.NDArray[np.intp]:
    """For each joint the one on the other side, itself on the middle line."""
    index = {name: i for i, name in enumerate(skeleton.names)}
    partners = np.arange(len(skeleton))
    for i, name in enumerate(skeleton.names):
        twins = [index[other] for other in _other_side(name) if other in index]
        if twins:
            partners[i] = twins[0]
    lonely = partners[partners] != np.arange(len(skeleton))
    partners[lonely] = np.flatnonzero(lonely)
    return partners


def _other_side(name: str) -> list[str]:
    """Names that the joint on the other side may have, likeliest first."""
    space, colon, plain = name.rpartition(":")
    candidates = []
    for left, right in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if left in plain:
            candidates.append(plain.replace(left, right))
        elif right in plain:
            candidates.append(plain.replace(right, left))
    swap = {"l": "r", "r": "l", "L": "R", "R": "L"}
    # Hand_L, thigh.r, L_Hip, lfemur, LHipJoint
    for match in re.finditer(r"(?<=[_.\-])[lrLR]$|^[lrLR]", plain):
        at = match.start()
        candidates.append(plain[:at] + swap[plain[at]] + plain[at + 1 :])
    return [f"{space}{colon}{candidate}" for candidate in candidates]


def _mirrored(motion: Motion) -> Motion:
    skeleton = motion.skeleton
    partners = mirror_partners(skeleton)
    broken = [
        i
        for i, p in enumerate(skeleton.parents)
        if p >= 0 and partners[p] != skeleton.parents[partners[i]]
    ]
    if broken:
        raise UsageError(
            f"joint {skeleton.names[broken[0]]!r} and its twin hang on different joints",
            hint="map the motion to a layout first (mapping.to_layout)",
        )
    carriers = {int(parent): i for i, parent in enumerate(skeleton.end_parents)}
    ends = np.array(
        [carriers.get(int(partners[parent]), i) for i, parent in enumerate(skeleton.end_parents)],
        np.intp,
    )

    def place(values: Array | None) -> Array | None:
        return None if values is None else values[:, partners] * _REFLECT

    turns = motion.rotations
    return replace(
        motion,
        skeleton=replace(
            skeleton,
            offsets=skeleton.offsets[partners] * _REFLECT,
            end_offsets=skeleton.end_offsets[ends] * _REFLECT,
        ),
        root_positions=None if motion.root_positions is None else motion.root_positions * _REFLECT,
        rotations=None if turns is None else turns[:, partners] * _REFLECT_TURN,
        local_positions=place(motion.local_positions),
        measured=place(motion.measured),
    )


def _turned(motion: Motion, radians: float) -> Motion:
    turn = rot.yaw(np.array(radians))
    roots = np.flatnonzero(motion.skeleton.parents < 0)

    def world(values: Array | None) -> Array | None:
        return None if values is None else rot.rotate(turn, values)

    rotations, local = motion.rotations, motion.local_positions
    if rotations is not None:
        rotations = rotations.copy()
        rotations[:, roots] = rot.multiply(turn, rotations[:, roots])
    if local is not None:
        local = local.copy()
        local[:, roots] = rot.rotate(turn, local[:, roots])
    return replace(
        motion,
        root_positions=world(motion.root_positions),
        rotations=rotations,
        local_positions=local,
        measured=world(motion.measured),
    )
