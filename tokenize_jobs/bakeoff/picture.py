"""The bake-off as pictures: quality against bits, and frames side by side."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image

from catalogs.charts import Point, scatter_chart
from curation.pictures import contact_sheet, fitted
from tokenize_jobs.bakeoff.run import Bakeoff

__all__ = ["draw_chart", "draw_sheet"]

_SIDE = 192
_AXES = {"psnr": "PSNR, dB", "mpjpe": "MPJPE, mm"}


def draw_chart(result: Bakeoff, path: Path) -> Path:
    """Quality against bits a second: each model, and ordinary codecs in the same bits."""
    points = []
    for number, row in enumerate(result.contenders):
        points.append(Point(row.name, row.bits_per_s, row.value(result.headline), number))
        points += [
            Point(f"{name} in the bits of {row.name}", row.bits_per_s, value, number)
            for name, value in row.codecs.items()
            if math.isfinite(value)
        ]
    chart = scatter_chart(
        "Quality against bits",
        points,
        x_unit="bits a second of media",
        y_unit=_AXES[result.headline],
        subtitle=f"{result.clips} clips of {result.frames} frames",
    )
    path.write_bytes(chart)
    return path


def draw_sheet(result: Bakeoff, path: Path) -> Path:
    """The middle frame of the first clips: the original, then what each model gave back."""
    pictures, texts = [], []
    for number, original in enumerate(result.originals):
        middle = len(original) // 2
        pictures.append(fitted(Image.fromarray(original[middle]), _SIDE))
        texts.append("original")
        for row in result.contenders:
            pictures.append(fitted(Image.fromarray(row.pictures[number][middle]), _SIDE))
            texts.append(row.name)
    columns = 1 + len(result.contenders)
    contact_sheet(pictures, texts, columns=columns).save(path)
    return path
