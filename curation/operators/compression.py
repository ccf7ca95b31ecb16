"""Traces of compression: block edges and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalogs.schema import Column
from curation.operators.base import Clip, Operator
from curation.operators.statistics import median

__all__ = ["Compression"]


class Compression(Operator):
    """Measured at native size, before any scaling hides it.

    Blockiness is 1 without block edges and 1.1 to 2 where they show; a decoder's loop filter can
    take it below 1. Noise is 0.3 to 1 in clean compressed footage and above 3 in grain.
    """

    name = "compression"
    version = 1
    columns = (
        Column(
            "blockiness", pa.float32(), "luma steps at block borders over those beside", "ratio"
        ),
        Column("noise_255", pa.float32(), "deviation of pixel noise", "0..255"),
        Column(
            "bits_per_pixel",
            pa.float32(),
            "bits of the whole file, sound included, per displayed pixel",
            "bits",
        ),
    )

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "blockiness": median(clip.samples("blockiness")),
                "noise_255": median(clip.samples("noise")),
                "bits_per_pixel": _bits_per_pixel(clip.source),
            }
            for clip in clips
        ]


def _bits_per_pixel(source: Mapping[str, Any]) -> float | None:
    pixels = (source["width"] or 0) * (source["height"] or 0) * (source["frames"] or 0)
    return 8 * source["bytes"] / pixels if pixels and source["bytes"] is not None else None
