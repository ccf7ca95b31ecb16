"""What kind of material a clip is: slide show, screen recording, or filmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.motion import STEADY_S, followed
from curation.operators.statistics import frame_rate, median, share, smoothed

__all__ = ["Format"]

SAME_LUMA = 0.06
"""A still picture changes less from frame to frame; a camera's noise changes more."""
MOVES_PERCENT = 0.06
"""More motion than compression makes, in percent of the width per frame."""
ALONE_PERCENT, ALONE_SHARE = 0.04, 0.3
"""What is left without the camera, when only it moves: this and a share of the motion."""
STEADY_PERCENT, STEADY_SHARE = 0.04, 0.05
"""A drawn camera path leaves its average by no more than this and a share of the motion."""

QUIET_LUMA = 0.35
"""On a screen little changes from frame to frame: a pointer, a line of text."""
SCREEN_TEXT = 0.012
"""Share of text-like strokes that a screen shows at least."""
CLEAN_NOISE, CAMERA_NOISE = 0.2, 0.45
"""Screens have no pixel noise; compressed footage has some."""


class Format(Operator):
    """Likenesses between 0 and 1, from motion, text and noise; thresholds belong to recipes.

    A slow, perfectly smooth camera over a scene in which nothing moves looks like a picture that
    is panned: `slideshow_score` cannot tell a drone over a landscape from a photograph.
    """

    name = "format"
    version = 1
    columns = (
        Column("slideshow_score", pa.float32(), "share of frames that show a still picture, at "
               "rest or panned and zoomed smoothly", "0..1"),
        Column("screen_score", pa.float32(), "like a screen recording: nearly static, with text, "
               "without noise", "0..1"),
    )  # fmt: skip

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [
            {"slideshow_score": share(_is_picture(clip)), "screen_score": _screen(clip)}
            for clip in clips
        ]


def _is_picture(clip: Clip) -> NDArray[np.bool_]:
    at_rest = clip.changes("lum_delta") < SAME_LUMA
    motion = clip.changes("motion")
    alone = clip.changes("residual_motion") < ALONE_PERCENT + ALONE_SHARE * motion
    width = round(STEADY_S * frame_rate(clip))
    wobble = np.hypot(
        *(axis - smoothed(axis, width) for axis in (clip.changes("pan"), clip.changes("tilt")))
    )
    steady = wobble < STEADY_PERCENT + STEADY_SHARE * motion
    moved = followed(clip) & (motion > MOVES_PERCENT) & alone & steady
    return np.asarray(at_rest | moved)


def _screen(clip: Clip) -> float:
    quiet = share(clip.changes("lum_delta") < QUIET_LUMA)
    text = median(clip.samples("text_likeness")) / SCREEN_TEXT
    noise = median(clip.samples("noise"))
    clean = (CAMERA_NOISE - noise) / (CAMERA_NOISE - CLEAN_NOISE)
    return quiet * float(np.clip(text, 0, 1)) * float(np.clip(clean, 0, 1))
