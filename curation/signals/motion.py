"""Camera motion and what moves besides it, from two small luma frames.

Whole-pixel travel comes from phase correlation, which finds it at any distance. Around that shift,
windows of 8 by 8 pixels are matched by least squares on gradients (Lucas and Kanade), and a
similarity (travel, zoom, roll) is fitted to the windows, those that disagree losing weight. What
the similarity does not explain is the motion of subjects.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["motion_columns", "whole_shifts"]

_CELL = 4
_FITS = 3
_TEXTURE_FLOOR = 60.0
_TRUSTED_PEAK = 0.1

Floats = NDArray[np.float32]
Shifts = NDArray[np.intp]


def motion_columns(frames: Floats, shift: Shifts) -> dict[str, Floats]:
    """Motion of each frame against the one before.

    Args:
        frames: (n + 1, h, w) luma, h and w multiples of 4. They are smoothed a little, for
            steps of one pixel would pass for slow gradients and fast motion.
        shift: (n, 2) from `whole_shifts`.
    """
    smooth = np.stack([cv2.GaussianBlur(frame, (3, 3), 0) for frame in frames])
    flow, texture = _local_flow(smooth[:-1], _shifted(smooth[1:], shift))
    height, width = frames.shape[1:]
    camera, leftover = _fit_similarity(flow, texture, height, width)
    percent = np.float32(100.0 / width)
    whole = shift.astype(np.float32)
    length = np.hypot(*np.moveaxis(flow + whole[:, None, :], -1, 0))
    weight = texture / np.maximum(texture.sum(1, keepdims=True), 1e-6)
    return {
        "pan": -(camera[:, 0] + whole[:, 0]) * percent,
        "tilt": -(camera[:, 1] + whole[:, 1]) * percent,
        "zoom": camera[:, 2] * 100,
        "roll": -np.degrees(camera[:, 3]),
        "motion": (length * weight).sum(1) * percent,
        "residual_motion": (leftover * weight).sum(1) * percent,
    }


def whole_shifts(frames: Floats) -> Shifts:
    """(n, 2) travel of the picture in x and y, rounded; zero where nothing correlates."""
    height, width = frames.shape[1:]
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    shifts = np.zeros((len(frames) - 1, 2), np.intp)
    for index, (before, after) in enumerate(pairwise(frames)):
        travel, peak = cv2.phaseCorrelate(before, after, window)
        if peak > _TRUSTED_PEAK:
            shifts[index] = np.rint(travel)
    return shifts


def _shifted(frames: Floats, shift: Shifts) -> Floats:
    """Every frame moved back by its shift; edges repeat."""
    if not shift.any():
        return frames
    _, height, width = frames.shape
    rows = np.clip(np.arange(height) + shift[:, 1, None], 0, height - 1)
    cols = np.clip(np.arange(width) + shift[:, 0, None], 0, width - 1)
    return frames[np.arange(len(frames))[:, None, None], rows[:, :, None], cols[:, None, :]]


def _local_flow(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """(n, windows, 2) flow in pixels and (n, windows) texture that carries it."""
    middle = (before + after) * 0.5
    grad_x = np.zeros_like(middle)
    grad_y = np.zeros_like(middle)
    grad_x[:, :, 1:-1] = (middle[:, :, 2:] - middle[:, :, :-2]) * 0.5
    grad_y[:, 1:-1] = (middle[:, 2:] - middle[:, :-2]) * 0.5
    change = after - before
    xx, xy, yy, xt, yt = (
        _window_sums(one * two)
        for one, two in (
            (grad_x, grad_x),
            (grad_x, grad_y),
            (grad_y, grad_y),
            (grad_x, change),
            (grad_y, change),
        )
    )
    # A little stiffness keeps flat windows at zero instead of letting noise decide.
    xx, yy = xx + _TEXTURE_FLOOR, yy + _TEXTURE_FLOOR
    scale = -1.0 / (xx * yy - xy * xy)
    flow = np.stack([(yy * xt - xy * yt) * scale, (xx * yt - xy * xt) * scale], axis=-1)
    trace = xx + yy
    smaller = 0.5 * (trace - np.sqrt(np.maximum((xx - yy) ** 2 + 4 * xy * xy, 0)))
    texture = np.maximum(smaller - _TEXTURE_FLOOR, 1e-3)
    return np.clip(flow, -2.0, 2.0), np.sqrt(texture)


def _window_sums(values: Floats) -> Floats:
    """Sums over overlapping windows of two by two cells, flattened."""
    count, height, width = values.shape
    cells = values.reshape(count, height // _CELL, _CELL, width // _CELL, _CELL).sum((2, 4))
    pairs = cells[:, 1:] + cells[:, :-1]
    return (pairs[:, :, 1:] + pairs[:, :, :-1]).reshape(count, -1)


def _fit_similarity(
    flow: Floats, texture: Floats, height: int, width: int
) -> tuple[Floats, Floats]:
    """(n, 4) travel x, travel y, growth, turn in radians; (n, windows) what is left over."""
    rows = np.arange(1, height // _CELL) * _CELL - (height - 1) / 2 - 0.5
    cols = np.arange(1, width // _CELL) * _CELL - (width - 1) / 2 - 0.5
    y, x = (axis.ravel().astype(np.float32) for axis in np.meshgrid(rows, cols, indexing="ij"))
    one, none = np.ones_like(x), np.zeros_like(x)
    design = np.stack([np.stack([one, none, x, -y], -1), np.stack([none, one, y, x], -1)])
    products = np.einsum("cwi,cwj->wij", design, design).reshape(len(x), 16)
    weight = texture
    for _ in range(_FITS):
        # One product per frame: a product of all frames would round by the size of the batch.
        normal = (weight[:, None] @ products).reshape(-1, 4, 4) + 1e-3 * np.eye(4, dtype=np.float32)
        weighted = flow * weight[..., None]
        right = np.einsum("nwc,cwi->ni", weighted, design)
        model = np.linalg.solve(normal, right[..., None])[..., 0]
        rest = flow - np.einsum("ni,cwi->nwc", model, design)
        leftover = np.hypot(rest[..., 0], rest[..., 1])
        weight = texture / (1.0 + (leftover / 0.25) ** 2)
    return model.astype(np.float32), leftover.astype(np.float32)
