"""Size and shape of the picture as displayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator

__all__ = ["Geometry"]


class Geometry(Operator):
    """Rotation and sample aspect are applied; bars are not (see `borders`)."""

    name = "geometry"
    version = 1
    needs = "row"
    columns = (
        Column("short_side_px", pa.int32(), "shorter side", "px"),
        Column("aspect_ratio", pa.float32(), "width over height"),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [_shape(clip.source.get("width"), clip.source.get("height")) for clip in clips]


def _shape(width: int | None, height: int | None) -> Mapping[str, Any]:
    if not width or not height:
        return {"short_side_px": None, "aspect_ratio": None}
    return {"short_side_px": min(width, height), "aspect_ratio": width / height}
