"""Pairs of video clips: checked, brought to 0..1, and measured frame by frame.

Every picture metric goes through here, so a clip in a wrong range is refused once and for all of
them. Reconstructions are clamped to the range, as a viewer would see them; references must lie in
it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.metrics.base import MeanMetric

__all__ = ["SIGNED", "ClipMetric", "ValueRange", "by_frames", "per_clip", "unit_pair"]

ValueRange = tuple[float, float]
"""Black and white: (-1, 1) for tokenizers, (0, 255) for uint8 pixels."""

SIGNED: ValueRange = (-1.0, 1.0)
RANGE_SLACK = 0.01
"""How far a reference may overshoot, as a share of its range: resampling filters do."""


def unit_pair(
    reference: Tensor, reconstruction: Tensor, value_range: ValueRange = SIGNED
) -> tuple[Tensor, Tensor]:
    """Both clips (B, C, T, H, W) as float32 in 0..1."""
    if reference.dim() != 5 or reference.shape != reconstruction.shape:
        raise InputError(
            f"a reference of {tuple(reference.shape)} and a reconstruction of "
            f"{tuple(reconstruction.shape)} cannot be compared",
            allowed="two clips of one shape (batch, channels, frames, height, width)",
            hint="an image is a clip of one frame: x.unsqueeze(2)",
        )
    if reference.numel() == 0:
        raise InputError(f"the clips are empty: {tuple(reference.shape)}")
    low, high = value_range
    _check_range(reference, low, high)
    if not torch.isfinite(reconstruction).all():
        raise InputError("the reconstruction holds NaN or infinite values", hint="mend the model")
    return _to_unit(reference, low, high), _to_unit(reconstruction.to(reference.device), low, high)


def _check_range(reference: Tensor, low: float, high: float) -> None:
    least, most = (float(value) for value in torch.aminmax(reference))
    slack = RANGE_SLACK * (high - low)
    if not (low - slack <= least and most <= high + slack):
        raise InputError(
            f"the reference holds values from {least:.4g} to {most:.4g}",
            allowed=f"{low:g} to {high:g}",
            hint="state the clips' range: value_range=(0, 255) for uint8, (-1, 1) for tokenizers",
        )


def _to_unit(clip: Tensor, low: float, high: float) -> Tensor:
    return ((clip.float() - low) / (high - low)).clamp(0, 1)


def by_frames(
    measure: Callable[[Tensor, Tensor], Tensor],
    reference: Tensor,
    reconstruction: Tensor,
    at_once: int = 16,
) -> Tensor:
    """`measure` of frames (N, C, H, W) -> (N,), a bounded number at once, as (B, T)."""
    batch, _, frames = reference.shape[:3]
    pairs = zip(_frames(reference, at_once), _frames(reconstruction, at_once), strict=True)
    with _full_float32(reference.device):
        return torch.cat([measure(x, y) for x, y in pairs]).view(batch, frames)


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32: variances are small differences of large numbers."""
    with (
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        yield


def _frames(clips: Tensor, at_once: int) -> tuple[Tensor, ...]:
    return clips.transpose(1, 2).flatten(0, 1).split(at_once)


def per_clip(values: Tensor) -> Tensor:
    """The mean over all axes but the first, added up in float64."""
    return values.flatten(1).mean(1, dtype=torch.float64)


class ClipMetric(MeanMetric):
    """The mean over clips of a value that compares a clip with its reconstruction."""

    def __init__(self, value_range: ValueRange = SIGNED) -> None:
        super().__init__()
        self.value_range = value_range

    @abstractmethod
    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        """(B,) from two clips in 0..1."""

    @torch.no_grad()
    def update(self, reference: Tensor, reconstruction: Tensor) -> None:
        """Clips (B, C, T, H, W) in `value_range`."""
        self._mean.add(self.measure(*unit_pair(reference, reconstruction, self.value_range)))
