"""Flashes: a few frames that are much brighter than what comes before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import runs

__all__ = ["Flash", "flashes"]

RISE_255 = 35.0
"""A flash lifts the mean luma by at least this much."""
LONGEST_S = 0.2
"""What lasts longer is another exposure, not a flash."""


def flashes(luma: NDArray[Any], fps: float) -> list[tuple[int, int]]:
    """Stretches `[first, last)` of frames brighter than both their surroundings."""
    longest = max(1, round(LONGEST_S * fps))
    if len(luma) < 3:
        return []
    reach = 2 * longest + 1
    padded = np.pad(
        np.asarray(luma, np.float64), longest, mode="reflect" if (len(luma) > longest) else "edge"
    )
    surroundings = np.median(np.lib.stride_tricks.sliding_window_view(padded, reach), axis=1)
    bright = runs(luma - surroundings >= RISE_255)
    return [(a, b) for a, b in bright if b - a <= longest and a > 0 and b < len(luma)]


class Flash(Operator):
    """How often a clip flashes."""

    name = "flash"
    version = 1
    columns = (
        Column("flash_count", pa.int32(), "flashes in the clip"),
        Column("flash_per_s", pa.float32(), "flashes per second", "1/s"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        rows = []
        for clip in clips:
            luma = clip.signal("luma_mean")
            count = len(flashes(luma, len(luma) / max(clip.seconds, 1e-6)))
            rows.append({"flash_count": count, "flash_per_s": count / max(clip.seconds, 1e-6)})
        return rows
