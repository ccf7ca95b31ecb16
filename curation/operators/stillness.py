"""Frames in which nothing happens: static scenes, frozen stretches, repeated frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import runs, share

__all__ = ["Stillness", "repeated"]

STATIC_PERCENT = 0.05
"""Less motion than this, in percent of the width per frame, is a static scene."""
REPEAT_LUMA = 0.02
"""Frames whose mean luma change is below this are the same picture again."""
FROZEN_S = 0.25
"""Repeats for longer than this are a frozen stretch, not a frame-rate conversion."""


def repeated(clip: Clip) -> Any:
    """For every frame but the first: whether it repeats the one before."""
    change = clip.changes("lum_delta") + clip.changes("hue_delta") + clip.changes("sat_delta")
    return change < 3 * REPEAT_LUMA


class Stillness(Operator):
    """Shares of static, frozen and repeated frames."""

    name = "stillness"
    version = 1
    columns = (
        Column("static_share", pa.float32(), "share of frames with almost no motion", "0..1"),
        Column("frozen_share", pa.float32(), "share of frames in frozen stretches", "0..1"),
        Column("repeated_frames", pa.int32(), "frames equal to the one before", "frames"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        same = repeated(clip)
        fps = len(clip.signal("lum_delta")) / max(clip.seconds, 1e-6)
        frozen = sum(b - a for a, b in runs(same) if (b - a) / fps >= FROZEN_S)
        return {
            "static_share": share(clip.changes("motion") < STATIC_PERCENT),
            "frozen_share": frozen / len(same) if len(same) else None,
            "repeated_frames": int(np.count_nonzero(same)),
        }
