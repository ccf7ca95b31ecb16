"""How much moves in a clip, and whether it is the camera or what it films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import mean, median, percentile, smoothed

__all__ = ["PX_PER_PERCENT", "Motion"]

PX_PER_PERCENT = 6.4
"""Signals are in percent of the width; scores in pixels of a picture 640 wide."""

STEADY_S = 0.5
"""Camera movement slower than this is intended; what is left is shake."""

REAL = pa.float32()
PX = "px per frame at 640 px width"


class Motion(Operator):
    """Total, camera and subject motion, the camera's mean move, shake and jerk."""

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
        Column("roll_deg", REAL, "mean turn of the picture, clockwise positive", "degrees/frame"),
        Column("shake_px", REAL, "RMS of camera travel faster than half a second", PX),
        Column("motion_jerk_px", REAL, "95th percentile of the change of motion", PX),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        total = clip.changes("motion") * PX_PER_PERCENT
        pan = clip.changes("pan") * PX_PER_PERCENT
        tilt = clip.changes("tilt") * PX_PER_PERCENT
        width = round(STEADY_S * len(clip.signal("pan")) / max(clip.seconds, 1e-6))
        fast = np.hypot(pan - smoothed(pan, width), tilt - smoothed(tilt, width))
        return {
            "motion_px": median(total),
            "motion_p95_px": percentile(total, 95),
            "camera_px": median(np.hypot(pan, tilt)),
            "subject_px": median(clip.changes("residual_motion")) * PX_PER_PERCENT,
            "pan_px": mean(pan),
            "tilt_px": mean(tilt),
            "zoom_percent": mean(clip.changes("zoom")),
            "roll_deg": mean(clip.changes("roll")),
            "shake_px": float(np.sqrt(mean(fast**2))),
            "motion_jerk_px": percentile(np.abs(np.diff(total)), 95),
        }
