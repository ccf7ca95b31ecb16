"""Motion measured once per frame: what scores, cuts and captions are later made from.

    >>> signals = motion_signals(take.motion)
    >>> signals["root_speed_m_s"].shape
    (120,)

A motion must be in metres, y up and right-handed (as `read_motion` gives it). Each signal is a
float32 array with one value per frame, NaN where it cannot be known: foot signals of a thing
without feet, anything beside a gap. `SIGNALS` declares name, unit and meaning of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.mocap.body import body_of
from curation.mocap.body_signals import body_signals
from curation.mocap.curves import largest_seen, mean_seen, median_seen, rate, smoothed
from curation.mocap.layouts import HUMANML22
from curation.mocap.skeleton import Motion

__all__ = ["SIGNALS", "SIGNALS_VERSION", "SignalSpec", "motion_signals"]

Array = npt.NDArray[np.floating]
SIGNALS_VERSION = 1

_STILL_SHARE = 2e-6
"""A frame repeats the one before when no joint moved by this share of body height."""
_BODY_BONES = np.stack([HUMANML22.parents[1:], np.arange(1, len(HUMANML22))], axis=-1)
_LONG_BONE_SHARE = 0.1
"""Short bones, such as those of feet, carry the noise of joint estimates and not anatomy."""
_JERK_SMOOTHING_S = 0.02


@dataclass(frozen=True)
class SignalSpec:
    """What a signal is called, measured in, and means."""

    name: str
    unit: str
    meaning: str


SIGNALS: dict[str, SignalSpec] = {
    spec.name: spec
    for spec in (
        SignalSpec("root_speed_m_s", "m/s", "speed of the pelvis over the floor"),
        SignalSpec("root_height_m", "m", "height of the pelvis above the floor"),
        SignalSpec("root_path_m", "m", "way of the pelvis over the floor since the first frame"),
        SignalSpec(
            "heading_deg", "degrees", "where the body faces, unwrapped, positive to the left"
        ),
        SignalSpec("turn_deg_s", "degrees/s", "turning rate, positive to the left"),
        SignalSpec("joint_speed_m_s", "m/s", "mean speed of the joints, the root's removed"),
        SignalSpec("joint_speed_max_m_s", "m/s", "speed of the fastest joint"),
        SignalSpec("hands_speed_m_s", "m/s", "speed of the faster wrist, the root's removed"),
        SignalSpec("feet_speed_m_s", "m/s", "speed of the faster ankle, the root's removed"),
        SignalSpec("energy_j_kg", "J/kg", "kinetic energy per kilogram, from segment masses"),
        SignalSpec("jerk_m_s3", "m/s3", "mean jerk of the joints, smoothed over 0.02 s"),
        SignalSpec("feet_near", "joints", "foot joints (ankles, toes) near their lowest point"),
        SignalSpec("contact_left", "0 or 1", "the left foot is planted"),
        SignalSpec("contact_right", "0 or 1", "the right foot is planted"),
        SignalSpec("foot_skate_h_s", "body heights/s", "mean sliding speed of near foot joints"),
        SignalSpec("foot_slide_h_s", "body heights/s", "speed of the slowest near foot joint"),
        SignalSpec("ground_penetration_m", "m", "depth of the lowest joint below the floor"),
        SignalSpec("ground_gap_m", "m", "height of the lowest joint above the floor"),
        SignalSpec("stature_m", "m", "standing height by the bones of this frame"),
        SignalSpec(
            "bone_drift", "share", "largest lasting change of a long bone's length, beyond jitter"
        ),
        SignalSpec("limit_breaks", "joints", "joints bent as no body bends"),
        SignalSpec("missing_share", "share", "joints that were not seen"),
        SignalSpec("body_gap", "0 or 1", "a joint of the body was not seen"),
        SignalSpec("frozen", "0 or 1", "nothing moved since the frame before"),
        SignalSpec("jump_m", "m", "body-wide displacement that no motion explains"),
        SignalSpec("mirrored", "0 or 1", "left and right look swapped"),
        SignalSpec("pose_change_m_s", "m/s", "change of the posture, travel and turning removed"),
        SignalSpec("rest_pose", "0 or 1", "upright, straight arms held out: a T-pose or A-pose"),
    )
}


def motion_signals(motion: Motion) -> dict[str, npt.NDArray[np.float32]]:
    """Every signal of `SIGNALS` for every frame."""
    fps = float(motion.fps)
    body = body_of(motion)
    joints = motion.joints if body is None else body.joints
    root = joints[:, 0]
    signals = {name: np.full(len(joints), np.nan) for name in SIGNALS}
    signals |= _travel(root, fps)
    signals |= _defects(motion, joints, fps)
    bones = motion.skeleton.bones if body is None else _BODY_BONES
    signals["bone_drift"] = _bone_drift(joints, bones, fps)
    local = joints - root[:, None]
    speeds = np.linalg.norm(rate(local, fps), axis=-1)
    signals["joint_speed_m_s"] = mean_seen(speeds)
    signals["joint_speed_max_m_s"] = largest_seen(np.linalg.norm(rate(joints, fps), axis=-1))
    signals["jerk_m_s3"] = _jerk(joints, fps)
    if body is not None:
        signals |= body_signals(body)
    return {name: values.astype(np.float32) for name, values in signals.items()}


def _travel(root: Array, fps: float) -> dict[str, Array]:
    ground = root[:, [0, 2]]
    steps = np.linalg.norm(np.diff(ground, axis=0), axis=-1)
    path = np.concatenate([[0.0], np.cumsum(np.nan_to_num(steps))])
    return {
        "root_speed_m_s": np.linalg.norm(rate(ground, fps), axis=-1),
        "root_path_m": path,
    }


def _defects(motion: Motion, joints: Array, fps: float) -> dict[str, Array]:
    everything = motion.joints
    size = _extent(everything)
    steps = np.linalg.norm(np.diff(everything, axis=0), axis=-1)
    still = largest_seen(steps) < _STILL_SHARE * size
    frozen = np.concatenate([[False], still])
    bend = np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1)
    jump = (
        np.concatenate([[0.0], median_seen(bend), [0.0]])
        if len(joints) > 2
        else np.zeros(len(joints))
    )
    return {
        "missing_share": np.mean(~np.isfinite(everything).all(axis=-1), axis=1),
        "frozen": frozen.astype(float),
        "jump_m": jump,
    }


def _bone_drift(joints: Array, bones: npt.NDArray[np.intp], fps: float) -> Array:
    """Long bones against their own median, beyond what the recording's jitter explains."""
    if not len(bones):
        return np.full(len(joints), np.nan)
    lengths = np.linalg.norm(joints[:, bones[:, 1]] - joints[:, bones[:, 0]], axis=-1)
    seen = np.isfinite(lengths).all(axis=1)
    typical = np.median(lengths[seen], axis=0) if seen.any() else np.zeros(len(bones))
    long = typical > _LONG_BONE_SHARE * _extent(joints)
    if not long.any():
        return np.full(len(joints), np.nan)
    relative = lengths[:, long] / typical[long] - 1
    smooth = smoothed(relative, fps, min(0.5, len(joints) / fps / 10))
    jitter = (relative - smooth)[seen].std(axis=0)
    return largest_seen(np.maximum(np.abs(smooth) - 2 * jitter, 0.0))


def _jerk(joints: Array, fps: float) -> Array:
    if len(joints) < 4:
        return np.full(len(joints), np.nan)
    smooth = smoothed(joints, fps, _JERK_SMOOTHING_S)
    third = rate(rate(rate(smooth, fps), fps), fps)
    return mean_seen(np.linalg.norm(third, axis=-1))


def _extent(joints: Array) -> float:
    """The size of the thing: the median diagonal of its bounding box."""
    seen = joints[np.isfinite(joints).all(axis=(1, 2))]
    if not len(seen):
        seen = np.nan_to_num(joints)
    return max(float(np.median(np.linalg.norm(np.ptp(seen, axis=1), axis=-1))), 1e-6)
