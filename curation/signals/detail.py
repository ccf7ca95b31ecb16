"""Measurements that need fine detail, taken on a few native-size luma frames per second."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DETAIL_SIGNALS", "colourfulness", "measure_detail"]

DETAIL_SIGNALS = (
    "sharpness",
    "text_likeness",
    "blockiness",
    "noise",
    "bar_top",
    "bar_bottom",
    "bar_left",
    "bar_right",
)

REFERENCE_WIDTH = 320
_STROKE_STEP = 40
_STROKE_SHARE = 20  # of 255: one sample in thirteen
_TEXT_WINDOW = (21, 5)
_BAR_MEAN = 24
_BAR_BRIGHTEST = 36
_ROW_STEP = 16
_SECOND_DIFFERENCE = np.array([[-1.0, 2.0, -1.0]])
_LAPLACIAN_NOISE_GAIN = 6.0**0.5
_FIRST_QUARTILE = 0.3186  # of |x| for a normal x, in standard deviations

Luma = NDArray[np.uint8]


def measure_detail(luma: Luma) -> dict[str, float]:
    """All detail signals of one frame but the colour ones."""
    reference = _at_reference_scale(luma)
    rows = luma[_ROW_STEP // 2 :: _ROW_STEP]
    top, bottom, left, right = bars(reference)
    return {
        "sharpness": sharpness(reference),
        "text_likeness": text_likeness(reference),
        "blockiness": blockiness(rows),
        "noise": noise(rows),
        "bar_top": top,
        "bar_bottom": bottom,
        "bar_left": left,
        "bar_right": right,
    }


def _at_reference_scale(luma: Luma) -> Luma:
    """Scaled so that the longer side has 320 pixels; two quick steps when it shrinks a lot."""
    height, width = luma.shape
    scale = REFERENCE_WIDTH / max(height, width)
    size = max(8, round(width * scale)), max(8, round(height * scale))
    if scale < 0.5:
        luma = cv2.resize(luma, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def sharpness(luma: Luma) -> float:
    """Variance of the Laplacian, whose mean over a picture is practically zero."""
    return cv2.norm(cv2.Laplacian(luma, cv2.CV_16S), cv2.NORM_L2SQR) / luma.size


def text_likeness(luma: Luma) -> float:
    """Share of the frame in runs of strokes: strong steps up and down, close to each other.

    Letters put many light-dark-light changes into a short horizontal run; the edge of an object
    puts one there.
    """
    right, left = luma[:, 1:], luma[:, :-1]
    ups, downs = _density(cv2.subtract(right, left)), _density(cv2.subtract(left, right))
    return float(np.count_nonzero(cv2.min(ups, downs) >= _STROKE_SHARE)) / luma.size


def _density(steps: Luma) -> Luma:
    """How full of strong steps the window around each pixel is, 0..255."""
    return cv2.blur(cv2.compare(steps, _STROKE_STEP, cv2.CMP_GT), _TEXT_WINDOW)


def blockiness(rows: Luma) -> float:
    """Mean luma step across 8-pixel borders over the mean step elsewhere; 1 is none."""
    usable = (rows.shape[1] - 1) // 8 * 8
    if not usable:
        return 1.0
    steps = cv2.absdiff(rows[:, 1 : usable + 1], rows[:, :usable])
    by_column = cv2.reduce(steps, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
    ranked = np.sort(by_column.reshape(-1, 8), axis=0)
    by_phase = (ranked[len(ranked) // 2] + ranked[(len(ranked) - 1) // 2]) / 2
    return float((by_phase[7] + 0.5) / (by_phase[:7].mean() + 0.5))


def noise(rows: Luma) -> float:
    """Standard deviation of noise, from the second differences of the smoother samples."""
    if rows.shape[1] < 3:
        return 0.0
    second = np.abs(cv2.filter2D(rows[::2], cv2.CV_16S, _SECOND_DIFFERENCE)[:, 1:-1])
    counts = np.bincount(second.ravel())
    total = np.cumsum(counts)
    quarter = int(np.searchsorted(total, second.size / 4))
    missing = second.size / 4 - (total[quarter] - counts[quarter])
    # A difference of k stands for everything that rounds to it; 0 has one half of the others.
    low, high = max(quarter - 0.5, 0.0), quarter + 0.5
    exact = low + (high - low) * missing / counts[quarter]
    return float(exact / (_FIRST_QUARTILE * _LAPLACIAN_NOISE_GAIN))


def bars(luma: Luma) -> tuple[float, float, float, float]:
    """Flat dark bars at top, bottom, left and right as shares of the frame."""
    top, bottom = _bars_across(luma)
    if top == 1.0:
        return 0.0, 0.0, 0.0, 0.0
    left, right = _bars_across(luma.T)
    return top, bottom, left, right


def _bars_across(luma: Luma) -> tuple[float, float]:
    """Shares of the rows that are flat and dark, from the first and from the last row on."""
    if not _flat_dark(luma[[0, -1]]).any():  # as nearly always
        return 0.0, 0.0
    dark = _flat_dark(luma)
    return _run(dark) / len(dark), _run(dark[::-1]) / len(dark)


def _flat_dark(rows: Luma) -> NDArray[np.bool_]:
    total = rows.sum(1, dtype=np.int32)
    dark: NDArray[np.bool_] = (rows.max(1) < _BAR_BRIGHTEST) & (total < _BAR_MEAN * rows.shape[1])
    return dark


def _run(flags: NDArray[np.bool_]) -> int:
    """How many flags are set before the first that is not."""
    return int(np.argmin(flags)) if not flags.all() else len(flags)


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Hasler and Suesstrunk's colourfulness of one small RGB frame."""
    red, green, blue = rgb.reshape(-1, 3).T.astype(np.float32, order="C")
    opponents = red - green, 0.5 * (red + green) - blue
    means = [values.mean(keepdims=True) for values in opponents]
    spread = np.hypot(*(v.std(mean=m) for v, m in zip(opponents, means, strict=True)))
    return float(spread + 0.3 * np.hypot(*means)[0])
