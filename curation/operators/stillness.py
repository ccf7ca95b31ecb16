"""Frames in which nothing happens: static scenes, frozen stretches, repeated frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.motion import PX_PER_PERCENT
from curation.operators.statistics import frame_rate, runs, share

__all__ = ["Stillness", "repeated"]

STATIC_PX = 0.5
"""Less motion than this, in pixels per frame at 640 px width, is a static scene: grain and
compression alone stay below it."""
REPEAT_HSV = 0.15
"""Mean changes of hue, saturation and value that together are below this show the same picture
again; a camera's own noise is above."""
REPEAT_SHARE = 0.2
"""In a moving scene a repeat, encoded once more, changes this little beside its neighbours."""
NEIGHBOURS = 2
FROZEN_S = 0.25
"""Repeats for longer than this are a frozen stretch, not a frame-rate conversion."""


def repeated(clip: Clip) -> NDArray[np.bool_]:
    """For every frame but the first: whether it repeats the one before."""
    change = clip.changes("lum_delta") + clip.changes("hue_delta") + clip.changes("sat_delta")
    padded = np.pad(np.asarray(change, np.float64), NEIGHBOURS)
    largest = sliding_window_view(padded, NEIGHBOURS).max(axis=1)
    before, after = largest[: len(change)], largest[NEIGHBOURS + 1 :]
    return (change < REPEAT_HSV) | (change < REPEAT_SHARE * np.minimum(before, after))


class Stillness(Operator):
    """Shares of static, frozen and repeated frames; the first frame of a clip is not counted."""

    name = "stillness"
    version = 1
    columns = (
        Column("static_share", pa.float32(), "share of frames with less than 0.5 px of motion at "
               "640 px width", "0..1"),
        Column("frozen_share", pa.float32(), "share of frames in stretches of the same picture "
               "longer than a quarter second", "0..1"),
        Column("repeated_frames", pa.int32(), "frames equal to the one before", "frames"),
    )  # fmt: skip

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        same = repeated(clip)
        least = FROZEN_S * frame_rate(clip)
        frozen = sum(b - a for a, b in runs(same) if b - a >= least)
        return {
            "static_share": share(clip.changes("motion") < STATIC_PX / PX_PER_PERCENT),
            "frozen_share": frozen / len(same) if len(same) else None,
            "repeated_frames": int(np.count_nonzero(same)),
        }
