"""Convolutions along time for motion: the encoder and decoder that T2M-GPT made common.

Halvings by strided convolutions, each followed by residual blocks with growing dilation. Without
`causal` a convolution sees both sides and the whole clip is one piece. With it, an output depends
on earlier frames only, and a state lets it continue where a stream left off. Both pad with zeros:
features are normalised, so zero is the mean pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.tokenizer import State

__all__ = ["Conv1d", "Decoder1d", "Encoder1d", "Layout"]


@dataclass(frozen=True)
class Layout:
    """What an encoder and its decoder have in common."""

    features: int
    dim: int
    halvings: int
    dilation: int
    causal: bool
    norm: bool = False


class Conv1d(nn.Module):
    """A convolution that turns L frames into L / stride."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        *,
        causal: bool,
    ):
        super().__init__()
        reach = dilation * (kernel - 1) + 1 - stride
        self.front = reach if causal else 0
        padding = 0 if causal else reach // 2
        self.conv = nn.Conv1d(channels, out, kernel, stride, padding, dilation)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        if not self.front:
            return self.conv(x)
        if state is not None and self in state:
            x = torch.cat([state[self], x], dim=2)
        else:
            x = functional.pad(x, (self.front, 0))
        if state is not None:
            state[self] = x[:, :, x.shape[2] - self.front :]
        return self.conv(x)


class Block(nn.Module):
    """A dilated convolution and a pointwise one beside a shortcut."""

    def __init__(self, width: int, dilation: int, layout: Layout):
        super().__init__()
        self.norm1 = _FrameNorm(width) if layout.norm else nn.Identity()
        self.conv1 = Conv1d(width, width, dilation=dilation, causal=layout.causal)
        self.norm2 = _FrameNorm(width) if layout.norm else nn.Identity()
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.conv1(functional.relu(self.norm1(x)), state)
        return x + self.conv2(functional.relu(self.norm2(y)))


class Encoder1d(nn.Module):
    """(B, features, T) to (B, dim, T / 2**halvings)."""

    def __init__(self, layout: Layout, width: int, blocks: int):
        super().__init__()
        self.stem = Conv1d(layout.features, width, causal=layout.causal)
        layers: list[nn.Module] = []
        for _ in range(layout.halvings):
            layers.append(Conv1d(width, width, 4, 2, causal=layout.causal))
            layers += _blocks(layout, width, blocks)
        self.layers = nn.ModuleList(layers)
        self.head = Conv1d(width, layout.dim, causal=layout.causal)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = functional.relu(self.stem(x, state))
        for layer in self.layers:
            x = layer(x, state)
        return self.head(x, state)


class Decoder1d(nn.Module):
    """(B, dim, T / 2**halvings) to (B, features, T)."""

    def __init__(self, layout: Layout, width: int, blocks: int):
        super().__init__()
        self.stem = Conv1d(layout.dim, width, causal=layout.causal)
        layers: list[nn.Module] = []
        for _ in range(layout.halvings):
            layers += _blocks(layout, width, blocks)
            layers.append(_Double(width, causal=layout.causal))
        self.layers = nn.ModuleList(layers)
        self.tail = Conv1d(width, width, causal=layout.causal)
        self.head = Conv1d(width, layout.features, causal=layout.causal)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        x = functional.relu(self.stem(x, state))
        for layer in self.layers:
            x = layer(x, state)
        return self.head(functional.relu(self.tail(x, state)), state)


class _Double(Conv1d):
    """Every frame twice, then a convolution."""

    def __init__(self, width: int, *, causal: bool):
        super().__init__(width, width, causal=causal)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return super().forward(x.repeat_interleave(2, dim=2), state)


class _FrameNorm(nn.LayerNorm):
    """Layer normalisation of the channels of each frame."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def _blocks(layout: Layout, width: int, blocks: int) -> list[nn.Module]:
    """From the widest dilation to 1."""
    return [Block(width, layout.dilation**depth, layout) for depth in reversed(range(blocks))]
