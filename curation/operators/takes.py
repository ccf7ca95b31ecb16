"""Operators for takes: how a body moves, and what is wrong with the recording.

The measurements are those of `curation.mocap.quality`; here they become columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalogs.schema import Column
from curation.mocap.quality import SCORES, motion_scores
from curation.operators.base import Clip, Operator

__all__ = ["TakeMotion", "TakeQuality"]

_MOTION = (
    "speed_mean_m_s", "speed_p95_m_s", "path_m", "turn_deg", "turned_deg", "joint_speed_m_s",
    "energy_j_kg", "jerk_m_s3", "pose_change_m_s", "contact_share", "rest_share",
)  # fmt: skip
_QUALITY = tuple(name for name in SCORES if name not in _MOTION)
_COLUMN_OF = {"frozen_share": "take_frozen_share", "frozen_s": "take_frozen_s"}
"""Names that say which kind of source they are of, where a video has the same."""


def _columns(names: Sequence[str]) -> tuple[Column, ...]:
    return tuple(
        Column(_COLUMN_OF.get(name, name), pa.float32(), SCORES[name].meaning, SCORES[name].unit)
        for name in names
    )


class _TakeOperator(Operator):
    """Scores a fixed set of `SCORES`."""

    needs = "motion"
    kinds = ("mocap",)

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        assert clip.source_motion is not None
        values = motion_scores(
            clip.source_motion, float(clip.source["fps"]), clip.span.start, clip.span.stop
        )
        owned = {column.name for column in self.columns}
        renamed = {_COLUMN_OF.get(name, name): value for name, value in values.items()}
        return {name: value for name, value in renamed.items() if name in owned}


class TakeMotion(_TakeOperator):
    """Speed, path, turning, energy, contact: what the body does."""

    name = "take_motion"
    version = 1
    columns = _columns(_MOTION)


class TakeQuality(_TakeOperator):
    """Foot skate, penetration, drift, gaps, freezes, jumps: what a recording gets wrong."""

    name = "take_quality"
    version = 1
    columns = _columns(_QUALITY)
