"""Pixels as patches of some frames by some rows and columns, and back.

cut(x, 4, 8)                   # (B, C, T, H, W) to (B, T/4, H/8, W/8, C*4*8*8)
join(cut(x, 4, 8), 4, 8)       # x again
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FromPatches", "ToPatches", "cut", "join"]

COLOURS = 3


def cut(x: Tensor, frames: int, side: int) -> Tensor:
    """Values of each patch as channels, channels last."""
    x = x.unflatten(4, (-1, side)).unflatten(3, (-1, side)).unflatten(2, (-1, frames))
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def join(x: Tensor, frames: int, side: int) -> Tensor:
    """What `cut` took apart."""
    x = x.unflatten(4, (-1, frames, side, side)).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class ToPatches(nn.Module):
    """Embeds patches of `frames` by `side`; with `image_first`, the first frame on its own."""

    def __init__(self, width: int, frames: int, side: int, image_first: bool = False):
        super().__init__()
        self.frames, self.side = frames, side
        self.clip = nn.Linear(COLOURS * frames * side**2, width)
        self.image = nn.Linear(COLOURS * side**2, width) if image_first else None

    def forward(self, x: Tensor, fresh: bool = True) -> Tensor:
        """(B, 3, T, H, W) to (B, T', H', W', width); `fresh` where a clip begins."""
        parts = []
        if self.image is not None and fresh:
            parts.append(self.image(cut(x[:, :, :1], 1, self.side)))
            x = x[:, :, 1:]
        if x.shape[2]:
            parts.append(self.clip(cut(x, self.frames, self.side)))
        return torch.cat(parts, dim=1)


class FromPatches(nn.Module):
    """The way back: channels to pixels."""

    def __init__(self, width: int, frames: int, side: int, image_first: bool = False):
        super().__init__()
        self.frames, self.side = frames, side
        self.clip = nn.Linear(width, COLOURS * frames * side**2)
        self.image = nn.Linear(width, COLOURS * side**2) if image_first else None

    def forward(self, x: Tensor, fresh: bool = True) -> Tensor:
        parts = []
        if self.image is not None and fresh:
            parts.append(join(self.image(x[:, :1]), 1, self.side))
            x = x[:, 1:]
        if x.shape[1]:
            parts.append(join(self.clip(x), self.frames, self.side))
        return torch.cat(parts, dim=2)
