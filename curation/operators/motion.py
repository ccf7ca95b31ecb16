"""How much moves in a clip, and whether it is the camera or what it films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import frame_rate, mean, median, percentile, smoothed

__all__ = ["PX_PER_PERCENT", "Motion", "followed"]

PX_PER_PERCENT = 6.4
"""Signals are in percent of the width; scores in pixels of a picture 640 wide."""

STEADY_S = 0.5
"""Camera movement slower than this is intended; what is left is shake."""
LOST_SHARE = 0.5
"""Where more of the picture than this is new, motion cannot be followed: cuts and flashes."""
LEVELS_PER_DOUBLING = 2
HIGHEST_LEVEL = 12

REAL = pa.float32()
PX = "px per frame at 640 px width"


def followed(clip: Clip) -> NDArray[np.bool_]:
    """For every frame but the first: whether it shows the scene of the one before."""
    return np.asarray(clip.changes("unexplained_share") < LOST_SHARE)


class Motion(Operator):
    """Total, camera and subject motion, the camera's mean move, shake and jerk.

    Frames that show nothing of the frame before (cuts inside a clip, flashes) are left out. A
    tripod shot without subjects has 0.1 to 0.3 px (grain), a talking head 0.3 to 1, a walking
    person 1 to 4, sports 4 and more; hand-held shake begins at 1, a tripod stays below 0.2.
    """

    name = "motion"
    version = 1
    columns = (
        Column("motion_px", REAL, "median over frames of all motion, camera included", PX),
        Column("motion_p95_px", REAL, "95th percentile of all motion", PX),
        Column("camera_px", REAL, "median length of camera travel", PX),
        Column("subject_px", REAL, "median motion after the camera is taken out", PX),
        Column("pan_px", REAL, "mean camera travel to the right", PX),
        Column("tilt_px", REAL, "mean camera travel downwards", PX),
        Column("zoom_percent", REAL, "mean growth of the picture, zooming in positive", "%/frame"),
        Column("roll_deg", REAL, "mean turn of the camera, clockwise positive", "degrees/frame"),
        Column("shake_px", REAL, "RMS of camera travel faster than half a second", PX),
        Column("motion_jerk_px", REAL, "95th percentile of the change of motion", PX),
        Column("motion_level", pa.int32(), "subject motion in steps of half a doubling: 0 below "
               "0.25 px, 2 at 0.5, 4 at 1, 6 at 2, at most 12", "0..12"),
    )  # fmt: skip
    serves = ("motionmaster", "robustcamrot")

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        kept = followed(clip)
        total = np.where(kept, clip.changes("motion") * PX_PER_PERCENT, np.nan)
        pan = (clip.changes("pan") * PX_PER_PERCENT)[kept]
        tilt = (clip.changes("tilt") * PX_PER_PERCENT * _row_height(clip))[kept]
        width = round(STEADY_S * frame_rate(clip))
        fast = np.hypot(pan - smoothed(pan, width), tilt - smoothed(tilt, width))
        subject = median(clip.changes("residual_motion")[kept]) * PX_PER_PERCENT
        return {
            "motion_px": median(total),
            "motion_p95_px": percentile(total, 95),
            "camera_px": median(np.hypot(pan, tilt)),
            "subject_px": subject,
            "pan_px": mean(pan),
            "tilt_px": mean(tilt),
            "zoom_percent": mean(clip.changes("zoom")[kept]),
            "roll_deg": mean(clip.changes("roll")[kept]),
            "shake_px": float(np.sqrt(mean(fast**2))),
            "motion_jerk_px": percentile(np.abs(np.diff(total)), 95),
            "motion_level": _level(subject),
        }


def _row_height(clip: Clip) -> float:
    """Height of a sample of the measured frames over its width; near 1, for their sides are even.

    A tilt is measured in rows but told in percent of the width.
    """
    if clip.source_signals is None:
        return 1.0
    columns, rows = clip.source_signals.small_size
    return float(clip.source["height"] / rows * columns / clip.source["width"])


def _level(px: float) -> int | None:
    if not np.isfinite(px):
        return None
    return int(np.clip(4 + LEVELS_PER_DOUBLING * np.log2(max(px, 1e-3)), 0, HIGHEST_LEVEL))
