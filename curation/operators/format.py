"""What kind of material a clip is: slide show, screen recording, or filmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import median, share
from curation.operators.stillness import repeated

__all__ = ["Format"]

STILL_PERCENT = 0.03
SCREEN_TEXT = 0.08
"""Share of text-like strokes that a typical screen recording shows."""
SCREEN_NOISE_255 = 1.5
"""Screens have less pixel noise than any camera."""


class Format(Operator):
    """Likenesses between 0 and 1, from motion, text and noise; thresholds belong to recipes."""

    name = "format"
    version = 1
    columns = (
        Column("slideshow_score", pa.float32(), "share of frames where only the camera moves, if "
               "anything: a still picture, panned or zoomed or not", "0..1"),
        Column("screen_score", pa.float32(), "like a screen recording: nearly static, text, no "
               "noise", "0..1"),
    )  # fmt: skip

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        residual, unexplained = clip.changes("residual_motion"), clip.changes("unexplained")
        still = (residual < STILL_PERCENT) & (unexplained < 0.5)
        quiet = share(repeated(clip) | (clip.changes("motion") < STILL_PERCENT))
        text = median(clip.samples("text_likeness")) / SCREEN_TEXT
        clean = 1 - median(clip.samples("noise")) / SCREEN_NOISE_255
        return {
            "slideshow_score": share(still),
            "screen_score": quiet * float(np.clip(text, 0, 1)) * float(np.clip(clean, 0, 1)),
        }
