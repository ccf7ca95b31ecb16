"""DeepMimic motions: JSON text with one row per frame.

A row is the frame's duration in seconds, the root's position, the root's rotation (wxyz), then
one quaternion per ball joint and one angle per hinge, in the order of the character. The files
name no character, so the length of a row tells it: 44 values are the humanoid, 84 the dog.
Lengths are metres, y is up, the character faces +x and hinges turn about z.
"""

from __future__ import annotations

import json
from fractions import Fraction
from statistics import median

import numpy as np
import numpy.typing as npt

from curation.mocap import rotations as rot
from curation.mocap.problems import MocapFileError, check_plausible
from curation.mocap.rates import fps_from_rate
from curation.mocap.skeleton import Motion, Skeleton

__all__ = ["parse_deepmimic"]

Array = npt.NDArray[np.floating]
Joint = tuple[str, str, str, tuple[float, float, float]]
"""Name, parent, kind (root, ball, hinge, fixed), offset from the parent in metres."""

_HUMANOID: tuple[Joint, ...] = (
    ("root", "", "root", (0, 0, 0)),
    ("chest", "root", "ball", (0, 0.236151, 0)),
    ("neck", "chest", "ball", (0, 0.223894, 0)),
    ("right_hip", "root", "ball", (0, 0, 0.084887)),
    ("right_knee", "right_hip", "hinge", (0, -0.421546, 0)),
    ("right_ankle", "right_knee", "ball", (0, -0.409870, 0)),
    ("right_shoulder", "chest", "ball", (-0.02405, 0.24350, 0.18311)),
    ("right_elbow", "right_shoulder", "hinge", (0, -0.274788, 0)),
    ("right_wrist", "right_elbow", "fixed", (0, -0.258947, 0)),
    ("left_hip", "root", "ball", (0, 0, -0.084887)),
    ("left_knee", "left_hip", "hinge", (0, -0.421546, 0)),
    ("left_ankle", "left_knee", "ball", (0, -0.409870, 0)),
    ("left_shoulder", "chest", "ball", (-0.02405, 0.24350, -0.18311)),
    ("left_elbow", "left_shoulder", "hinge", (0, -0.274788, 0)),
    ("left_wrist", "left_elbow", "fixed", (0, -0.258947, 0)),
)
_HUMANOID_ENDS = (
    ("neck", (0, 0.2775, 0)),
    ("right_ankle", (0.1335, -0.05, 0)),
    ("left_ankle", (0.1335, -0.05, 0)),
)

_DOG: tuple[Joint, ...] = (
    ("root", "", "root", (0, 0, 0)),
    ("spine0", "root", "ball", (0, 0, 0)),
    ("spine1", "spine0", "ball", (0.2375, 0, 0)),
    ("neck", "spine1", "ball", (0.28135, 0, 0)),
    ("head", "neck", "ball", (0.175, 0, 0)),
    ("left_shoulder", "spine1", "ball", (0.304074, -0.109983, -0.106071)),
    ("left_forearm", "left_shoulder", "hinge", (0, -0.19, 0)),
    ("left_hand", "left_forearm", "ball", (0, -0.2225, 0)),
    ("left_finger", "left_hand", "ball", (0, -0.09, 0)),
    ("right_shoulder", "spine1", "ball", (0.304074, -0.109983, 0.106071)),
    ("right_forearm", "right_shoulder", "hinge", (0, -0.19, 0)),
    ("right_hand", "right_forearm", "ball", (0, -0.2225, 0)),
    ("right_finger", "right_hand", "ball", (0, -0.09, 0)),
    ("left_upper_leg", "root", "ball", (-0.074803, -0.095825, -0.05986)),
    ("left_leg", "left_upper_leg", "hinge", (0, -0.2, 0)),
    ("left_foot", "left_leg", "ball", (0, -0.225, 0)),
    ("left_toe", "left_foot", "ball", (0, -0.135, 0)),
    ("right_upper_leg", "root", "ball", (-0.074803, -0.095825, 0.05986)),
    ("right_leg", "right_upper_leg", "hinge", (0, -0.2, 0)),
    ("right_foot", "right_leg", "ball", (0, -0.225, 0)),
    ("right_toe", "right_foot", "ball", (0, -0.135, 0)),
    ("tail0", "root", "ball", (-0.086, 0, 0)),
    ("tail1", "tail0", "ball", (-0.2, 0, 0)),
)
_WIDTHS = {"root": 7, "ball": 4, "hinge": 1, "fixed": 0}
_CHARACTERS = {44: ("humanoid3d", _HUMANOID, _HUMANOID_ENDS), 84: ("dog3d", _DOG, ())}


def parse_deepmimic(data: bytes) -> Motion:
    """The motion of a DeepMimic file's bytes."""
    frames = _rows(data)
    rig, joints, ends = _CHARACTERS[frames.shape[1]]
    names = tuple(name for name, *_ in joints)
    skeleton = Skeleton(
        names=names,
        parents=np.array([names.index(p) if p else -1 for _, p, _, _ in joints], np.intp),
        offsets=np.array([offset for *_, offset in joints], float),
        end_parents=np.array([names.index(name) for name, _ in ends], np.intp),
        end_offsets=np.array([offset for _, offset in ends], float).reshape(-1, 3),
        rig=f"deepmimic_{rig}",
    )
    turns = np.broadcast_to(rot.IDENTITY, (len(frames), len(joints), 4)).copy()
    column = 1
    for index, (_, _, kind, _) in enumerate(joints):
        own = frames[:, column : column + _WIDTHS[kind]]
        column += _WIDTHS[kind]
        if kind == "hinge":
            turns[:, index] = rot.from_euler(np.degrees(own), "Z")
        elif kind in {"root", "ball"}:
            turns[:, index] = rot.normalised(own[:, -4:])
    return Motion(skeleton, _fps(frames[:, 0]), root_positions=frames[:, 1:4], rotations=turns)


def _rows(data: bytes) -> Array:
    try:
        content = json.loads(data.decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        raise MocapFileError.at(error.lineno, f"broken JSON: {error.msg}") from None
    except RecursionError:
        raise MocapFileError("the JSON is nested too deeply to be a motion") from None
    rows = content.get("Frames") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise MocapFileError("the JSON has no 'Frames'", allowed="a list of rows of numbers")
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if len(widths) != 1 or next(iter(widths)) not in _CHARACTERS:
        raise MocapFileError(
            f"frames of {sorted(widths)} values",
            allowed=", ".join(f"{width} ({name})" for width, (name, _, _) in _CHARACTERS.items()),
        )
    try:
        frames = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        raise MocapFileError("'Frames' holds something that is not a number") from None
    check_plausible(frames)
    return frames


def _fps(durations: Array) -> Fraction:
    """One rate for the take; the last frame's duration is often 0 and counts for nothing."""
    seconds = [float(value) for value in durations if value > 0]
    if not seconds:
        raise MocapFileError("every frame lasts 0 s", allowed="durations above 0")
    rate = 1 / median(seconds)
    # durations are printed with 6 digits: 0.033332 means 30 frames per second
    return Fraction(round(rate)) if abs(rate / round(rate) - 1) < 1e-4 else fps_from_rate(rate)
