"""Convolutions that keep a clip's length, or divide and multiply it by their stride.

What is missing at the edges is given beforehand, one more in front where it is odd, with the edge
repeated or zeros: as VideoGPT does it, and everything that was built on its code.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from zoo.layers.conv import Conv3d

__all__ = ["Padding", "SameConv3d", "SameConvTranspose3d", "halvings"]

Padding = Literal["constant", "replicate"]
Triple = tuple[int, int, int]


def halvings(factors: Triple) -> list[Triple]:
    """The stride of each layer that together divide (time, rows, columns) by `factors`."""
    left = [factor.bit_length() - 1 for factor in factors]
    strides = []
    for done in range(max(left)):
        time, rows, columns = (2 if count > done else 1 for count in left)
        strides.append((time, rows, columns))
    return strides


def _edges(kernel: int, stride: Triple) -> list[int]:
    """How much is added around, the last axis first."""
    missing = [kernel - step for step in reversed(stride)]
    return [side for count in missing for side in (count - count // 2, count // 2)]


class SameConv3d(nn.Module):
    """n positions become n / stride."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        stride: Triple = (1, 1, 1),
        *,
        padding: Padding = "constant",
        bias: bool = True,
    ):
        super().__init__()
        self.edges, self.padding = _edges(kernel, stride), padding
        self.conv = Conv3d(channels, out, kernel, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, self.edges, mode=self.padding))


class SameConvTranspose3d(nn.Module):
    """n positions become n * stride."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: Triple, *, padding: Padding = "constant"
    ):
        super().__init__()
        self.edges, self.padding = _edges(kernel, stride), padding
        self.convt = nn.ConvTranspose3d(channels, out, kernel, stride, padding=kernel - 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convt(functional.pad(x, self.edges, mode=self.padding))
