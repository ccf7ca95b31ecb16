"""Similarity to the frame before, then importance: FrameFusion."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError, UsageError
from zoo.reduction.base import (
    Reduced,
    flat,
    frames_of,
    gather,
    grid_of,
    merged,
    reduces,
)

__all__ = ["fuse"]


@reduces("framefusion")
def fuse(
    tokens: Tensor, importance: Tensor, reduction: float = 0.7, *, threshold: float = 0.6
) -> Reduced:
    """Merge tokens into the frame before where they are alike, then drop the least important.

    Args:
        importance: (B, N) of each token, such as the attention that it gets.
        reduction: this share of the tokens goes, whatever was merged.
        threshold: cosine to the token at the same place one frame earlier from which they are
            merged; the most alike first, and no more than have to go.
    """
    grid = frames_of(tokens)
    frames, places = grid_of(grid)
    line, total = flat(grid), frames * places
    if not 0 <= reduction < 1:
        raise UsageError(f"a reduction of {reduction:g}", allowed="0 to 1, which leaves nothing")
    if importance.shape != line.shape[:2]:
        raise InputError(f"importance {tuple(importance.shape)}", allowed=str(line.shape[:2]))
    left = max(1, total - round(reduction * total))
    alike = functional.cosine_similarity(grid[:, 1:], grid[:, :-1], dim=-1).flatten(1)
    place = alike.argsort(dim=1, descending=True, stable=True).argsort(1)
    joins = (alike > threshold) & (place < total - left)
    joins = functional.pad(joins, (places, 0))
    where = torch.arange(total, device=tokens.device).expand_as(importance)
    head = torch.where(joins, -1, where).unflatten(1, (frames, places)).cummax(1).values.flatten(1)
    fused, weights = merged(line, head, total)
    weight_of = torch.zeros_like(importance).scatter_reduce(1, head, importance, "amax")
    chosen = weight_of.masked_fill(joins, -torch.inf).argsort(dim=1, descending=True, stable=True)
    kept = chosen[:, :left].sort(1).values
    to = torch.full_like(where, -1).scatter(1, kept, where[:, :left])
    return Reduced(
        gather(fused, kept), weights.gather(1, kept), to.gather(1, head), (frames, places)
    )
