"""Text in the picture, and whether it was burnt in or filmed.

Works on stored storyboard pictures without a model. A line of text is a row of thin strokes of one
polarity, much brighter or darker than what lies around them, that alternate quickly along it: at
least so often in the length of the line's own height. Burnt-in text gives itself away in time: its
strokes stay while the picture around them changes, or they come and go while it stays. Text on a
thing that was filmed moves with it. For words and a learned detector see the operator `ocr`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.schema import Column
from curation.operators.base import Clip, Operator

__all__ = ["Page", "Text", "TextLine"]

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]

STROKE_PX = 9
"""Window that is wider than a stroke."""
STROKE_255 = 40
"""A pixel this far from its surroundings may lie on a stroke."""
LINE_255 = 75
"""The strokes of a line stand out this much on average."""
GAP_PX = 11
"""Strokes closer than this belong to one line."""
CHANGES_PER_HEIGHT = 2.2
"""Changes between stroke and ground in a length equal to the line's height."""
FULL = 0.5
"""Share of a line's box that its joined strokes fill."""
SMALLEST_PX = (16, 4)
_FEWEST_CHANGES = CHANGES_PER_HEIGHT * SMALLEST_PX[0]
_JOINING = np.ones((1, GAP_PX), np.uint8)
_THIN = np.ones((3, STROKE_PX), np.uint8)
TALLEST = 0.2
"""Of the picture's height; larger letters are found in the halved picture."""
STAYS = 0.65
"""Overlap of a line's strokes with those of another picture; letters that moved to where other
letters were reach a half."""
GONE = 0.2
"""Share of a line's place that holds text in another picture."""
AROUND_PX = 8
CHANGED_255, UNCHANGED_255 = 8.0, 4.0
"""Mean change of the picture around a line."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """A box in one picture, and which of its stroke maps the line was found in."""

    left: int
    top: int
    right: int
    bottom: int
    strokes: int

    @property
    def box(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Page:
    """The text of one picture."""

    def __init__(self, rgb: NDArray[np.uint8]):
        import cv2

        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        self.shape: tuple[int, int] = grey.shape[:2]
        self.smooth: Grey = cv2.blur(grey, (3, 3))
        self.strokes: list[Mask] = []
        self.lines: list[TextLine] = []
        half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for picture in (grey, half):
            if min(picture.shape) > STROKE_PX:
                self._search(picture)
        self.area: Mask = np.zeros(self.shape, bool)
        for line in self.lines:
            self.area[line.box] = True

    def area_within(self, proven: Mask) -> float:
        """Share of the picture under lines that lie mostly inside `proven`."""
        inside = np.zeros(self.shape, bool)
        for line in self.lines:
            if proven[line.box].mean() > 0.5:
                inside[line.box] = True
        return float(inside.mean())

    def _search(self, grey: Grey) -> None:
        """Find the lines in one size of the picture, brighter and darker than their ground."""
        import cv2

        height, width = self.shape
        scale = height / len(grey)
        window = np.ones((STROKE_PX, STROKE_PX), np.uint8)
        for polarity in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            contrast = cv2.morphologyEx(grey, polarity, window)
            _, strokes = cv2.threshold(contrast, STROKE_255, 1, cv2.THRESH_BINARY)
            for edges in _boxes(contrast, strokes):
                left, top, right, bottom = (round(edge * scale) for edge in edges)
                self.lines.append(TextLine(left, top, right, bottom, len(self.strokes)))
            full = cv2.resize(strokes, (width, height), interpolation=cv2.INTER_NEAREST)
            self.strokes.append(full.view(bool))

    def overlap(self, line: TextLine, other: Page) -> float:
        """Share of the strokes of `line` and of the same place in `other` that are in both."""
        here, there = self.strokes[line.strokes][line.box], other.strokes[line.strokes][line.box]
        either = int(np.count_nonzero(here | there))
        return int(np.count_nonzero(here & there)) / either if either else 0.0

    def change_around(self, line: TextLine, other: Page) -> float:
        """Mean change of luma near a line but outside of all text."""
        near = (
            slice(max(0, line.top - AROUND_PX), line.bottom + AROUND_PX),
            slice(max(0, line.left - AROUND_PX), line.right + AROUND_PX),
        )
        ground = ~(self.area[near] | other.area[near])
        change = np.abs(self.smooth[near].astype(np.int16) - other.smooth[near])[ground]
        return float(change.mean()) if change.size else float("nan")


def _boxes(contrast: Grey, strokes: Grey) -> Iterator[tuple[int, int, int, int]]:
    import cv2

    joined = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, _JOINING)
    joined = cv2.morphologyEx(joined, cv2.MORPH_OPEN, _THIN)
    changes = strokes[:, 1:] != strokes[:, :-1]
    for left, top, width, height, area in _components(joined, changes):
        if width < 2 * height or height > TALLEST * len(strokes) or area < FULL * width * height:
            continue
        rows, right = slice(top, top + height), left + width
        if np.count_nonzero(changes[rows, left : right - 1]) / width < CHANGES_PER_HEIGHT:
            continue
        if contrast[rows, left:right][strokes[rows, left:right] > 0].mean() >= LINE_255:
            yield left, top, right, top + height


def _components(mask: Grey, changes: Mask) -> set[tuple[int, int, int, int, int]]:
    """Left, top, width, height and area of the 4-connected components that may be a line.

    The same as `connectedComponentsWithStats` of the whole mask, in a tenth of the time: outlines
    tell where something large enough with enough changes is; only there components are counted.
    """
    import cv2

    found = set()
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    for outline in outlines:
        left, top, width, height = cv2.boundingRect(outline)
        if width < SMALLEST_PX[0] or height < SMALLEST_PX[1]:
            continue
        if np.count_nonzero(changes[top : top + height, left : left + width]) < _FEWEST_CHANGES:
            continue
        part = framed[top : top + height + 2, left : left + width + 2]
        _, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=4)
        for x, y, wide, high, area in stats[1:].tolist():
            cut_off = x == 0 or y == 0 or x + wide == width + 2 or y + high == height + 2
            if wide >= SMALLEST_PX[0] and high >= SMALLEST_PX[1] and not cut_off:
                found.add((left + x - 1, top + y - 1, wide, high, area))
    return found


class Text(Operator):
    """Area of text, how much of it stays in place, and the area of burnt-in text.

    Typical: 0 without text, 0.02 a line of subtitles, 0.1 to 0.3 a slide. Small print in a large
    frame, script and very large titles are missed more often than lines of ordinary size.
    """

    name = "text"
    version = 1
    needs = "frames"
    columns = (
        Column("text_area", pa.float32(), "mean share of the frame under lines of text", "0..1"),
        Column("text_area_max", pa.float32(), "the same in the picture with most text", "0..1"),
        Column("text_stability", pa.float32(), "share of the text whose strokes are still there a "
               "second later; NULL without text", "0..1"),
        Column("burnt_text_area", pa.float32(), "mean share of the frame under text that stays "
               "while the scene around it changes, or comes and goes while it stays", "0..1"),
    )  # fmt: skip

    def score(self, clips: Sequence[Clip]) -> Sequence[Mapping[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> Mapping[str, Any]:
        pages = [Page(picture) for picture in clip.pictures]
        if not pages:
            return {column.name: None for column in self.columns}
        areas = [float(page.area.mean()) for page in pages]
        knowable = len(pages) > 1 or not areas[0]
        return {
            "text_area": float(np.mean(areas)),
            "text_area_max": max(areas),
            "text_stability": _stability(pages),
            "burnt_text_area": _burnt_area(pages) if knowable else None,
        }


def _stability(pages: Sequence[Page]) -> float:
    staying = total = 0
    for page, after in pairwise(pages):
        for line in page.lines:
            size = page.area[line.box].size
            total += size
            staying += size * (page.overlap(line, after) >= STAYS)
    return staying / total if total else float("nan")


def _burnt_area(pages: Sequence[Page]) -> float:
    """Lines at a place where one was proven to be burnt in, as a mean share of the pictures."""
    proven = np.zeros(pages[0].shape, bool)
    for page, after in pairwise(pages):
        for one, two in ((page, after), (after, page)):
            for line in one.lines:
                if _is_burnt(line, one, two):
                    proven[line.box] = True
    return float(np.mean([page.area_within(proven) for page in pages]))


def _is_burnt(line: TextLine, page: Page, other: Page) -> bool:
    change = page.change_around(line, other)
    if page.overlap(line, other) >= STAYS:
        return change > CHANGED_255
    return change < UNCHANGED_255 and float(other.area[line.box].mean()) < GONE
