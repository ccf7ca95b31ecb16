"""Whether a reconstruction moves as its reference does, and whether chunks show at their seams.

None of these warps frames, so none depends on an optical flow model. Flicker compares changes
between frames: an error that stays the same from frame to frame is not flicker.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics.base import MetricInfo
from zoo.metrics.clips import SIGNED, ClipMetric, ValueRange, per_clip
from zoo.metrics.pixels import CONTRAST_FLOOR, frame_psnr, round_to_8_bits

__all__ = ["Flicker", "SeamDip", "TemporalSimilarity"]


class Flicker(ClipMetric):
    """How far the change between frames is off."""

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "mean absolute difference of the changes between neighbouring frames, in levels of "
            "0..255 as floats; mean over pixels, channels and pairs of frames, then clips"
        )
        return MetricInfo("flicker", "levels", False, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        return 255 * per_clip(_change_errors(reference, reconstruction).abs())


class TemporalSimilarity(ClipMetric):
    """SSIM's contrast-structure term, taken over time at once for a whole clip."""

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "(2 m(ab) + c) / (m(aa) + m(bb) + c) of the changes a, b between neighbouring frames, "
            "m the mean over a clip, c = 0.03² in 0..1; 1 where every change is reproduced; mean "
            "over clips"
        )
        return MetricInfo("temporal_similarity", "", True, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        _check_length(reference, 2)
        a, b = reference.diff(dim=2), reconstruction.diff(dim=2)
        energy = per_clip(a.square()) + per_clip(b.square())
        return (2 * per_clip(a * b) + CONTRAST_FLOOR) / (energy + CONTRAST_FLOOR)


class SeamDip(ClipMetric):
    """How much worse frames at chunk boundaries are than the others.

    `first` is the length of the first chunk where it differs (1+4k rules), `reach` how many frames
    on each side of a boundary count as the seam.
    """

    def __init__(
        self,
        chunk_frames: int,
        *,
        first: int | None = None,
        reach: int = 1,
        value_range: ValueRange = SIGNED,
    ) -> None:
        super().__init__(value_range)
        self.chunk_frames = chunk_frames
        self.first = chunk_frames if first is None else first
        self.reach = reach
        if min(self.chunk_frames, self.first, reach) < 1 or chunk_frames <= 2 * reach:
            raise UsageError(
                f"chunks of {chunk_frames} frames (first {self.first}) with seams of {reach}",
                allowed="chunks longer than both their seams, a first chunk of 1 or more",
            )

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "mean PSNR of frames away from chunk boundaries minus that of frames within "
            f"{self.reach} of one, rounded to 8 bits; chunks of {self.chunk_frames}, the first of "
            f"{self.first}; mean over clips; 0 or less: no seam"
        )
        return MetricInfo("seam_dip", "dB", False, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        _check_length(reference, self.first + self.reach + 1)
        at_seam = self._at_seam(reference.shape[2])
        quality = frame_psnr(round_to_8_bits(reference), round_to_8_bits(reconstruction))
        at_seam = at_seam.to(quality.device)
        return quality[:, ~at_seam].mean(1) - quality[:, at_seam].mean(1)

    def _at_seam(self, frames: int) -> Tensor:
        starts = torch.arange(self.first, frames, self.chunk_frames)
        offset = torch.arange(frames)[:, None] - starts
        return ((offset >= -self.reach) & (offset < self.reach)).any(1)


def _change_errors(reference: Tensor, reconstruction: Tensor) -> Tensor:
    _check_length(reference, 2)
    return (reconstruction - reference).diff(dim=2)


def _check_length(clip: Tensor, least: int) -> None:
    if clip.shape[2] < least:
        raise InputError(
            f"clips of {clip.shape[2]} frames are too short", allowed=f"{least} frames or more"
        )
