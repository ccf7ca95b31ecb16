"""Feature nets that perceptual and Frechet distances plug in, and one that needs no weights.

A feature net turns frames into maps at several depths. `FilterBank` is fixed arithmetic: oriented
edge filters at four scales, brightness and colour contrast, as in early vision. It makes distances
available offline and the same everywhere. It was trained on nothing and its agreement with human
judgement is not known, so its numbers must not be called LPIPS, FID or FVD.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from zoo.errors import InputError
from zoo.metrics.clips import SIGNED, ValueRange, unit_pair

__all__ = ["FeatureNet", "FilterBank", "as_rgb", "clip_features"]


class FeatureNet(nn.Module):
    """Frames (N, 3, H, W) in -1..1 to maps (N, C, h, w), shallow to deep.

    `sha256` names the weights' file, where there is one. `channel_weights` are learned weights of
    each map's channels for a perceptual distance, (C, 1, 1) each; empty where none were learned.
    """

    name: str
    sha256: str = ""
    channel_weights: Sequence[Tensor] = ()

    @abstractmethod
    def forward(self, frames: Tensor) -> list[Tensor]:
        """Maps at every depth."""

    @property
    def identity(self) -> str:
        """The name, with the weights' hash where there are weights."""
        return f"{self.name} sha256 {self.sha256[:12]}" if self.sha256 else self.name


class FilterBank(FeatureNet):
    """Signed edges at four orientations, two phases and four scales, with brightness and colour.

    A constant channel of `GAIN` keeps the norm of a flat patch away from zero, so that unit
    normalisation acts as contrast gain control and does not blow up noise.
    """

    name = "filter_bank_v1"

    SCALES = 4
    ORIENTATIONS = 4
    REACH = 3
    SIGMA = 1.6
    WAVELENGTH = 4.5
    GAIN = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", self._edge_filters(), persistent=False)

    @classmethod
    def _edge_filters(cls) -> Tensor:
        """Gabor filters (2 * ORIENTATIONS, 1, size, size): zero mean, unit absolute sum."""
        axis = torch.arange(-cls.REACH, cls.REACH + 1, dtype=torch.float64)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        window = torch.exp(-(x**2 + y**2) / (2 * cls.SIGMA**2))
        filters = []
        for turn in range(cls.ORIENTATIONS):
            angle = math.pi * turn / cls.ORIENTATIONS
            phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / cls.WAVELENGTH
            for wave in (torch.cos(phase), torch.sin(phase)):
                level = (window * wave).sum() / window.sum()
                filters.append(window * (wave - level))
        bank = torch.stack([kernel / kernel.abs().sum() for kernel in filters])
        return bank.unsqueeze(1).float()

    def forward(self, frames: Tensor) -> list[Tensor]:
        red, green, blue = frames.unbind(1)
        light = (red + green + blue) / 3
        colour = torch.stack([(red - green) / 2, (red + green - 2 * blue) / 4], 1)
        maps = []
        for scale in range(self.SCALES):
            if scale:
                light, colour = _half(light), _half(colour)
            maps.append(self._maps(light.unsqueeze(1), colour))
        return maps

    def _maps(self, light: Tensor, colour: Tensor) -> Tensor:
        reach = [self.REACH] * 4
        edges = F.conv2d(F.pad(light, reach, mode="replicate"), self.edges)
        signed = torch.cat([edges, colour], 1)
        constant = torch.full_like(light, self.GAIN)
        return torch.cat([signed.relu(), (-signed).relu(), (light + 1) / 2, constant], 1)


def _half(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, 2, ceil_mode=True)


def as_rgb(frames: Tensor) -> Tensor:
    """Frames (N, 1 or 3, H, W) with three channels."""
    if frames.shape[1] not in (1, 3):
        raise InputError(f"{frames.shape[1]} channels are no picture", allowed="1 or 3 channels")
    return frames.expand(-1, 3, -1, -1)


@torch.no_grad()
def clip_features(
    net: FeatureNet, clips: Tensor, *, value_range: ValueRange = SIGNED, at_once: int = 16
) -> Tensor:
    """One vector (B, D) for each clip (B, C, T, H, W), for a Frechet distance.

    Of every channel at every depth: its mean and deviation over the clip, and its absolute change
    from frame to frame, averaged over the clip (0 for a single frame).
    """
    unit, _ = unit_pair(clips, clips, value_range)
    batch, _, frames = unit.shape[:3]
    pictures = as_rgb(unit.transpose(1, 2).flatten(0, 1)) * 2 - 1
    depths = zip(*(net(part) for part in pictures.split(at_once)), strict=True)
    parts = []
    for depth in depths:
        maps = torch.cat(depth).unflatten(0, (batch, frames)).double()
        parts += [maps.mean((1, 3, 4)), maps.std((1, 3, 4), correction=0)]
        parts.append(maps.diff(dim=1).abs().sum((1, 3, 4)) / maps[0, :, 0].numel())
    return torch.cat(parts, 1)
