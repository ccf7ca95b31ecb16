"""From any rig to the joints of a layout.

>>> mapping = find_mapping(motion.skeleton)
>>> mapping.rig
'cmu'
>>> body = to_layout(motion, HUMANML22)       # a Motion of 22 measured joints
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from catalogs.errors import NotFoundError, nearest
from curation.mocap.layouts import HUMANML22, KIT21, SMPL24, Layout
from curation.mocap.rigs import RIGS, Rig
from curation.mocap.skeleton import Motion, Skeleton

__all__ = [
    "JointMapping",
    "body_joints",
    "find_mapping",
    "layout_skeleton",
    "plain_name",
    "to_layout",
]

Array = npt.NDArray[np.floating]

_KIT_FROM_BODY = {
    "root": "pelvis",
    "BP": "spine1",
    "BT": "spine2",
    "BLN": "neck",
    "BUN": "head",
    "LMrot": "between left_ankle and left_foot",
    "RMrot": "between right_ankle and right_foot",
} | {
    side[0].upper() + part: f"{side}_{name}"
    for side in ("left", "right")
    for part, name in (
        ("S", "shoulder"),
        ("E", "elbow"),
        ("W", "wrist"),
        ("H", "hip"),
        ("K", "knee"),
        ("A", "ankle"),
        ("F", "foot"),
    )
}
_HANDS = {
    "left_hand": ("left_hand", "left_middle1", "LeftHandMiddle1", "end of left_wrist"),
    "right_hand": ("right_hand", "right_middle1", "RightHandMiddle1", "end of right_wrist"),
}


@dataclass(frozen=True)
class JointMapping:
    """Where each joint of the 22-joint body is found in a skeleton."""

    rig: str
    sources: tuple[tuple[str, int, int], ...]
    """Per body joint: `joint`, `end` or `between`, and one or two indices."""

    def positions(self, motion: Motion) -> Array:
        """(T, 22, 3)"""
        joints, ends = motion.joints, motion.end_sites
        columns: list[Array] = []
        for kind, a, b in self.sources:
            if kind == "between":
                columns.append((joints[:, a] + joints[:, b]) / 2)
            else:
                columns.append(ends[:, a] if kind == "end" else joints[:, a])
        return np.stack(columns, axis=1)


def plain_name(name: str) -> str:
    """A joint's name without name space, case and separators."""
    return re.sub(r"[\s_\-.]+", "", name.rpartition(":")[2]).lower()


def find_mapping(
    skeleton: Skeleton, rig: str | None = None, extra: Mapping[str, Rig] | None = None
) -> JointMapping:
    """How to read the skeleton as a 22-joint body, or an error that names the missing joint.

    `rig` fixes the rig; otherwise the rigs of `extra` and then the built-in ones are tried.
    """
    known = {**(extra or {}), **RIGS}
    if rig is not None:
        if rig not in known:
            raise NotFoundError(
                f"rig {rig!r} is unknown", allowed=", ".join(known), hint=nearest(rig, known)
            )
        known = {rig: known[rig]}
    lookup = _Lookup(skeleton)
    closest, closest_missing = "", [*HUMANML22.joints]
    for name, joints in known.items():
        found = {body: lookup.first(joints.get(body, ())) for body in HUMANML22.joints}
        missing = [body for body, source in found.items() if source is None]
        if not missing:
            return JointMapping(name, tuple(s for s in found.values() if s is not None))
        if len(missing) < len(closest_missing):
            closest, closest_missing = name, missing
    raise NotFoundError(
        f"the skeleton is no known rig: nearest is {closest!r}, which lacks "
        f"{', '.join(closest_missing)}"
        if closest
        else f"the skeleton is no known rig: none of its {len(skeleton)} joints is a body joint",
        allowed=", ".join(known),
        hint=f"its joints are {', '.join(skeleton.names[:40])}; add a rig to the table",
    )


