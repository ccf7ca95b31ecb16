"""Frames condensed to a few vectors, alone or as what is new after the frame before.

`Condenser` appends learned tokens to a frame; they read it, and are all that a language model gets
to see (VoCo-LLaMA). `Progressive` sends what the frame before has not told yet, so that frames
that repeat add nothing (PVC).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.attention import TransformerLayer
from zoo.reduction.base import Reduced, counted, frames_of, grid_of, reduces

__all__ = ["Condenser", "Progressive"]

MOST = 64


@reduces("voco-llama")
class Condenser(nn.Module):
    """Any number up to `most` of compression tokens for each frame.

    A token sees its frame and the compression tokens before it, so fewer are the beginning of more.
    """

    def __init__(self, dim: int, heads: int, *, depth: int = 2, most: int = 8):
        super().__init__()
        self.asked = nn.Parameter(torch.randn(most, dim) * dim**-0.5)
        self.layers = nn.ModuleList(TransformerLayer(dim, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(dim)

    def forward(self, tokens: Tensor, count: int) -> Reduced:
        grid = frames_of(tokens)
        frames, places = grid_of(grid)
        counted(count, len(self.asked), "compression tokens")
        film = grid.flatten(0, 1)
        x = torch.cat([film, self.asked[:count].expand(len(film), -1, -1)], dim=1)
        where = torch.arange(places + count, device=x.device)
        seen = (where < places) | ((where <= where[:, None]) & (where[:, None] >= places))
        for layer in self.layers:
            x = layer(x, mask=seen)
        left = self.norm(x[:, places:]).unflatten(0, grid.shape[:2]).flatten(1, 2)
        weights = left.new_full(left.shape[:2], places / count)
        return Reduced(left, weights, None, (frames, places))


@reduces("pvc")
class Progressive(nn.Module):
    """At most 64 tokens for each frame, of what it adds to the frame before.

    The weights are how much each token tells that is new. An image is a clip that stands still for
    `still` frames.
    """

    def __init__(self, dim: int, *, count: int = MOST, still: int = 4):
        super().__init__()
        if not 1 <= count <= MOST:
            raise UsageError(f"{count} tokens for a frame", allowed=f"1 to {MOST}")
        self.count, self.still = count, still
        self.write = nn.Sequential(
            nn.Linear(dim, dim, bias=False), nn.SiLU(), nn.Linear(dim, dim, bias=False)
        )

    def forward(self, tokens: Tensor) -> Reduced:
        grid = frames_of(tokens)
        if tokens.dim() == 3:
            grid = grid.expand(-1, self.still, -1, -1)
        frames, places = grid_of(grid)
        news = grid - functional.pad(grid, (0, 0, 0, 0, 1, 0))[:, :-1]
        count = min(self.count, places)
        film = news.flatten(0, 1).transpose(1, 2)
        few = functional.adaptive_avg_pool1d(film, count).transpose(1, 2)
        left = (few + self.write(few)).unflatten(0, grid.shape[:2]).flatten(1, 2)
        return Reduced(left, left.norm(dim=-1), None, (frames, places))
