"""How a block mixes positions: all with all, along an axis of the grid.

Every mixer takes `x (B, N, dim)`, a `View` that says where the N positions are and who may see
whom, and an optional state that carries what came before. A mixer is registered by its name in
`MIXERS`; a configuration names the mixers of its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.layers.attention import Attention, rotary_angles
from zoo.tokenizer import State

__all__ = ["MIXERS", "Size", "View"]

_ALL = 1 << 40


class Size(Protocol):
    """What a mixer reads of a backbone's configuration."""

    dim: int
    heads: int
    shared_heads: int
    window: int


@dataclass(frozen=True)
class View:
    """Where positions are, and who sees whom.

    `positions` (N, axes) are places on the grid, time first, in the order of the sequence; `grid`
    is the grid's size where the sequence is the whole grid in raster order, which mixers along an
    axis need. `causal` hides what comes later in the sequence; `mask` (N, K) or (B, N, K) is True
    where a key may be seen.
    """

    positions: Tensor
    grid: tuple[int, ...] = ()
    causal: bool = False
    mask: Tensor | None = None

    def seen(self, count: int, before: int) -> Tensor:
        """(1 or B, count, before + count) True where seen; keys begin `before` earlier."""
        if self.mask is not None:
            return self.mask if self.mask.dim() == 3 else self.mask.unsqueeze(0)
        seen = torch.ones(count, before + count, dtype=torch.bool, device=self.positions.device)
        return (seen.tril(before) if self.causal else seen).unsqueeze(0)


class Full(nn.Module):
    """Attention of all positions to all, or to those that the view lets them see."""

    def __init__(self, size: Size):
        super().__init__()
        self.attention = Attention(size.dim, size.heads, shared=size.shared_heads)
        self.width = size.dim // size.heads

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        angles = rotary_angles(view.positions, self.width)
        mask, causal = view.mask, view.causal
        if mask is not None:
            mask = mask.unsqueeze(1) if mask.dim() == 3 else mask
            causal = False
        elif causal and state is not None and self.attention in state:
            before = state[self.attention][0].shape[2]
            mask, causal = view.seen(x.shape[1], before) if x.shape[1] > 1 else None, False
        return self.attention(x, None, angles, mask, None if state is None else state, _ALL, causal)


class Along(nn.Module):
    """Attention along one axis of the grid: `time`, or the axes of a frame."""

    def __init__(self, size: Size, *, time: bool):
        super().__init__()
        self.attention = Attention(size.dim, size.heads, shared=size.shared_heads)
        self.width, self.time = size.dim // size.heads, time

    def forward(self, x: Tensor, view: View, state: State | None) -> Tensor:
        frames, places = grid_of(view)
        cut = x.unflatten(1, (frames, places))
        axes = view.positions.unflatten(0, (frames, places))
        if self.time:
            cut = cut.transpose(1, 2)
            angles = rotary_angles(axes[:, 0, :1], self.width)
        else:
            angles = rotary_angles(axes[0, :, 1:], self.width)
        flat = cut.flatten(0, 1)
        y = self.attention(flat, None, angles, causal=view.causal and self.time).view(cut.shape)
        return (y.transpose(1, 2) if self.time else y).flatten(1, 2)


def grid_of(view: View) -> tuple[int, int]:
    """Frames, and positions of a frame, of a view of a whole grid."""
    if not view.grid:
        raise UsageError(
            "layers along one axis need the whole grid at once",
            allowed='mixers "full" for sequences that are not a grid',
        )
    frames = view.grid[0]
    return frames, len(view.positions) // frames


MIXERS: dict[str, Callable[[Any], nn.Module]] = {
    "full": Full,
    "time": lambda size: Along(size, time=True),
    "space": lambda size: Along(size, time=False),
}
