"""How much of a clip repeats what it has shown: which frames and patches tell something new.

A model that reads a clip cuts frames into patches, one token each. Tokens of patches that look as
they did when they were last kept can be dropped: that is what this operator counts, on the stored
thumbnails, whose samples stand for patches. The first frame is always kept whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.choose_frames import key_frames
from curation.operators.base import Clip, Operator
from curation.operators.statistics import frame_rate

__all__ = ["Redundancy", "kept_patches"]

PER_SECOND = 2.0
"""Frames a second that are compared, about as many as video-language models read."""
CHANGED_255 = 8.0
"""A patch whose mean luma moved this far since it was last kept is a new token."""
MOST_KEY_FRAMES = 16


def kept_patches(thumbs: NDArray[np.uint8], changed: float = CHANGED_255) -> NDArray[np.bool_]:
    """(frames, height, width): which patches are new, compared with when each was last kept."""
    kept = np.ones(thumbs.shape, bool)
    known = thumbs[:1].astype(np.float32)[0] if len(thumbs) else np.zeros(thumbs.shape[1:])
    for number in range(1, len(thumbs)):
        now = thumbs[number].astype(np.float32)
        kept[number] = np.abs(now - known) >= changed
        known = np.where(kept[number], now, known)
    return kept


class Redundancy(Operator):
    """Tokens that a frame-difference drop would remove, and the frames that show something new.

    A static scene comes near 1, a fast pan near 0. Key frames are those of
    `curation.choose_frames`, in order of what they add.
    """

    name = "redundancy"
    version = 1
    columns = (
        Column("redundant_share", pa.float32(), "share of patches, at two frames a second, that "
               "look as when they were last kept", "0..1"),
        Column("changing_area", pa.float32(), "share of patches that change at any time", "0..1"),
        Column("drop_curve", pa.list_(pa.float32()), "redundant share of each of these frames; "
               "a dip is a change of scene", "0..1"),
        Column("key_frames", pa.list_(pa.int32()), "frames of the clip that show something new, "
               "most informative first", "frames"),
        Column("key_frame_news", pa.list_(pa.float32()), "mean difference of each to the most "
               "alike of those before it; the first has 255", "0..255"),
    )  # fmt: skip
    serves = ("everest", "grt", "longvu", "timechat-online")

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        assert clip.source_signals is not None
        step = max(1.0, frame_rate(clip) / PER_SECOND)
        frames = clip.span.stop - clip.span.start
        at = (np.arange(int(np.ceil(frames / step))) * step).astype(np.int64)
        kept = kept_patches(clip.source_signals.thumbs[clip.span][at])
        chosen = key_frames(clip, MOST_KEY_FRAMES)
        return {
            "redundant_share": float(1 - kept.mean()),
            "changing_area": float(kept[1:].any(axis=0).mean()) if len(kept) > 1 else None,
            "drop_curve": (1 - kept.mean(axis=(1, 2))).tolist(),
            "key_frames": [frame for frame, _ in chosen],
            "key_frame_news": [news for _, news in chosen],
        }
