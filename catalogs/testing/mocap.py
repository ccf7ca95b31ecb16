"""Procedural mocap takes with known truth.

An action becomes body curves (`actions`, `gait`), these become joint rotations by inverse
kinematics (`body`), a defect may be planted (`defects`), and the result is written as BVH or as
bare joint positions. Planted feet stand still to within rounding.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from catalogs.errors import UsageError, nearest
from catalogs.testing.actions import DEEDS, DIRECTIONS, Deed, Request
from catalogs.testing.body import Motion, solve
from catalogs.testing.bvh import LengthUnit, write_bvh
from catalogs.testing.defects import DEFECT_PLANTERS, MOVES_JOINTS, Spoilt
from catalogs.testing.skeleton import (
    END_SITES,
    PARENTS,
    REST_OFFSETS,
    RIG_NAMES,
    SMPL_NAMES,
    Floats,
    Rig,
    euler_degrees,
    rotation,
)
from catalogs.testing.take_truth import ACTIONS, DEFECTS, Action, Defect, TakeTruth

__all__ = ["render_take"]


def render_take(
    path: str | Path,
    action: Action,
    *,
    fps: Fraction | int = 30,
    seconds: float = 4.0,
    unit: LengthUnit = "cm",
    up_axis: Literal["y", "z"] = "y",
    seed: int = 0,
    rig: Rig = "mixamo",
    channel_order: str = "ZXY",
    side: Literal["left", "right"] = "right",
    direction: Literal["forward", "backward", "left", "right"] = "forward",
    speed_m_s: float | None = None,
    count: int | None = None,
    turn_deg: float | None = None,
    height_m: float = 0.3,
    heading_deg: float = 0.0,
    rest_s: float = 0.0,
    defect: Defect | None = None,
) -> TakeTruth:
    """Render a person of about 1.7 m doing `action`.

    Args:
        path: `.bvh`, or `.npy` for a (frames, 22, 3) float32 array in metres, y up.
        action: what the person does.
        fps: frames per second.
        seconds: length of the take.
        unit: of lengths in the BVH file.
        up_axis: of the BVH file.
        seed: small variations of proportions, posture and timing.
        rig: names of the joints in the BVH file.
        channel_order: of the rotation channels.
        side: of wave, raise_arm and kick.
        direction: of walk and run, relative to where the person faces.
        speed_m_s: of walk and run.
        count: of jumps, squats, waves or kicks; steps follow from the length of the take.
        turn_deg: of turn (default 90), or of the path of a walk or run; positive to the left.
        height_m: of a jump.
        heading_deg: where the person faces at first; 0 is +z, 90 is +x.
        rest_s: stand still that long before and after the action.
        defect: what is wrong with the take; `t_pose_start` adds a second before it.
    """
    path, fps = Path(path), Fraction(fps)
    _check(path, action, direction, defect)
    rng = np.random.default_rng([seed & 0xFFFFFFFF, ACTIONS.index(action)])
    offsets = REST_OFFSETS * rng.uniform(0.97, 1.03)
    request = Request(
        round(seconds * fps), float(fps), offsets, rng, float(np.radians(heading_deg)), rest_s,
        side, direction, speed_m_s, count, turn_deg, height_m,
    )  # fmt: skip
    if request.duration_s < 1:
        raise UsageError(
            f"{seconds} s with {rest_s} s of rest at both ends leave no time to {action}",
            allowed="at least one second of action",
        )
    deed = DEEDS[action](request)
    clean = solve(deed.controls, offsets, float(fps))
    spoilt = _spoilt(clean, defect, float(fps))
    if path.suffix == ".npy":
        np.save(path, spoilt.motion.joints.astype(np.float32))
    else:
        _write(path, spoilt.motion, fps, unit, up_axis, rig, channel_order, defect)
    return _truth(path, action, request, deed, clean, spoilt, fps, unit, up_axis, rig, defect)


def _check(path: Path, action: str, direction: str, defect: str | None) -> None:
    known = [(action, "action", ACTIONS), (direction, "direction", DIRECTIONS)]
    if defect is not None:
        known.append((defect, "defect", DEFECTS))
    for value, noun, allowed in known:
        if value not in allowed:
            raise UsageError(
                f"{noun} {value!r} is unknown",
                allowed=", ".join(allowed),
                hint=nearest(value, allowed),
            )
    if path.suffix not in (".bvh", ".npy"):
        raise UsageError(f"cannot write a take as {path.name}", allowed=".bvh or .npy")


def _spoilt(clean: Motion, defect: str | None, fps: float) -> Spoilt:
    if defect is None:
        return Spoilt(clean, (0, 0))
    copied = Motion(clean.rotations.copy(), clean.translations.copy())
    return DEFECT_PLANTERS[defect](copied, fps)


def _write(
    path: Path,
    motion: Motion,
    fps: Fraction,
    unit: LengthUnit,
    up_axis: str,
    rig: Rig,
    channel_order: str,
    defect: str | None,
) -> None:
    axes = rotation("x", np.pi / 2) if up_axis == "z" else np.eye(3)
    translations = motion.translations @ axes.T
    names = dict(zip(SMPL_NAMES, RIG_NAMES[rig], strict=True))
    write_bvh(
        path,
        RIG_NAMES[rig],
        PARENTS,
        translations[0],
        euler_degrees(axes @ motion.rotations @ axes.T, channel_order),
        translations[:, 0],
        fps,
        unit=unit,
        channel_order=channel_order,
        joint_positions=translations if defect in MOVES_JOINTS else None,
        end_sites={names[joint]: axes @ np.array(end) for joint, end in END_SITES.items()},
    )


def _truth(
    path: Path,
    action: str,
    request: Request,
    deed: Deed,
    clean: Motion,
    spoilt: Spoilt,
    fps: Fraction,
    unit: str,
    up_axis: str,
    rig: Rig,
    defect: str | None,
) -> TakeTruth:
    first = spoilt.prepended + round(request.rest_s * fps)
    end = spoilt.prepended + request.frames - round(request.rest_s * fps)
    root = clean.translations[:, 0]
    travels = action in ("walk", "run")
    distance = _path_length(root) if travels else 0.0
    planted = np.concatenate([np.ones((spoilt.prepended, 2), dtype=bool), deed.controls.planted])
    scale = 2.0 if defect == "scale_2x" else 1.0
    return TakeTruth(
        path=path,
        action=action,
        frames=len(planted),
        fps=fps,
        joints=spoilt.motion.joints,
        contacts=planted,
        unit=unit if path.suffix == ".bvh" else "m",
        up_axis=up_axis if path.suffix == ".bvh" else "y",
        rig=rig if path.suffix == ".bvh" else "smpl",
        joint_names=RIG_NAMES[rig] if path.suffix == ".bvh" else SMPL_NAMES,
        span=(first, end),
        side=deed.side,
        direction=deed.direction,
        count=deed.count,
        turn_deg=deed.turn_deg,
        distance_m=scale * distance,
        speed_m_s=scale * distance / request.duration_s,
        height_m=float(root[:, 1].max() - root[0, 1]) if action == "jump" else None,
        defect=defect,
        defect_span=spoilt.span if defect else None,
    )


def _path_length(root: Floats) -> float:
    """Of the pelvis over the floor."""
    return float(np.linalg.norm(np.diff(root[:, [0, 2]], axis=0), axis=-1).sum())
