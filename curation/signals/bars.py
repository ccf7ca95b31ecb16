"""Flat bars around a picture: letterbox, pillarbox, in black or any other colour.

A bar stays; what is flat at the edges of a scene does not. So the lines that are flat at both ends
are measured in each frame (`flat_margins`) and judged over a stretch of a source (`boxes_inside`):
the bars are what (nearly) all frames have in which anything can be seen, and no frame has more of
them than that, however dark its edges are. Where most frames have no bars, as in a compilation,
each is taken by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Margins", "boxes_inside", "flat_margins"]

Luma = NDArray[np.uint8]
Box: TypeAlias = tuple[float, float, float, float]
"""Top, bottom, left and right edge as shares of a picture."""
Margins: TypeAlias = tuple[float, float]
"""Shares of the height and of the width that flat lines take at each end."""

_FLAT, _LIT = 10, 24
"""Levels from the bar's own: within the first is the bar, from the second on is something else."""
_MARKED, _PICTURE_LIT = 0.25, 0.6
"""Shares of a line's samples that are lit: at most in a bar, at least behind it."""
_LARGEST_BAR = 0.4
_STEADY_PERCENT = 10
"""Frames that may have less than the bars: a title lies over them, or they begin later."""


def flat_margins(pictures: Luma) -> list[Margins | None]:
    """How far flat lines of one level reach into each picture; None where too little else is seen.

    Bars are as high below as above, and as wide on the left as on the right: what is flat at one
    end only is the picture.
    """
    found: list[Margins | None] = []
    across = _flat_ends(pictures[:, [0, -1]])
    along = _flat_ends(pictures[:, :, [0, -1]].swapaxes(1, 2))
    for picture, row_level, column_level in zip(pictures, across, along, strict=True):
        rows = _share_of_lines(picture, row_level)
        if rows > _LARGEST_BAR:
            found.append(None)
            continue
        columns = picture.T
        if rows:
            first = round(rows * len(picture))
            columns = columns[:, first : len(picture) - first]
            column_level = _flat_ends(columns[None, [0, -1]])[0]
        share = _share_of_lines(columns, column_level, may_be_marked=not rows)
        found.append((rows, share) if share <= _LARGEST_BAR else None)
    return found


def boxes_inside(
    seen: Sequence[Margins | None], wanted: Sequence[Margins | None]
) -> list[Box | None]:
    """Where some pictures lie inside of their bars; None without bars.

    Args:
        seen: margins of all frames of the stretch that is judged.
        wanted: margins of those pictures.
    """
    told = np.array([margins for margins in seen if margins is not None]).reshape(-1, 2)
    steady = (0.0, 0.0)
    if len(told):
        rows, columns = np.percentile(told, _STEADY_PERCENT, axis=0, method="lower")
        steady = float(rows), float(columns)
    return [_box(margins, steady) for margins in wanted]


def _box(margins: Margins | None, steady: Margins) -> Box | None:
    if margins is None:
        rows, columns = steady
    elif any(steady):
        rows, columns = min(margins[0], steady[0]), min(margins[1], steady[1])
    else:
        rows, columns = margins
    return (rows, 1 - rows, columns, 1 - columns) if rows or columns else None


def _flat_ends(ends: Luma) -> list[int | None]:
    """The level of (n, 2, w) first and last lines, None where one of them is not flat."""
    count, _, length = ends.shape
    samples = ends.reshape(count, -1)
    levels = np.partition(samples, length, axis=1)[:, length]
    away = cv2.absdiff(samples, np.repeat(levels[:, None], 2 * length, axis=1))
    lit = np.count_nonzero(away.reshape(ends.shape) >= _LIT, axis=2).max(axis=1)
    flat = lit <= _MARKED * length
    return [
        level if is_flat else None for level, is_flat in zip(levels.tolist(), flat, strict=True)
    ]


def _share_of_lines(lines: Luma, level: int | None, *, may_be_marked: bool = True) -> float:
    """The share that flat lines of one level take at each end; they may have marks on them."""
    if level is None:
        return 0.0
    away = cv2.absdiff(lines, level)
    brightest = away.max(1)
    lit = cv2.reduce(cv2.compare(away, _LIT, cv2.CMP_GE), 1, cv2.REDUCE_AVG).ravel() / 255
    mean = cv2.reduce(away, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    both = (brightest, lit, mean), (brightest[::-1], lit[::-1], mean[::-1])
    return min(_bar(*end, may_be_marked) for end in both)


def _bar(
    brightest: Luma, lit: NDArray[np.float64], mean: NDArray[np.float32], may_be_marked: bool
) -> float:
    """The share of the lines of a bar at the beginning; all of them where nothing else is seen.

    A bar is flat, or flat but for a mark on it and followed by lines that are mostly not. The line
    behind it is part bar, part picture, by as much as it is nearer to the bar than the next one.
    """
    count = _beginning(lit <= _MARKED) if may_be_marked else 0
    if not 1 < count < len(lit) - 1 or lit[count + 1] < _PICTURE_LIT:
        count = _beginning(brightest < _FLAT)
        if count >= len(lit) - 1:
            return 1.0
        if count < 2:
            return 0.0
    covered = 1 - float(np.clip(mean[count] / max(float(mean[count + 1]), 1.0), 0.0, 1.0))
    return (count + round(covered * 2) / 2) / len(lit)


def _beginning(flags: NDArray[np.bool_]) -> int:
    """How many flags are set before the first that is not."""
    return int(np.argmin(flags)) if not flags.all() else len(flags)
