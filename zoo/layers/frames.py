"""Convolutional networks that see one frame at a time: encoder and decoder of image VQGANs.

Frames go through 2D convolutions as a batch, so ids of a frame never depend on its neighbours.
Both take a state as all networks here do, and leave it as it is.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional

from zoo.tokenizer import State

__all__ = ["FrameDecoder", "FrameEncoder", "by_frame"]


def by_frame(network: nn.Module, x: Tensor) -> Tensor:
    """What a network of pictures (N, C, H, W) gives for clips (B, C, T, H, W)."""
    batch, frames = x.shape[0], x.shape[2]
    y = network(x.transpose(1, 2).flatten(0, 1))
    return y.unflatten(0, (batch, frames)).transpose(1, 2)


class FrameEncoder(nn.Module):
    """(B, channels, T, H, W) to (B, dim, T, h, w); every entry of `widen` but one halves."""

    def __init__(self, channels: int, dim: int, width: int, widen: tuple[int, ...], blocks: int):
        super().__init__()
        widths = [width * factor for factor in widen]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
        layers += _blocks(widths[0], blocks)
        for before, after in itertools.pairwise(widths):
            layers.append(nn.Conv2d(before, after, 3, 2, padding=1))
            layers += _blocks(after, blocks)
        self.layers = nn.Sequential(*layers, *_head(widths[-1], dim))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return by_frame(self.layers, x)


class FrameDecoder(nn.Module):
    """(B, dim, T, h, w) to (B, channels, T, H, W)."""

    def __init__(self, dim: int, channels: int, width: int, widen: tuple[int, ...], blocks: int):
        super().__init__()
        widths = [width * factor for factor in widen][::-1]
        layers: list[nn.Module] = [nn.Conv2d(dim, widths[0], 3, padding=1)]
        layers += _blocks(widths[0], blocks)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
            layers += _blocks(after, blocks)
        self.layers = nn.Sequential(*layers, *_head(widths[-1], channels))

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        return by_frame(self.layers, z)


class _Block(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = _norm(width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(8, width), width, eps=1e-6)


def _blocks(width: int, count: int) -> list[nn.Module]:
    return [_Block(width) for _ in range(count)]


def _head(width: int, out: int) -> list[nn.Module]:
    return [_norm(width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1)]
