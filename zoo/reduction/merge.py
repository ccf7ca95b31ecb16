"""Merging without training: the most alike of two halves become weighted means.

Bipartite soft matching (ToMe, arXiv 2210.09461): every second token looks for its nearest among the
others, and as many as have to go are merged with what they found, round by round until so many are
left as were asked for. With saliency, means lean to what is salient (Video Token Merging), and the
background can be dropped first (vid-TLDR).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError
from zoo.reduction.base import (
    Reduced,
    counted,
    flat,
    grid_of,
    kept_only,
    merged,
    reduces,
    stacked,
)

__all__ = ["match", "merge_more", "merge_salient", "merge_to", "received", "sharpness"]


def match(keys: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """(B, N) of 0 .. count - 1: which of the keys (B, N, D) become one, in the order of the first.

    Groups are means with `weights` (B, N) when the next round compares them.
    """
    batch, n = keys.shape[:2]
    counted(count, n)
    weights = keys.new_ones(batch, n) if weights is None else weights
    index = torch.arange(n, device=keys.device).expand(batch, n)
    while keys.shape[1] > count:
        n = keys.shape[1]
        leaving = min(n // 2, n - count)
        group = _round(keys, leaving)
        keys, weights = merged(keys, group, n - leaving, weights)
        index = group.gather(1, index)
    return _by_first(index, count)


def _round(keys: Tensor, leaving: int) -> Tensor:
    """(B, n) the group of each token after `leaving` of the even ones joined odd ones."""
    unit = functional.normalize(keys, dim=-1)
    score, to = (unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)).max(-1)
    goes = score.argsort(dim=1, descending=True, stable=True)[:, :leaving]
    group = torch.arange(keys.shape[1], device=keys.device).repeat(len(keys), 1)
    group = group.scatter(1, 2 * goes, 2 * to.gather(1, goes) + 1)
    used = torch.zeros_like(group).scatter(1, group, 1)
    return (used.cumsum(1) - 1).gather(1, group)


def _by_first(index: Tensor, count: int) -> Tensor:
    """Groups numbered by their first member."""
    places = torch.arange(index.shape[1], device=index.device).expand_as(index)
    first = index.new_zeros(len(index), count).scatter_reduce(
        1, index, places, "amin", include_self=False
    )
    return first.argsort(1).argsort(1).gather(1, index)


@reduces("vtm")
def merge_to(tokens: Tensor, count: int, saliency: Tensor | None = None) -> Reduced:
    """Merge all tokens to `count`; `saliency` (B, N), above zero, weighs the means.

    The mean of all tokens, each with its weight, stays what it was.
    """
    line = flat(tokens)
    if saliency is not None and (saliency.shape != line.shape[:2] or bool((saliency <= 0).any())):
        raise InputError(
            f"saliency of shape {tuple(saliency.shape)}",
            allowed=f"{tuple(line.shape[:2])}, every value above zero",
        )
    index = match(line, count, saliency)
    return Reduced(*merged(line, index, count, saliency), index, grid_of(tokens))


@reduces("vid-tldr")
def merge_salient(tokens: Tensor, attention: Tensor, count: int, *, floor: float = 1.0) -> Reduced:
    """Drop the background, then merge the rest to at most `count`, with saliency as weight.

    Args:
        attention: (B, N, N) or (B, heads, N, N), of an early layer.
        floor: tokens below this many times the mean saliency are background.
    """
    saliency = (sharpness(attention) * received(attention)).clamp(min=1e-6)
    front = saliency >= floor * saliency.mean(1, keepdim=True)
    parts = []
    for clip, weights, inside in zip(tokens.split(1), saliency.split(1), front, strict=True):
        inside = inside | (weights[0] == weights.max())
        only = kept_only(clip, inside.nonzero().T)
        left = min(count, only.tokens.shape[1])
        parts.append(only.then(merge_to(only.tokens, left, weights[:, inside])))
    return stacked(parts)


def merge_more(reduced: Reduced, count: int) -> Reduced:
    """Merge what another reduction left, with its weights."""
    index = match(reduced.tokens, count, reduced.weights)
    left = merged(reduced.tokens, index, count, reduced.weights)
    return reduced.then(Reduced(*left, index, (1, reduced.tokens.shape[1])))


def received(attention: Tensor) -> Tensor:
    """(B, N) how much attention each key gets on average, of (B, N) to (B, heads, Q, N)."""
    return attention if attention.dim() == 2 else attention.flatten(1, -2).mean(1)


def sharpness(attention: Tensor) -> Tensor:
    """(B, N) how little a token spreads its attention: 1 for one key alone, 0 for all alike."""
    heads = attention if attention.dim() == 4 else attention.unsqueeze(1)
    spread = -(heads * heads.clamp(min=1e-12).log()).sum(-1).mean(1)
    return 1 - spread / math.log(max(2, heads.shape[-1]))
