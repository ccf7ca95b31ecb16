"""Whether a clip has sound, how loud it is, and how much of it is silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import share

__all__ = ["Audio"]

SILENT_DB = -60.0
LOWEST_DB = -120.0
"""Digital silence has no level; this stands for it."""


class Audio(Operator):
    """Level of the first audio stream, all channels mixed, in windows of a tenth of a second.

    Speech lies around -30 to -15 dBFS, mastered music around -15; -120 is digital silence.
    """

    name = "audio"
    version = 1
    columns = (
        Column("has_audio", pa.bool_(), "the source carries sound during the clip"),
        Column("loudness_db", pa.float32(), "RMS level, full scale is 0", "dBFS"),
        Column("silence_share", pa.float32(), "share of the clip quieter than -60 dBFS", "0..1"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        level = np.maximum(np.asarray(clip.audio_db, np.float64), LOWEST_DB)
        if not len(level):
            return {"has_audio": False, "loudness_db": None, "silence_share": None}
        return {
            "has_audio": True,
            "loudness_db": 10 * np.log10(np.mean(10.0 ** (level / 10))),
            "silence_share": share(level < SILENT_DB),
        }
