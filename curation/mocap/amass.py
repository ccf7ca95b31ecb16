"""AMASS archives: SMPL, SMPL-H or SMPL-X poses as rotation vectors in an npz.

Poses turn joints; where the joints are depends on the body. With a body model (the user's own
npz, as its authors hand it out) the rest joints follow from the model and the take's `betas`.
Without one they are those of `NEUTRAL`: a body of 1.70 m with the proportions of SMPL's mean
shape, rounded to centimetres. Its limbs are within a few centimetres of the real ones, which is
good for captions, search and quality; train on positions only with the real model.

AMASS is in metres with z up. Archives are opened without pickles.
"""

from __future__ import annotations

import contextlib
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap import rotations as rot
from curation.mocap.layouts import HUMANML22
from curation.mocap.problems import MocapFileError, check_plausible
from curation.mocap.rates import fps_from_rate
from curation.mocap.skeleton import Motion, Skeleton

__all__ = ["NEUTRAL", "is_amass", "load_arrays", "motion_from_amass", "neutral_skeleton"]

Array = npt.NDArray[np.floating]

NEUTRAL: dict[str, tuple[float, float, float]] = {
    "pelvis": (0.0, -0.22, 0.03),
    "left_hip": (0.06, -0.09, 0.0),
    "right_hip": (-0.06, -0.09, 0.0),
    "spine1": (0.0, 0.12, -0.03),
    "left_knee": (0.04, -0.38, 0.0),
    "right_knee": (-0.04, -0.38, 0.0),
    "spine2": (0.0, 0.14, 0.03),
    "left_ankle": (-0.01, -0.42, -0.04),
    "right_ankle": (0.01, -0.42, -0.04),
    "spine3": (0.0, 0.06, 0.0),
    "left_foot": (0.04, -0.06, 0.12),
    "right_foot": (-0.04, -0.06, 0.12),
    "neck": (0.0, 0.21, -0.03),
    "left_collar": (0.07, 0.12, -0.02),
    "right_collar": (-0.07, 0.12, -0.02),
    "head": (0.0, 0.09, 0.05),
    "left_shoulder": (0.12, 0.04, -0.02),
    "right_shoulder": (-0.12, 0.04, -0.02),
    "left_elbow": (0.26, -0.01, -0.03),
    "right_elbow": (-0.26, -0.01, -0.03),
    "left_wrist": (0.25, 0.01, 0.0),
    "right_wrist": (-0.25, 0.01, 0.0),
}
"""Offset of each body joint from its parent in the T-pose, metres, y up, facing +z."""

