"""How sharp a clip is: variance of the Laplacian at a fixed size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import median, percentile

__all__ = ["Sharpness"]


class Sharpness(Operator):
    """Comparable between sources because frames are measured at 320 pixels on the longer side.

    Below 50 is blurred, 100 to 1,000 ordinary footage, above 1,500 text, drawings or heavy grain.
    """

    name = "sharpness"
    version = 1
    columns = (
        Column("sharpness_median", pa.float32(), "median Laplacian variance of luma", "luma^2"),
        Column("sharpness_p10", pa.float32(), "10th percentile: the clip's blurred part", "luma^2"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "sharpness_median": median(clip.samples("sharpness")),
                "sharpness_p10": percentile(clip.samples("sharpness"), 10),
            }
            for clip in clips
        ]
