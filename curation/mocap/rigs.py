"""Joint names of common rigs, written as the 22 joints of SMPL's body.

Each entry says where a body joint is found in a rig: a joint's name, `end of NAME` for the end
site that hangs on a joint, or `between A and B` for the middle of two joints. Several entries are
alternatives, the first that exists counts. Names are compared without case, separators and
name space, so `mixamorig:LeftUpLeg` is `leftupleg`.

`read_rigs` reads more of the same from YAML:

    my_rig:
      pelvis: Root
      left_hip: thigh.L
      spine2: [Spine2, between Spine1 and Chest]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from catalogs.errors import RecipeError, nearest
from curation.mocap.layouts import HUMANML22

__all__ = ["RIGS", "Rig", "read_rigs"]

Rig = Mapping[str, Sequence[str]]
"""Body joint -> where to find it, best first."""

_MIDDLE = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
_LIMB = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")


def _rig(middle: str, limb: str) -> Rig:
    """A rig from its middle line and its limbs, in the order of `_MIDDLE` and `_LIMB`.

    Commas part joints, bars part alternatives; {L} stands for Left, {l} for L and {s} for left.
    """
    joints = {name: _alternatives(spec) for name, spec in _paired(_MIDDLE, middle)}
    for side in ("left", "right"):
        named = limb.format(L=side.title(), l=side[0].upper(), s=side)
        joints |= {f"{side}_{name}": _alternatives(spec) for name, spec in _paired(_LIMB, named)}
    return joints


def _paired(names: Sequence[str], specs: str) -> Iterable[tuple[str, str]]:
    return zip(names, specs.split(","), strict=True)


def _alternatives(spec: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in spec.split("|"))


_ARM = "{L}Shoulder, {L}Arm, {L}ForeArm, {L}Hand"
_TOE = "{L}ToeBase | {L}Toe | end of {L}Foot"

RIGS: dict[str, Rig] = {
    "acclaim": _rig(
        "root, upperback, thorax, lowerneck, upperneck, head",
        "{l}femur, {l}tibia, {l}foot, {l}toes, {l}clavicle, {l}humerus, {l}radius, {l}wrist",
    ),
    # CMU as converted to BVH, and what was made from it
    "cmu": _rig(
        "Hips, Spine, Spine1, Neck, Neck1, Head",
        f"{{L}}UpLeg, {{L}}Leg, {{L}}Foot, {{L}}ToeBase, {_ARM}",
    ),
    "cmu_simple": _rig(
        "Hips, LowerBack, Spine, Spine1, Neck, Head",
        f"{{L}}UpLeg, {{L}}Leg, {{L}}Foot, {{L}}ToeBase, {_ARM}",
    ),
    "cmu_daz": _rig(
        "Hips, Chest, Chest2, lowerneck, Neck, Head",
        "{L}Hip, {L}Knee, {L}Ankle, {L}Toe, {L}Collar, {L}Shoulder, {L}Elbow, {L}Wrist",
    ),
    "bandai": _rig(
        "Hips, Spine, between Spine and Chest, Chest, Neck, Head",
        "UpperLeg_{l}, LowerLeg_{l}, Foot_{l}, Toes_{l}, "
        "Shoulder_{l}, UpperArm_{l}, LowerArm_{l}, Hand_{l}",
    ),
    "smpl": _rig(
        "pelvis, spine1, spine2, spine3, neck, head",
        "{s}_hip | {l}_hip, {s}_knee | {l}_knee, {s}_ankle | {l}_ankle, {s}_foot | {l}_foot, "
        "{s}_collar | {l}_collar, {s}_shoulder | {l}_shoulder, "
        "{s}_elbow | {l}_elbow, {s}_wrist | {l}_wrist",
    ),
    "deepmimic_humanoid3d": _rig(
        "root, between root and chest, chest, between chest and neck, neck, end of neck",
        "{s}_hip, {s}_knee, {s}_ankle, end of {s}_ankle, "
        "between neck and {s}_shoulder, {s}_shoulder, {s}_elbow, {s}_wrist",
    ),
    # four spine joints: Rokoko exports and the AnimatedDrawings takes
    "rokoko": _rig(
        "Hips, Spine1, Spine2, Spine3, Neck, Head",
        f"{{L}}UpLeg | {{L}}Thigh, {{L}}Leg | {{L}}Shin, {{L}}Foot, {_TOE}, {_ARM}",
    ),
    "lafan1": _rig(
        "Hips, Spine, Spine1, Spine2, Neck, Head",
        f"{{L}}UpLeg, {{L}}Leg, {{L}}Foot, {{L}}Toe, {_ARM}",
    ),
    "mixamo": _rig(
        "Hips, Spine, Spine1, Spine2, Neck, Head",
        f"{{L}}UpLeg, {{L}}Leg, {{L}}Foot, {_TOE}, {_ARM}",
    ),
    "two_spines": _rig(
        "Hips, Spine, between Spine and Spine1, Spine1, Neck, Head",
        f"{{L}}UpLeg, {{L}}Leg, {{L}}Foot, {_TOE}, {_ARM}",
    ),
    "kinect": _rig(
        "SpineBase, between SpineBase and SpineMid, SpineMid, "
        "between SpineMid and SpineShoulder, Neck, Head",
        "Hip{L}, Knee{L}, Ankle{L}, Foot{L}, "
        "between SpineShoulder and Shoulder{L}, Shoulder{L}, Elbow{L}, Wrist{L}",
    ),
    "kit": _rig(
        "root, BP, BT, between BT and BLN, BLN, BUN",
        "{l}H, {l}K, {l}A, {l}F, between BLN and {l}S, {l}S, {l}E, {l}W",
    ),
    "xsens": _rig(
        "Hips | Pelvis, L5 | Chest, T12 | Chest2, T8 | Chest4, Neck, Head",
        "{L}UpperLeg | {L}Hip, {L}LowerLeg | {L}Knee, {L}Foot | {L}Ankle, {L}Toe, "
        "{L}Shoulder | {L}Collar, {L}UpperArm | {L}Shoulder, {L}ForeArm | {L}Elbow, "
        "{L}Hand | {L}Wrist",
    ),
    "optitrack": _rig(
        "Hip | Hips, Ab, between Ab and Chest, Chest, Neck, Head",
        "{l}Thigh, {l}Shin, {l}Foot, {l}Toe, {l}Shoulder, {l}UArm, {l}FArm, {l}Hand",
    ),
    "unreal": _rig(
        "pelvis, spine_01, spine_02, spine_03, neck_01, head",
        "thigh_{l}, calf_{l}, foot_{l}, ball_{l}, "
        "clavicle_{l}, upperarm_{l}, lowerarm_{l}, hand_{l}",
    ),
}
"""Rigs in the order in which they are tried: the first that has every joint is taken."""


def read_rigs(path: Path) -> dict[str, Rig]:
    """Rigs from a YAML file; an unknown body joint is an error that names the nearest."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds no rigs", allowed="a mapping of rig name to joints")
    rigs: dict[str, Rig] = {}
    for name, joints in content.items():
        if not isinstance(joints, dict):
            raise RecipeError(f"rig {name!r} in {path} is no mapping", allowed="body joint: name")
        unknown = [joint for joint in joints if joint not in HUMANML22.joints]
        if unknown:
            raise RecipeError(
                f"rig {name!r} in {path} names the body joint {unknown[0]!r}",
                allowed=", ".join(HUMANML22.joints),
                hint=nearest(str(unknown[0]), HUMANML22.joints),
            )
        rigs[str(name)] = {
            joint: tuple([where] if isinstance(where, str) else map(str, where))
            for joint, where in joints.items()
        }
    return rigs
