"""Reads the frames of planned windows: one pass over each stretch of a source that is wanted.

Runs inside the guarded child, as everything that decodes. Windows come in the order of their first
frame; a frame that several windows share is decoded once, and kept no longer than it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.media.decode import read_sequential
from curation.media.errors import MediaError
from tokenize_jobs.transform import Transform

__all__ = ["fitted", "read_windows", "warm_up"]

SEEK_FRAMES = 96
"""Frames to pass over between two windows beyond which a seek beats decoding through."""

Pictures = NDArray[np.uint8]


def warm_up() -> None:
    """Load the decoder; the libraries of this module are loaded by asking for it."""
    import av  # noqa: F401


def read_windows(
    path: str,
    windows: Sequence[NDArray[np.int64]],
    transform: Transform,
    size: tuple[int, int],
    frame_ticks: float,
) -> Iterator[tuple[int, Pictures]]:
    """Yield `(number, frames)` of each window: uint8 (T, H, W, 3).

    Args:
        path: a local file.
        windows: for each window the timestamps of its frames, ascending, repeats allowed.
        transform: how frames are scaled and cropped.
        size: height and width of the source as displayed.
        frame_ticks: the usual distance of two frames.
    """
    order = sorted(range(len(windows)), key=lambda number: (windows[number][0], number))
    for run in _runs(order, windows, SEEK_FRAMES * frame_ticks):
        yield from _read_run(path, run, windows, transform, size)


def _runs(
    order: Sequence[int], windows: Sequence[NDArray[np.int64]], gap_ticks: float
) -> Iterator[list[int]]:
    """Windows that one pass serves."""
    run: list[int] = []
    reached = 0
    for number in order:
        if run and windows[number][0] - reached > gap_ticks:
            yield run
            run = []
        reached = max(reached, int(windows[number][-1])) if run else int(windows[number][-1])
        run.append(number)
    if run:
        yield run


def _read_run(
    path: str,
    run: Sequence[int],
    windows: Sequence[NDArray[np.int64]],
    transform: Transform,
    size: tuple[int, int],
) -> Iterator[tuple[int, Pictures]]:
    wanted = {int(pts) for number in run for pts in windows[number]}
    first, last = min(wanted), max(wanted)
    waiting, held = list(run), dict[int, Pictures]()
    with read_sequential(
        path, short_side=_cover(transform, size), start_pts=first, end_pts=last + 1
    ) as reader:
        for batch in reader:
            for pts, image in zip(batch.pts.tolist(), batch.images, strict=True):
                if pts in wanted:
                    held[pts] = fitted(image, transform.picture_size(*size))
            passed = int(batch.pts[-1])
            while waiting and windows[waiting[0]][-1] <= passed:
                number = waiting.pop(0)
                yield number, _stacked(windows[number], held, path)
                needed = int(windows[waiting[0]][0]) if waiting else last + 1
                held = {pts: image for pts, image in held.items() if pts >= needed}
    if waiting:
        missing = int(windows[waiting[0]][-1])
        raise MediaError("decode", "frame_missing", f"no frame at pts {missing}", source=path)


def _stacked(pts: NDArray[np.int64], held: dict[int, Pictures], path: str) -> Pictures:
    missing = [int(tick) for tick in pts if int(tick) not in held]
    if missing:
        raise MediaError("decode", "frame_missing", f"no frame at pts {missing[0]}", source=path)
    return np.stack([held[int(tick)] for tick in pts])


def _cover(transform: Transform, size: tuple[int, int]) -> int | None:
    """The shorter side at which decoded frames cover what is cropped from them."""
    if transform.size is None:
        return None
    height, width = transform.picture_size(*size)
    scale = max(Fraction(height, size[0]), Fraction(width, size[1]))
    short = -(-min(size) * scale.numerator // scale.denominator)
    return short + short % 2


def fitted(image: Pictures, size: tuple[int, int]) -> Pictures:
    """The middle of a picture, scaled up first where it does not cover `size` (height, width)."""
    scale = max(size[0] / image.shape[0], size[1] / image.shape[1])
    if scale > 1:
        rows = max(size[0], round(image.shape[0] * scale))
        columns = max(size[1], round(image.shape[1] * scale))
        image = np.asarray(
            cv2.resize(image, (columns, rows), interpolation=cv2.INTER_CUBIC), np.uint8
        )
    top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
    return image[top : top + size[0], left : left + size[1]]
