"""Convolutions in space and time that never look ahead, and continue where a stream left off.

Without a state, a layer sees the whole clip and pads its front with the first frame. With a state,
it sees the next piece and prepends the frames it kept from the piece before: the same numbers, in
pieces. A clip is 1 + k*step frames, so halving time keeps the first frame on its own: 1+4k frames
become 1+2k, then 1+k, and an image is a clip of one frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.layers.conv import Conv3d
from zoo.tokenizer import State

__all__ = ["CausalConv3d", "FrameNorm", "ResBlock", "SpaceDown", "SpaceUp", "TimeDown", "TimeUp"]


class CausalConv3d(nn.Module):
    """A 3D convolution whose output at a frame depends on that frame and earlier ones."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: tuple[int, int, int] = (3, 3, 3),
        stride: tuple[int, int, int] = (1, 1, 1),
    ):
        super().__init__()
        self.kept = kernel[0] - stride[0]
        self.front = kernel[0] - 1
        space = (0, kernel[1] // 2, kernel[2] // 2)
        self.conv = Conv3d(channels, out, kernel, stride, padding=space)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        if not self.front:
            return self.conv(x)
        if state is not None and self in state:
            x = torch.cat([state[self], x], dim=2)
        else:
            x = torch.cat([x[:, :, :1].expand(-1, -1, self.front, -1, -1), x], dim=2)
        if state is not None:
            state[self] = x[:, :, x.shape[2] - self.kept :]
        return self.conv(x)


class FrameNorm(nn.Module):
    """Group normalisation of each frame on its own, so that time stays causal."""

    def __init__(self, channels: int, groups: int = 8):
        super().__init__()
        self.norm = nn.GroupNorm(min(groups, channels), channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames, height, width = x.shape
        flat = x.transpose(1, 2).reshape(batch * frames, channels, height, width)
        return self.norm(flat).view(batch, frames, channels, height, width).transpose(1, 2)


class ResBlock(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.norm1, self.conv1 = FrameNorm(channels), CausalConv3d(channels, out)
        self.norm2, self.conv2 = FrameNorm(out), CausalConv3d(out, out)
        self.shortcut = Conv3d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)), state)
        y = self.conv2(functional.silu(self.norm2(y)), state)
        return self.shortcut(x) + y


class SpaceDown(nn.Module):
    """Half the rows and columns, one frame at a time."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv = Conv3d(channels, out, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return self.conv(x)


class SpaceUp(nn.Module):
    """Twice the rows and columns, one frame at a time."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv = Conv3d(channels, out, (1, 3, 3), padding=(0, 1, 1))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest"))


class TimeDown(CausalConv3d):
    """1+2k frames become 1+k."""

    def __init__(self, channels: int, out: int):
        super().__init__(channels, out, (3, 3, 3), (2, 1, 1))


class TimeUp(nn.Module):
    """1+k frames become 1+2k: every frame but the first turns into two."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv = CausalConv3d(channels, out * 2)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        fresh = state is None or self.conv not in state
        y = self.conv(x, state)
        batch, doubled, frames, height, width = y.shape
        y = y.view(batch, 2, doubled // 2, frames, height, width).permute(0, 2, 3, 1, 4, 5)
        y = y.reshape(batch, doubled // 2, frames * 2, height, width)
        return y[:, :, 1:] if fresh else y
