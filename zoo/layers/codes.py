"""Ids in and out of a generator: embeddings of every level, logits of every level, drawing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.generator import Decoding

__all__ = ["CodeEmbedding", "CodeHead", "PlaceEmbedding", "choose", "guided", "warped"]


class CodeEmbedding(nn.Module):
    """Ids (B, N, levels) to the sum of their embeddings, (B, N, dim).

    Each level has `extra` ids behind its codes, for a mask or an end.
    """

    def __init__(self, levels: Sequence[int], dim: int, extra: int = 0):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(codes + extra, dim) for codes in levels)

    def forward(self, ids: Tensor) -> Tensor:
        parts = [table(ids[..., level]) for level, table in enumerate(self.tables)]
        return torch.stack(parts).sum(0)


class CodeHead(nn.Module):
    """Features to the logits of every level: a list of (B, N, codes)."""

    def __init__(self, levels: Sequence[int], dim: int, extra: int = 0):
        super().__init__()
        self.outs = nn.ModuleList(nn.Linear(dim, codes + extra) for codes in levels)
        for out in self.outs:
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [out(x) for out in self.outs]


class PlaceEmbedding(nn.Module):
    """A learned vector for each place along each axis, added up: (N, axes) to (N, dim)."""

    def __init__(self, grid: Sequence[int], dim: int):
        super().__init__()
        self.axes = nn.ModuleList(nn.Embedding(extent, dim) for extent in grid)

    def forward(self, positions: Tensor) -> Tensor:
        parts = [table(positions[..., axis]) for axis, table in enumerate(self.axes)]
        return torch.stack(parts).sum(0)


def guided(asked: Tensor, unasked: Tensor | None, guidance: float) -> Tensor:
    """Logits or velocities pushed away from what would come without conditions."""
    if unasked is None:
        return asked
    pushed = unasked + guidance * (asked - unasked)
    return torch.where(asked.isneginf(), asked, pushed)


def warped(logits: Tensor, decoding: Decoding) -> Tensor:
    """Logits after temperature, top-k and top-p; temperature 0 leaves the likeliest alone."""
    if decoding.temperature == 0:
        best = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter(-1, best, 0.0)
    logits = logits / decoding.temperature
    if 0 < decoding.top_k < logits.shape[-1]:
        least = logits.topk(decoding.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if decoding.top_p < 1:
        ordered, index = logits.sort(dim=-1, descending=True)
        shares = functional.softmax(ordered, dim=-1)
        beyond = shares.cumsum(-1) - shares >= decoding.top_p
        logits = logits.masked_fill(beyond.scatter(-1, index, beyond), -torch.inf)
    return logits


def choose(logits: Tensor, decoding: Decoding, dice: torch.Generator) -> Tensor:
    """Ids drawn from logits (..., codes)."""
    shares = functional.softmax(warped(logits.float(), decoding), dim=-1)
    drawn = torch.multinomial(shares.flatten(0, -2), 1, generator=dice)
    return drawn.view(shares.shape[:-1])
