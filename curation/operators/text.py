"""Text in the picture, and whether it was burnt in or filmed.

Works on stored storyboard frames without a model: strokes of text are short runs of strong edges
that alternate quickly along a line. Burnt-in text stays on the same pixels while the scene behind
it changes; text in the scene moves with the scene. For the words and a real detector see the
operator `ocr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.operators.base import Clip, Operator

__all__ = ["Text", "text_cells"]

CELL_PX = 8
STROKE_255 = 48
STROKES_PER_CELL = 0.22
"""Share of a cell's pixels that lie on a strong edge, when the cell is text."""
STAYS = 0.8
"""Text that is in the same cell in this share of the pictures stays."""


def text_cells(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which cells of 8 by 8 pixels hold strokes of text."""
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape[0] // CELL_PX * CELL_PX, grey.shape[1] // CELL_PX * CELL_PX
    if not height or not width:
        return np.zeros((0, 0), bool)
    across = cv2.absdiff(grey[:, 1:], grey[:, :-1])[:height]
    strong = np.zeros((height, width), np.float32)
    strong[:, : across.shape[1]] = (across[:, :width] > STROKE_255)[:, :width]
    dense = cv2.resize(strong, (width // CELL_PX, height // CELL_PX), interpolation=cv2.INTER_AREA)
    cells = (dense > STROKES_PER_CELL).astype(np.uint8)
    lines = cv2.morphologyEx(cells, cv2.MORPH_OPEN, np.ones((1, 3), np.uint8))
    return lines.astype(bool)


class Text(Operator):
    """Area of text, how much of it stays in place, and the area of burnt-in text."""

    name = "text"
    version = 1
    needs = "frames"
    columns = (
        Column("text_area", pa.float32(), "median share of the frame under text", "0..1"),
        Column("text_stability", pa.float32(), "share of the text that stays in its place", "0..1"),
        Column("burnt_text_area", pa.float32(), "share of the frame under text that stays while "
               "the scene changes", "0..1"),
    )  # fmt: skip

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        if not clip.pictures:
            return {"text_area": None, "text_stability": None, "burnt_text_area": None}
        cells = np.stack([text_cells(picture) for picture in clip.pictures])
        area = float(np.median(cells.mean(axis=(1, 2))))
        staying = cells.mean(axis=0) >= STAYS
        found = cells.mean()
        stability = float(staying.mean() / found) if found else 0.0
        return {
            "text_area": area,
            "text_stability": min(1.0, stability),
            "burnt_text_area": float(staying.mean()) if _scene_changes(clip, staying) else 0.0,
        }


def _scene_changes(clip: Clip, staying: NDArray[np.bool_]) -> bool:
    """Whether the picture outside the staying text changes enough to tell burnt-in from filmed."""
    if len(clip.pictures) < 2 or staying.all():
        return False
    import cv2

    rows, columns = staying.shape
    small = np.stack(
        [
            cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
            for picture in clip.pictures
        ]
    )
    return bool(small.std(axis=0).mean(axis=2)[~staying].mean() > 4.0)
