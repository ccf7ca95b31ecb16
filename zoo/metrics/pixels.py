"""How near the pixels of a reconstruction are: PSNR, SSIM and MS-SSIM.

Published PSNR differs by protocol alone: per frame or per clip, rounded to 8 bits or not. Both
choices are arguments here and stand in the protocol text. SSIM is the original one: gaussian
window of 11 pixels, inner pixels only, so it equals scikit-image with `gaussian_weights` and not
its 7x7 default.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from zoo.errors import InputError, UsageError
from zoo.metrics.base import MetricInfo
from zoo.metrics.clips import SIGNED, ClipMetric, ValueRange, by_frames, per_clip, unit_pair

__all__ = ["MSSSIM", "PSNR", "SSIM", "frame_psnr", "ms_ssim", "psnr", "round_to_8_bits", "ssim"]

Pool = Literal["frame", "clip"]

PSNR_CAP_DB = 100.0
"""What equal pictures score: infinity has no mean."""

WINDOW = 11
SIGMA = 1.5
LUMINANCE_FLOOR = 0.01**2
CONTRAST_FLOOR = 0.03**2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(
    reference: Tensor,
    reconstruction: Tensor,
    *,
    value_range: ValueRange = SIGNED,
    pool: Pool = "frame",
    round_to_8_bits: bool = True,
) -> Tensor:
    """PSNR in dB of each clip, (B,)."""
    metric = PSNR(value_range=value_range, pool=pool, round_to_8_bits=round_to_8_bits)
    return metric.measure(*unit_pair(reference, reconstruction, value_range))


def round_to_8_bits(clip: Tensor) -> Tensor:
    """A clip in 0..1 as it looks once it is stored as uint8."""
    return (clip * 255).round() / 255


def frame_psnr(reference: Tensor, reconstruction: Tensor) -> Tensor:
    """PSNR in dB of every frame of two clips in 0..1, (B, T)."""
    return _decibels(_frame_errors(reference, reconstruction))


def _frame_errors(reference: Tensor, reconstruction: Tensor) -> Tensor:
    squared = (reference - reconstruction).square().transpose(1, 2)
    return squared.flatten(2).mean(2, dtype=torch.float64)


def _decibels(errors: Tensor) -> Tensor:
    return (-10 * errors.log10()).clamp(max=PSNR_CAP_DB)


class PSNR(ClipMetric):
    """Peak signal-to-noise ratio."""

    def __init__(
        self,
        *,
        value_range: ValueRange = SIGNED,
        pool: Pool = "frame",
        round_to_8_bits: bool = True,
    ) -> None:
        super().__init__(value_range)
        if pool not in ("frame", "clip"):
            raise UsageError(f"pool {pool!r} is not known", allowed="'frame' or 'clip'")
        self.pool: Pool = pool
        self.round_to_8_bits = round_to_8_bits

    @property
    def info(self) -> MetricInfo:
        over = "of each frame, mean over a clip's frames" if self.pool == "frame" else "of a clip"
        pixels = "rounded to 8 bits" if self.round_to_8_bits else "as floats"
        protocol = (
            f"10 log10(MAX²/MSE) {over}, then mean over clips; all channels, pixels {pixels}, "
            f"clamped to the range; capped at {PSNR_CAP_DB:g} dB"
        )
        return MetricInfo("psnr", "dB", True, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        if self.round_to_8_bits:
            reference, reconstruction = round_to_8_bits(reference), round_to_8_bits(reconstruction)
        errors = _frame_errors(reference, reconstruction)
        if self.pool == "clip":
            errors = errors.mean(1, keepdim=True)
        return per_clip(_decibels(errors))


def ssim(reference: Tensor, reconstruction: Tensor, *, value_range: ValueRange = SIGNED) -> Tensor:
    """SSIM of each clip, the mean over its frames, (B,)."""
    return SSIM(value_range).measure(*unit_pair(reference, reconstruction, value_range))


class SSIM(ClipMetric):
    """Structural similarity of frames."""

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "gaussian window 11x11, sigma 1.5, k 0.01 and 0.03, inner pixels only, population "
            "covariance, mean over channels, then frames, then clips"
        )
        return MetricInfo("ssim", "", True, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        return per_clip(by_frames(_frame_ssim, reference, reconstruction))


def ms_ssim(
    reference: Tensor, reconstruction: Tensor, *, value_range: ValueRange = SIGNED, scales: int = 5
) -> Tensor:
    """MS-SSIM of each clip, the mean over its frames, (B,)."""
    metric = MSSSIM(value_range=value_range, scales=scales)
    return metric.measure(*unit_pair(reference, reconstruction, value_range))


class MSSSIM(ClipMetric):
    """Structural similarity over several scales; five need sides of 176 pixels or more."""

    def __init__(self, *, value_range: ValueRange = SIGNED, scales: int = 5) -> None:
        super().__init__(value_range)
        if not 1 <= scales <= len(SCALE_WEIGHTS):
            raise UsageError(f"{scales} scales", allowed=f"1 to {len(SCALE_WEIGHTS)}")
        self.scales = scales

    @property
    def info(self) -> MetricInfo:
        protocol = (
            f"{self.scales} scales by 2x2 mean, weights of the first {self.scales} of "
            f"{'/'.join(str(weight) for weight in SCALE_WEIGHTS)} normalised to 1; gaussian "
            "window 11x11, sigma 1.5, k 0.01 and 0.03, inner pixels only; mean over pixels and "
            "channels before the product, negative means count as 0; then over frames, then clips"
        )
        return MetricInfo("ms_ssim", "", True, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        return per_clip(by_frames(self._frame_ms_ssim, reference, reconstruction))

    def _frame_ms_ssim(self, x: Tensor, y: Tensor) -> Tensor:
        least = WINDOW * 2 ** (self.scales - 1)
        if min(x.shape[2:]) < least:
            raise InputError(
                f"frames of {x.shape[2]}x{x.shape[3]} are too small for {self.scales} scales",
                allowed=f"sides of {least} pixels or more",
                hint="pass fewer scales; the protocol will say so",
            )
        weights = torch.tensor(SCALE_WEIGHTS[: self.scales], device=x.device)
        terms = []
        for scale in range(self.scales):
            if scale:
                x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
            luminance, contrast = _ssim_maps(x, y)
            last = scale == self.scales - 1
            terms.append((luminance * contrast if last else contrast).mean((1, 2, 3)))
        return (torch.stack(terms, 1).relu() ** (weights / weights.sum())).prod(1)


def _frame_ssim(x: Tensor, y: Tensor) -> Tensor:
    luminance, contrast = _ssim_maps(x, y)
    return (luminance * contrast).mean((1, 2, 3))


def _ssim_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance and the contrast-structure term at every inner pixel of (N, C, H, W)."""
    if min(x.shape[2:]) < WINDOW:
        raise InputError(
            f"frames of {x.shape[2]}x{x.shape[3]} are smaller than the window",
            allowed=f"sides of {WINDOW} pixels or more",
        )
    x, y = x - 0.5, y - 0.5  # variances lose fewer digits near zero
    mean_x, mean_y, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    var_x, var_y = (xx - mean_x**2).clamp(min=0), (yy - mean_y**2).clamp(min=0)
    contrast = (2 * (xy - mean_x * mean_y) + CONTRAST_FLOOR) / (var_x + var_y + CONTRAST_FLOOR)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + LUMINANCE_FLOOR) / (mean_x**2 + mean_y**2 + LUMINANCE_FLOOR)
    return luminance, contrast


def _blur(maps: Tensor) -> Tensor:
    """The gaussian mean around every inner pixel of (..., H, W).

    Weighted sums of shifted maps: several times faster than a convolution of one channel on a CPU,
    and in full float32 on every device.
    """
    offsets = range(-(WINDOW // 2), WINDOW // 2 + 1)
    weights = [math.exp(-(offset**2) / (2 * SIGMA**2)) for offset in offsets]
    for axis in (-1, -2):
        inner = maps.shape[axis] - WINDOW + 1
        total = torch.zeros_like(maps.narrow(axis, 0, inner))
        for start, weight in enumerate(weights):
            total.add_(maps.narrow(axis, start, inner), alpha=weight / sum(weights))
        maps = total
    return maps
