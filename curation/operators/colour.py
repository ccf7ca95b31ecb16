"""How colourful a clip is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import median

__all__ = ["Colour"]

GREY_BELOW = 5.0
"""Old film that was scanned in colour keeps a faint tint."""


class Colour(Operator):
    """After Hasler and Suesstrunk: 0 for grey, 15 slight, 45 average, 110 vivid."""

    name = "colour"
    version = 1
    columns = (
        Column("colourfulness", pa.float32(), "median spread and offset of opponent colours",
               "0 and up"),
        Column("is_grey", pa.bool_(), "black and white or close to it"),
    )  # fmt: skip

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        rows = []
        for clip in clips:
            value = median(clip.samples("colourfulness"))
            rows.append(
                {
                    "colourfulness": value,
                    "is_grey": value < GREY_BELOW if np.isfinite(value) else None,
                }
            )
        return rows
