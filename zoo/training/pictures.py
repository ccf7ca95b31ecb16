"""Originals over reconstructions as one picture: frames of footage, curves of motion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

__all__ = ["comparison"]

_FRAMES = 6
_CURVES = 8
_CURVE_SIZE = (360, 48)
_ORIGINAL, _MADE = (40, 40, 40), (220, 90, 30)


def comparison(x: Tensor, y: Tensor, layout: str) -> Image.Image:
    """A batch beside what a model made of it, in the tokenizer's layout."""
    if layout == "BCTHW":
        return _footage(x, y)
    return _motion(x.flatten(2), y.flatten(2))


def _footage(x: Tensor, y: Tensor) -> Image.Image:
    """Rows in pairs, a clip over its reconstruction; time runs to the right."""
    step = max(1, x.shape[2] // _FRAMES)
    rows = [
        _pixels(clip[:, ::step][:, :_FRAMES]) for pair in zip(x, y, strict=True) for clip in pair
    ]
    return Image.fromarray(np.concatenate(rows, axis=0))


def _pixels(clip: Tensor) -> npt.NDArray[np.uint8]:
    frames = ((clip.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
    if len(frames) == 1:
        frames = frames.expand(3, -1, -1, -1)
    return np.concatenate(list(frames.permute(1, 2, 3, 0).numpy()), axis=1)


def _motion(x: Tensor, y: Tensor) -> Image.Image:
    """Curves of evenly chosen features, one clip a column; the reconstruction lies over them."""
    width, height = _CURVE_SIZE
    features = np.linspace(0, x.shape[2] - 1, min(_CURVES, x.shape[2])).astype(int)
    image = Image.new("RGB", (width * len(x), height * len(features)), "white")
    draw = ImageDraw.Draw(image)
    for column, (real, made) in enumerate(
        zip(x.cpu().numpy(), y.float().cpu().numpy(), strict=True)
    ):
        for row, feature in enumerate(features):
            corner = (column * width, row * height)
            low, high = real[:, feature].min(), real[:, feature].max()
            for values, colour in ((real, _ORIGINAL), (made, _MADE)):
                draw.line(_curve(values[:, feature], low, high, corner), fill=colour)
    return image


def _curve(
    values: npt.NDArray[np.floating], low: float, high: float, corner: tuple[int, int]
) -> list[tuple[float, float]]:
    width, height = _CURVE_SIZE
    across = np.linspace(4, width - 4, len(values)) + corner[0]
    share = np.clip((values - low) / max(high - low, 1e-6), -0.1, 1.1)
    down = corner[1] + height * (0.85 - 0.7 * share)
    return list(zip(across.tolist(), down.tolist(), strict=True))
