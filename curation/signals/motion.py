"""Camera motion and what moves besides it, from two small luma frames.

Whole-pixel travel comes from phase correlation, which finds it at any distance. Around that shift,
windows of 8 by 8 pixels are matched by least squares on gradients (Lucas and Kanade), and a
similarity (travel, zoom, roll) is fitted to the windows, those that disagree losing weight. What
the similarity does not explain is the motion of subjects.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["motion_columns", "whole_shifts"]

_CELL = 4
_DISAGREEMENT_PX = (0.25, 0.12, 0.06, 0.06)
"""A window this far from the last fit counts half in the next."""
_TEXTURE_FLOOR = 60.0
_TEXTURE_ENOUGH = 400.0
_TRUSTED_PEAK = 0.1
_PEAK_REACH = 2

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
    """(n, 2) travel of the picture in x and y, rounded; zero where nothing correlates.

    Phase correlation, with the peak placed by the centroid of what surrounds it. OpenCV's own
    writes its window into frames of some sizes and is half a pixel off at odd ones.
    """
    height, width = frames.shape[1:]
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    spectra = np.fft.rfft2((frames - frames.mean((1, 2), keepdims=True)) * window)
    cross = spectra[1:] * spectra[:-1].conj()
    cross /= np.maximum(np.abs(cross), 1e-3)
    likeness = np.fft.irfft2(cross, s=(height, width))
    rows, cols = np.unravel_index(likeness.reshape(len(likeness), -1).argmax(1), (height, width))
    reach = np.arange(-_PEAK_REACH, _PEAK_REACH + 1)
    around = likeness[
        np.arange(len(likeness))[:, None, None],
        (rows[:, None] + reach)[:, :, None] % height,
        (cols[:, None] + reach)[:, None, :] % width,
    ].clip(min=0)
    total = around.sum((1, 2))
    trusted = total > _TRUSTED_PEAK
    weight = np.where(trusted, total, 1)
    across = _signed(cols + around.sum(1) @ reach / weight, width)
    down = _signed(rows + around.sum(2) @ reach / weight, height)
    return np.rint(np.stack([across, down], 1) * trusted[:, None]).astype(np.intp)


def _signed(place: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """A place on a ring as the shorter way to it."""
    return (place + size / 2) % size - size / 2


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
    # Beyond enough texture more of it is not worth more, or one bold object would be the camera.
    return np.clip(flow, -2.0, 2.0), texture / (texture + np.float32(_TEXTURE_ENOUGH))


def _window_sums(values: Floats) -> Floats:
    """Sums over overlapping windows of two by two cells, flattened."""
    count, height, width = values.shape
    by_row = _sum_of_fours(values.reshape(count, height, width // _CELL, _CELL))
    cells = _sum_of_fours(
        by_row.reshape(count, height // _CELL, _CELL, width // _CELL).swapaxes(2, 3)
    )
    pairs = cells[:, 1:] + cells[:, :-1]
    return (pairs[:, :, 1:] + pairs[:, :, :-1]).reshape(count, -1)


def _sum_of_fours(values: Floats) -> Floats:
    """The sum over the last axis, whose length is `_CELL`: NumPy is slow on axes so short."""
    first, second, third, fourth = (values[..., place] for place in range(_CELL))
    return first + second + third + fourth


def _fit_similarity(
    flow: Floats, texture: Floats, height: int, width: int
) -> tuple[Floats, Floats]:
    """(n, 4) travel x, travel y, growth, turn in radians; (n, windows) what is left over."""
    rows = np.arange(1, height // _CELL) * _CELL - (height - 1) / 2 - 0.5
    cols = np.arange(1, width // _CELL) * _CELL - (width - 1) / 2 - 0.5
    y, x = (axis.ravel().astype(np.float32) for axis in np.meshgrid(rows, cols, indexing="ij"))
    one, none = np.ones_like(x), np.zeros_like(x)
    along = np.stack([one, none, x, -y], -1), np.stack([none, one, y, x], -1)
    design = np.stack(along, 1).reshape(-1, 4)
    products = sum(np.einsum("wi,wj->wij", part, part) for part in along).reshape(-1, 16)
    ridge = 1e-3 * np.eye(4, dtype=np.float32)
    weight = texture
    for disagreement in _DISAGREEMENT_PX:
        # One product per frame: a product of all frames would round by the size of the batch.
        normal = (weight[:, None] @ products).reshape(-1, 4, 4) + ridge
        right = (flow * weight[..., None]).reshape(len(flow), 1, -1) @ design
        model = np.linalg.solve(normal, right.transpose(0, 2, 1))
        rest = flow - (design @ model).reshape(flow.shape)
        leftover = np.hypot(rest[..., 0], rest[..., 1])
        weight = texture / (1.0 + (leftover / disagreement) ** 2)
    return model[..., 0].astype(np.float32), leftover.astype(np.float32)
