"""Text found and read by a network that runs offline on the CPU.

RapidOCR's wheel carries PaddleOCR's detection and recognition models (Apache-2.0), so nothing is
downloaded. It looks at the stored storyboard pictures, whose shorter side is 256 pixels: lines of
subtitles and titles are read well, small print is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.operators.base import Clip, Operator

__all__ = ["Line", "Ocr"]

SETTINGS = {
    "Global.log_level": "error",
    "Det.limit_side_len": 320,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}
"""Workers are many, so each uses one thread; 320 pixels is enough for pictures of 256."""
SURE = 0.75
SHORTEST = 2
"""Lone characters are mostly shapes that look like one."""
SAME_TEXT = 0.8
"""Likeness of two readings of one line."""
SAME_PLACE = 0.5
"""Intersection over union of boxes that hold the same line in two pictures."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text, its upright box in pixels and the certainty of its reading."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    confidence: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def overlap(self, other: Line) -> float:
        """Intersection over union."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(width, 0.0) * max(height, 0.0)
        return shared / max(self.area + other.area - shared, 1e-6)


class Ocr(Operator):
    """Readable text: how much, whether it stays, and what it says.

    Costs about 0.2 s per picture and core. Lines that are read with a confidence below 0.75 or
    hold a single character are not counted.
    """

    name = "ocr"
    version = 1
    needs = "frames"
    extra = "ocr"
    columns = (
        Column("ocr_area", pa.float32(), "mean share of the frame under readable text", "0..1"),
        Column("ocr_boxes", pa.float32(), "mean number of lines in a picture", "lines"),
        Column("ocr_stable_share", pa.float32(), "share of the lines that are in the same place a "
               "second later; NULL without text", "0..1"),
        Column("ocr_text", pa.string(), "what was read, each line once in order of appearance, "
               "separated by line feeds; NULL without text"),
        Column("ocr_confidence", pa.float32(), "mean confidence of the readings", "0..1"),
    )  # fmt: skip

    def setup(self) -> None:
        from rapidocr import RapidOCR

        import_module("onnxruntime")  # which RapidOCR itself asks for at the first picture only
        self._engine = RapidOCR(params=SETTINGS)

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        pictures = clip.pictures
        if not pictures:
            return {column.name: None for column in self.columns}
        pages = [self.read(picture) for picture in pictures]
        height, width = pictures[0].shape[:2]
        lines = [line for page in pages for line in page]
        return {
            "ocr_area": sum(line.area for line in lines) / (height * width * len(pages)),
            "ocr_boxes": len(lines) / len(pages),
            "ocr_stable_share": _stable_share(pages),
            "ocr_text": "\n".join(_distinct(lines)) or None,
            "ocr_confidence": np.mean([line.confidence for line in lines]) if lines else None,
        }

    def read(self, rgb: NDArray[np.uint8]) -> list[Line]:
        """The lines of one picture, from top to bottom."""
        found = self._engine(np.ascontiguousarray(rgb[:, :, ::-1]), use_cls=False)
        if found.boxes is None or found.txts is None:
            return []
        height, width = rgb.shape[:2]
        lines = []
        for corners, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True):
            left, top = np.maximum(corners.min(axis=0), 0).tolist()
            right, bottom = np.minimum(corners.max(axis=0), (width, height)).tolist()
            if confidence >= SURE and len(text.strip()) >= SHORTEST:
                lines.append(Line(text.strip(), left, top, right, bottom, float(confidence)))
        return sorted(lines, key=lambda line: (line.top, line.left))


def _distinct(lines: Iterable[Line]) -> list[str]:
    """Texts in order of appearance; readings of the same line once, as the surest has it."""
    kept: list[Line] = []
    for line in lines:
        for index, known in enumerate(kept):
            if SequenceMatcher(None, known.text, line.text).ratio() >= SAME_TEXT:
                kept[index] = max(known, line, key=lambda either: either.confidence)
                break
        else:
            kept.append(line)
    return [line.text for line in kept]


def _stable_share(pages: Sequence[Sequence[Line]]) -> float:
    staying = total = 0
    for page, after in pairwise(pages):
        total += len(page)
        staying += sum(any(line.overlap(other) >= SAME_PLACE for other in after) for line in page)
    return staying / total if total else float("nan")
