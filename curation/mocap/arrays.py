"""Arrays of joint positions and published feature vectors in .npy or .npz.

What an array is follows from its shape:

| shape | meaning | rate |
|---|---|---|
| (T, 22, 3), (T, 24, 3), (T, 52, 3), (T, 55, 3) | SMPL body, SMPL, SMPL-H, SMPL-X joints | 20 |
| (T, 21, 3) | KIT-ML joints | 12.5 |
| (T, 263), (T, 251), (T, 272) | HumanML3D, KIT and 272-dim vectors | 20, 12.5, 30 |
| (3, T, 25, M) | NTU RGB+D skeletons of up to M people | 30 |

Rates are those of the published data sets; arrays hold none, so they can be overridden.
"""

from __future__ import annotations

import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.mocap import features, features272
from curation.mocap.amass import neutral_skeleton
from curation.mocap.layouts import HUMANML22, KIT21
from curation.mocap.mapping import layout_skeleton
from curation.mocap.problems import MocapFileError, check_plausible
from curation.mocap.skeleton import Motion, Skeleton

__all__ = ["JointArray", "load_npy", "motion_from_array", "pick_array"]

Array = npt.NDArray[np.floating]
_UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError, MemoryError)
"""What numpy raises for a damaged header, which it reads as Python text."""
_POSITION_KEYS = ("joints", "positions", "joints_3d", "keypoints3d", "data", "arr_0")
_SMPL_FAMILY = {22: "body", 24: "smpl", 52: "smplh", 55: "smplx"}
_NTU_TREE = (
    (0, "SpineBase", ""),
    (1, "SpineMid", "SpineBase"),
    (20, "SpineShoulder", "SpineMid"),
    (2, "Neck", "SpineShoulder"),
    (3, "Head", "Neck"),
    *(
        (start + step, part + side, (before + side) if before else "SpineShoulder")
        for start, side in ((4, "Left"), (8, "Right"))
        for step, (part, before) in enumerate(
            (("Shoulder", ""), ("Elbow", "Shoulder"), ("Wrist", "Elbow"), ("Hand", "Wrist"))
        )
    ),
    *(
        (start + step, part + side, (before + side) if before else "SpineBase")
        for start, side in ((12, "Left"), (16, "Right"))
        for step, (part, before) in enumerate(
            (("Hip", ""), ("Knee", "Hip"), ("Ankle", "Knee"), ("Foot", "Ankle"))
        )
    ),
    (21, "HandTipLeft", "HandLeft"),
    (22, "ThumbLeft", "HandLeft"),
    (23, "HandTipRight", "HandRight"),
    (24, "ThumbRight", "HandRight"),
)
_SHAPES = "(T, 21 | 22 | 24 | 52 | 55, 3), (T, 251 | 263 | 272) or (3, T, 25, people)"


@dataclass(frozen=True)
class JointArray:
    """A motion read from an array, what the array was, and how many people it holds."""

    motion: Motion
    meaning: str
    unit: str | None = None
    """Known where a data set fixes it."""
    people: int = 1


def load_npy(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file; pickles are refused."""
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except _UNREADABLE as error:
        raise MocapFileError(
            f"not a readable npy: {error}", hint="fetch it again; pickled arrays are refused"
        ) from error


def pick_array(arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The array of positions in an npz."""
    for key in _POSITION_KEYS:
        if key in arrays:
            return arrays[key]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise MocapFileError(
        f"no joint positions among {', '.join(arrays) or 'no arrays'}",
        allowed=", ".join(_POSITION_KEYS) + ", or 'poses' and 'trans' (AMASS)",
    )


def motion_from_array(
    array: npt.NDArray[Any], *, fps: Fraction | None = None, person: int = 0
) -> JointArray:
    """The motion that an array's shape stands for."""
    if array.dtype.kind not in "fiu" or array.size == 0:
        raise MocapFileError(f"an array of {array.dtype} and shape {array.shape}", allowed=_SHAPES)
    with np.errstate(invalid="ignore"):
        values = array.astype(np.float64)
    check_plausible(values)
    match values.shape:
        case (3, _, 25, _):
            return _ntu(values, fps or Fraction(30), person)
        case (_, joints, 3) if joints in _SMPL_FAMILY:
            skeleton = neutral_skeleton(_SMPL_FAMILY[joints])
            motion = Motion(skeleton, fps or Fraction(20), measured=values)
            return JointArray(motion, f"{skeleton.rig} joints")
        case (_, 21, 3):
            motion = Motion(layout_skeleton(KIT21, values), fps or Fraction(25, 2), measured=values)
            return JointArray(motion, "KIT joints")
        case (_, 263):
            joints = features.recover_joints(values, HUMANML22)
            skeleton = layout_skeleton(HUMANML22, joints)
            motion = Motion(skeleton, fps or Fraction(20), measured=joints)
            return JointArray(motion, "263-dim vectors", "m")
        case (_, 251):
            joints = features.recover_joints(values, KIT21)
            skeleton = layout_skeleton(KIT21, joints)
            motion = Motion(skeleton, fps or Fraction(25, 2), measured=joints)
            return JointArray(motion, "251-dim vectors")
        case (_, 272):
            joints = features272.recover_joints(values)
            skeleton = layout_skeleton(HUMANML22, joints)
            motion = Motion(skeleton, fps or Fraction(30), measured=joints)
            return JointArray(motion, "272-dim vectors", "m")
        case _:
            raise MocapFileError(f"an array of shape {array.shape}", allowed=_SHAPES)


def _ntu(values: Array, fps: Fraction, person: int) -> JointArray:
    """One person of an NTU array: the padding of zeros at the end is no motion."""
    everyone = values.transpose(3, 1, 2, 0)
    present = np.any(np.abs(everyone) > 1e-6, axis=(2, 3))
    order = np.argsort(-present.sum(axis=1), kind="stable")
    people = int(np.count_nonzero(present.any(axis=1)))
    if person >= max(people, 1) or not people:
        raise MocapFileError(
            f"person {person} of {people}", allowed=f"0 to {people - 1}" if people else "a body"
        )
    seen = present[order[person]]
    body = everyone[order[person]][: int(np.flatnonzero(seen)[-1]) + 1]
    body = np.where(seen[: len(body), None, None], body, np.nan)
    names = tuple(name for _, name, _ in _NTU_TREE)
    skeleton = Skeleton(
        names=names,
        parents=np.array([names.index(p) if p else -1 for *_, p in _NTU_TREE], np.intp),
        offsets=np.zeros((len(names), 3)),
        rig="kinect",
    )
    measured = body[:, [index for index, *_ in _NTU_TREE]]
    return JointArray(Motion(skeleton, fps, measured=measured), "NTU joints", "m", people)
