"""Scores of a clip from stored signals, and the limits beyond which a clip is suspect.

    >>> scores = motion_scores(signals, start=0, end=120, fps=30)
    >>> suspects(scores)
    ['jump_max_m']

Scores are pure functions of a span of signals, so a new cut of a take is scored without reading
the take again. `SCORES` declares each; `LIMITS` are defaults for gates, chosen so that ordinary
mocap passes: recipes that want more say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalogs.errors import UsageError
from curation.mocap.body import Body
from curation.mocap.curves import longest_run

__all__ = ["LIMITS", "SCORES", "ScoreSpec", "motion_diversity", "motion_scores", "suspects"]

Array = npt.NDArray[np.floating]
Signals = Mapping[str, Array]
Reduction = Callable[[Signals, float], float]


@dataclass(frozen=True)
class ScoreSpec:
    """A score of a clip: its unit, meaning and how it follows from signals and rate."""

    name: str
    unit: str
    meaning: str
    reduce: Reduction


def _percentile(signal: str, percent: float) -> Reduction:
    def reduce(signals: Signals, fps: float) -> float:
        values = signals[signal][np.isfinite(signals[signal])]
        return float(np.percentile(values, percent)) if len(values) else float("nan")

    return reduce


def _mean(signal: str) -> Reduction:
    def reduce(signals: Signals, fps: float) -> float:
        values = signals[signal][np.isfinite(signals[signal])]
        return float(np.mean(values)) if len(values) else float("nan")

    return reduce


def _change(signal: str) -> Reduction:
    def reduce(signals: Signals, fps: float) -> float:
        values = signals[signal][np.isfinite(signals[signal])]
        return float(values[-1] - values[0]) if len(values) else float("nan")

    return reduce


def _longest(signal: str) -> Reduction:
    def reduce(signals: Signals, fps: float) -> float:
        return longest_run(signals[signal] > 0.5) / fps

    return reduce


def _skate(signals: Signals, fps: float) -> float:
    """Mean over foot joints near the floor, not over frames: both feet down count twice."""
    near = np.nan_to_num(signals["feet_near"])
    total = float(near.sum())
    speed = np.nan_to_num(signals["foot_skate_h_s"])
    return float((speed * near).sum()) / total if total else float("nan")


def _any_contact(signals: Signals, fps: float) -> float:
    planted = np.fmax(signals["contact_left"], signals["contact_right"])
    return float(np.nanmean(planted)) if np.isfinite(planted).any() else float("nan")


def _float(signals: Signals, fps: float) -> float:
    """Frames in the air for longer than a jump can last."""
    longest_jump_s = 1.0
    airborne = signals["ground_gap_m"] > 0.1
    run = longest_run(airborne)
    return run / fps if run / fps > longest_jump_s else 0.0


def _turned(signals: Signals, fps: float) -> float:
    rate = np.abs(signals["turn_deg_s"])
    return float(np.nansum(rate) / fps) if np.isfinite(rate).any() else float("nan")


SCORES: dict[str, ScoreSpec] = {
    spec.name: spec
    for spec in (
        ScoreSpec("speed_mean_m_s", "m/s", "mean speed over the floor", _mean("root_speed_m_s")),
        ScoreSpec(
            "speed_p95_m_s", "m/s", "95th percentile of it", _percentile("root_speed_m_s", 95)
        ),
        ScoreSpec("path_m", "m", "way over the floor", _change("root_path_m")),
        ScoreSpec("turn_deg", "degrees", "net turn, positive to the left", _change("heading_deg")),
        ScoreSpec("turned_deg", "degrees", "turning to either side added up", _turned),
        ScoreSpec(
            "joint_speed_m_s",
            "m/s",
            "median of mean joint speed",
            _percentile("joint_speed_m_s", 50),
        ),
        ScoreSpec("energy_j_kg", "J/kg", "mean kinetic energy", _mean("energy_j_kg")),
        ScoreSpec("jerk_m_s3", "m/s3", "median jerk", _percentile("jerk_m_s3", 50)),
        ScoreSpec("pose_change_m_s", "m/s", "mean change of posture", _mean("pose_change_m_s")),
        ScoreSpec("contact_share", "share", "frames with a planted foot", _any_contact),
        ScoreSpec(
            "foot_skate_h_s", "body heights/s", "mean sliding of feet near the floor", _skate
        ),
        ScoreSpec(
            "foot_slide_h_s",
            "body heights/s",
            "median sliding of the steadier foot",
            _percentile("foot_slide_h_s", 50),
        ),
        ScoreSpec(
            "penetration_p95_m",
            "m",
            "depth below the floor",
            _percentile("ground_penetration_m", 95),
        ),
        ScoreSpec("float_s", "s", "longest stay in the air beyond a jump's", _float),
        ScoreSpec("stature_m", "m", "standing height by the bones", _percentile("stature_m", 50)),
        ScoreSpec(
            "bone_drift", "share", "largest lasting bone change", _percentile("bone_drift", 95)
        ),
        ScoreSpec("limit_share", "share", "frames with an impossible bend", _mean("limit_breaks")),
        ScoreSpec("missing_share", "share", "joints not seen", _mean("missing_share")),
        ScoreSpec("body_gap_share", "share", "frames that lack a body joint", _mean("body_gap")),
        ScoreSpec("frozen_share", "share", "frames that repeat the last", _mean("frozen")),
        ScoreSpec("frozen_s", "s", "longest freeze", _longest("frozen")),
        ScoreSpec(
            "jump_max_m", "m", "largest unexplained displacement", _percentile("jump_m", 100)
        ),
        ScoreSpec("mirrored_share", "share", "frames with sides swapped", _mean("mirrored")),
        ScoreSpec("rest_share", "share", "frames in a T-pose or A-pose", _mean("rest_pose")),
    )
}

LIMITS: dict[str, tuple[float | None, float | None]] = {
    "stature_m": (1.2, 2.2),
    "missing_share": (None, 0.05),
    "body_gap_share": (None, 0.005),
    "frozen_s": (None, 0.3),
    "jump_max_m": (None, 0.1),
    "mirrored_share": (None, 0.1),
    "bone_drift": (None, 0.08),
    "limit_share": (None, 0.1),
    "penetration_p95_m": (None, 0.1),
    "float_s": (None, 0.0),
    "foot_skate_h_s": (None, 0.8),
    "foot_slide_h_s": (None, 0.27),
}
"""Smallest and largest value of a sound clip of an adult; NaN means not measured and passes."""


def motion_scores(
    signals: Signals, fps: float, start: int = 0, end: int | None = None
) -> dict[str, float]:
    """Every score of `SCORES` over the frames [start, end)."""
    frames = len(next(iter(signals.values())))
    end = frames if end is None else end
    if not 0 <= start < end <= frames:
        raise UsageError(
            f"frames [{start}, {end}) lie outside the take", allowed=f"0 <= start < end <= {frames}"
        )
    span = {name: values[start:end] for name, values in signals.items()}
    return {name: spec.reduce(span, fps) for name, spec in SCORES.items()}


def suspects(
    scores: Mapping[str, float],
    limits: Mapping[str, tuple[float | None, float | None]] = LIMITS,
) -> list[str]:
    """The scores that are outside their limits."""
    out = []
    for name, (low, high) in limits.items():
        value = scores[name]
        if (low is not None and value < low) or (high is not None and value > high):
            out.append(name)
    return out


def motion_diversity(body: Body, start: int = 0, end: int | None = None) -> float:
    """How far the postures of a span are spread, in metres: 0 for one that never changes.

    The root mean square distance of joints from their mean place, travel and turning removed.
    """
    postures = body.aligned[start:end]
    postures = postures[np.isfinite(postures).all(axis=(1, 2))]
    if not len(postures):
        return float("nan")
    return float(np.sqrt(np.mean(np.sum((postures - postures.mean(axis=0)) ** 2, axis=-1))))
