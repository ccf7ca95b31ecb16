"""How bright a clip is, and how much of it is black or blown out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import mean, median

__all__ = ["Exposure"]

REAL = pa.float32()


class Exposure(Operator):
    """Luma statistics, 8-bit scale whatever the bit depth of the source."""

    name = "exposure"
    version = 1
    columns = (
        Column("luma_mean_255", REAL, "median over frames of mean luma", "0..255"),
        Column("luma_spread_255", REAL, "median over frames of luma's deviation", "0..255"),
        Column("dark_share", REAL, "mean share of pixels with luma below 16", "0..1"),
        Column("bright_share", REAL, "mean share of pixels with luma of 236 and above", "0..1"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "luma_mean_255": median(clip.signal("luma_mean")),
                "luma_spread_255": median(clip.signal("luma_std")),
                "dark_share": mean(clip.signal("dark_share")),
                "bright_share": mean(clip.signal("bright_share")),
            }
            for clip in clips
        ]