class _Lookup:
    """Finds sources such as `LeftUpLeg`, `end of LeftFoot`, `between Spine and Chest`."""

    def __init__(self, skeleton: Skeleton):
        self._joints = {plain_name(name): i for i, name in reversed([*enumerate(skeleton.names)])}
        self._ends = {int(parent): i for i, parent in enumerate(skeleton.end_parents)}

    def first(self, specs: object) -> tuple[str, int, int] | None:
        assert isinstance(specs, (list, tuple))
        return next((found for spec in specs if (found := self.one(spec)) is not None), None)

    def one(self, spec: str) -> tuple[str, int, int] | None:
        if spec.startswith("end of "):
            joint = self._joints.get(plain_name(spec.removeprefix("end of ")))
            end = self._ends.get(-1 if joint is None else joint)
            return None if end is None else ("end", end, end)
        if spec.startswith("between "):
            a, _, b = spec.removeprefix("between ").partition(" and ")
            first, second = self._joints.get(plain_name(a)), self._joints.get(plain_name(b))
            return None if first is None or second is None else ("between", first, second)
        joint = self._joints.get(plain_name(spec))
        return None if joint is None else ("joint", joint, joint)


def body_joints(
    motion: Motion, rig: str | None = None, extra: Mapping[str, Rig] | None = None
) -> Array:
    """(T, 22, 3): the motion as the 22 joints of HumanML3D, whatever its rig."""
    return find_mapping(motion.skeleton, rig, extra).positions(motion)


def layout_skeleton(layout: Layout, joints: Array | None = None) -> Skeleton:
    """A skeleton of the layout; offsets are the median bone lengths of `joints` if given."""
    directions = np.array(layout.directions, float)
    lengths = np.ones(len(layout))
    if joints is not None:
        parents = np.maximum(layout.parents, 0)
        bones = np.linalg.norm(joints - joints[:, parents], axis=-1)
        bones = bones[np.isfinite(bones).all(axis=1)]
        lengths = np.median(bones, axis=0) if len(bones) else lengths
    return Skeleton(
        names=layout.joints,
        parents=layout.parents,
        offsets=directions * lengths[:, None],
        rig=layout.name,
    )


def to_layout(
    motion: Motion,
    layout: Layout = HUMANML22,
    *,
    rig: str | None = None,
    extra: Mapping[str, Rig] | None = None,
) -> Motion:
    """The motion as measured positions of the layout's joints, in the layout's order."""
    body = body_joints(motion, rig, extra)
    if layout is HUMANML22:
        joints = body
    elif layout is SMPL24:
        joints = np.concatenate([body, _hands(motion, body)], axis=1)
    elif layout is KIT21:
        joints = np.stack([_from_body(body, _KIT_FROM_BODY[name]) for name in KIT21.joints], 1)
    else:
        raise NotFoundError(f"no mapping to layout {layout.name!r}", allowed="the built-in layouts")
    skeleton = layout_skeleton(layout, joints)
    return Motion(replace(skeleton, rig=layout.name), motion.fps, measured=joints)


def _from_body(body: Array, spec: str) -> Array:
    if spec.startswith("between "):
        a, _, b = spec.removeprefix("between ").partition(" and ")
        return (body[:, HUMANML22.index(a)] + body[:, HUMANML22.index(b)]) / 2
    return body[:, HUMANML22.index(spec)]


def _hands(motion: Motion, body: Array) -> Array:
    """(T, 2, 3): the rig's hand joints, else the forearm carried on by a third."""
    lookup = _Lookup(motion.skeleton)
    hands: list[Array] = []
    for side, specs in _HANDS.items():
        source = lookup.first(specs)
        elbow, wrist = (
            body[:, HUMANML22.index(side.replace("hand", part))] for part in ("elbow", "wrist")
        )
        if source is None:
            hands.append(wrist + (wrist - elbow) / 3)
        else:
            hands.append(JointMapping("", (source,)).positions(motion)[:, 0])
    return np.stack(hands, axis=1)
