"""Black bars: letterbox above and below, pillarbox at the sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import percentile

__all__ = ["Borders"]

TOO_DARK = 0.9
"""Frames with a larger share of dark pixels are left out: a bar looks like the scene."""
STEADY_PERCENT = 10
"""Bars are there all the time; what is dark at an edge for some of it is the scene."""

REAL = pa.float32()


class Borders(Operator):
    """Flat dark bars that stay for the whole clip; NULL when it is too dark to tell.

    `crop_*` is where the picture itself lies, in shares of the frame: crop there and the bars are
    gone.
    """

    name = "borders"
    version = 1
    columns = (
        Column("letterbox_share", REAL, "height of the bars above and below", "0..1 of height"),
        Column("pillarbox_share", REAL, "width of the bars at both sides", "0..1 of width"),
        Column("crop_left", REAL, "left edge of the picture inside the bars", "0..1 of width"),
        Column("crop_top", REAL, "top edge of the picture", "0..1 of height"),
        Column("crop_right", REAL, "right edge of the picture", "0..1 of width"),
        Column("crop_bottom", REAL, "bottom edge of the picture", "0..1 of height"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        visible = clip.signal("dark_share") < TOO_DARK
        top, bottom, left, right = (
            percentile(clip.signal(name)[visible], STEADY_PERCENT)
            for name in ("bar_top", "bar_bottom", "bar_left", "bar_right")
        )
        return {
            "letterbox_share": top + bottom,
            "pillarbox_share": left + right,
            "crop_left": left,
            "crop_top": top,
            "crop_right": 1 - right,
            "crop_bottom": 1 - bottom,
        }