_UNREADABLE = (
    *(OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy and zipfile raise for damaged, encrypted or exotic archives."""
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_HAND_POINTS = {"index": -0.02, "middle": 0.0, "ring": 0.02, "pinky": 0.04, "thumb": -0.04}
_HAND_LAYOUT = {72: "smpl", 66: "body", 156: "smplh", 165: "smplx"}
_RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "fps")


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of an npz that needs no pickle; the others are left out."""
    arrays = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                # a pickled object (gender in old archives) is never opened, a damaged one absent
                with contextlib.suppress(ValueError, SyntaxError, tokenize.TokenError):
                    arrays[name] = archive[name]
    except _UNREADABLE as error:
        raise MocapFileError(f"not a readable npz: {error}", hint="fetch it again") from error
    return arrays


def is_amass(arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    return "trans" in arrays and ("poses" in arrays or "root_orient" in arrays)


def motion_from_amass(
    arrays: Mapping[str, npt.NDArray[Any]],
    body_model: Path | None = None,
    fps: Fraction | None = None,
) -> Motion:
    """The motion of an AMASS archive, in metres with z up."""
    poses = _poses(arrays)
    frames, width = poses.shape
    if width not in _HAND_LAYOUT:
        raise MocapFileError(
            f"'poses' has {width} values per frame",
            allowed=", ".join(f"{w} ({name})" for w, name in _HAND_LAYOUT.items()),
        )
    trans = np.asarray(arrays["trans"], np.float64)
    if trans.shape != (frames, 3):
        raise MocapFileError(f"'trans' is {trans.shape}", allowed=f"({frames}, 3) as 'poses'")
    check_plausible(poses)
    check_plausible(trans)
    skeleton = _skeleton(_HAND_LAYOUT[width], arrays, body_model)
    turns = rot.from_axis_angle(poses.reshape(frames, -1, 3))
    path = trans + skeleton.offsets[0]
    return Motion(skeleton, fps or _fps(arrays), root_positions=path, rotations=turns)


def _poses(arrays: Mapping[str, npt.NDArray[Any]]) -> Array:
    if "poses" in arrays:
        poses = np.asarray(arrays["poses"], np.float64)
    else:
        body = np.asarray(arrays["pose_body"], np.float64).reshape(len(arrays["trans"]), -1)
        poses = np.concatenate([np.asarray(arrays["root_orient"], np.float64), body], axis=1)
    if poses.ndim != 2 or not len(poses):
        raise MocapFileError(f"'poses' is {poses.shape}", allowed="(frames, 3 * joints)")
    return poses


def _fps(arrays: Mapping[str, npt.NDArray[Any]]) -> Fraction:
    for key in _RATE_KEYS:
        if key in arrays and arrays[key].size == 1:
            return fps_from_rate(float(arrays[key].reshape(())))
    raise MocapFileError(
        "the archive holds no frame rate", allowed=", ".join(_RATE_KEYS), hint="override fps"
    )


def _skeleton(
    kind: str, arrays: Mapping[str, npt.NDArray[Any]], body_model: Path | None
) -> Skeleton:
    neutral = neutral_skeleton(kind)
    names, parents, offsets = neutral.names, neutral.parents, neutral.offsets
    if body_model is not None:
        rest = _rest_joints(body_model, arrays.get("betas"))
        if len(rest) < len(names):
            raise UsageError(
                f"the body model {body_model} has {len(rest)} joints, the poses {len(names)}",
                hint="give the model that the poses were fitted with",
            )
        rest = rest[: len(names)]
        offsets = np.where(parents[:, None] >= 0, rest - rest[np.maximum(parents, 0)], rest)
    return Skeleton(names, parents, offsets, rig=neutral.rig)


def neutral_skeleton(kind: str) -> Skeleton:
    """The documented body with the joints of `body`, `smpl`, `smplh` or `smplx`."""
    names = list(HUMANML22.joints)
    parents = HUMANML22.parents.tolist()
    offsets = [NEUTRAL[name] for name in names]

    def add(name: str, parent: str, offset: tuple[float, float, float]) -> None:
        parents.append(names.index(parent))
        names.append(name)
        offsets.append(offset)

    if kind == "smpl":
        add("left_hand", "left_wrist", (0.08, -0.01, -0.01))
        add("right_hand", "right_wrist", (-0.08, -0.01, -0.01))
    if kind == "smplx":
        add("jaw", "head", (0.0, 0.0, 0.02))
        add("left_eye", "head", (0.03, 0.06, 0.08))
        add("right_eye", "head", (-0.03, 0.06, 0.08))
    if kind in {"smplh", "smplx"}:
        for side, sign in (("left", 1.0), ("right", -1.0)):
            for finger in _FINGERS:
                spread = -_HAND_POINTS[finger]
                add(f"{side}_{finger}1", f"{side}_wrist", (sign * 0.09, 0.0, spread))
                add(f"{side}_{finger}2", f"{side}_{finger}1", (sign * 0.03, 0.0, 0.0))
                add(f"{side}_{finger}3", f"{side}_{finger}2", (sign * 0.02, 0.0, 0.0))
    rig = "smpl" if kind == "body" else kind
    return Skeleton(tuple(names), np.array(parents, np.intp), np.array(offsets), rig=rig)


def _rest_joints(path: Path, betas: npt.NDArray[Any] | None) -> Array:
    model = load_arrays(path)
    if "J_regressor" not in model or "v_template" not in model:
        raise UsageError(
            f"{path} is no body model", allowed="an npz with J_regressor and v_template"
        )
    vertices = np.asarray(model["v_template"], np.float64)
    if betas is not None and "shapedirs" in model:
        count = min(len(betas), model["shapedirs"].shape[-1])
        vertices = vertices + model["shapedirs"][..., :count] @ np.asarray(betas)[:count]
    return np.asarray(model["J_regressor"], np.float64) @ vertices
