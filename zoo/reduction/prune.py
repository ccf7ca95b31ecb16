"""What stands still once, then what is looked at: PruneVid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError, UsageError
from zoo.reduction.base import Reduced, flat, frames_of, gather, grid_of, merged, reduces, stacked
from zoo.reduction.merge import merge_more

__all__ = ["prune"]


@reduces("prunevid")
def prune(
    tokens: Tensor,
    attention: Tensor,
    share: float = 0.2,
    *,
    window: int = 8,
    alike: float = 0.9,
) -> Reduced:
    """Merge what is static, then what is alike in space, then keep what is attended to.

    Args:
        attention: (B, N) that the question gives to each token.
        share: at most this share of the tokens is left.
    """
    frames, places = grid_of(tokens)
    most = int(share * frames * places)
    if most < 1 or share > 1:
        raise UsageError(f"a share of {share:g} of {frames * places} tokens", allowed="one or more")
    if attention.shape != (len(tokens), frames * places):
        raise InputError(
            f"attention {tuple(attention.shape)}", allowed=f"{(len(tokens), frames * places)}"
        )
    parts = []
    for clip, looked in zip(frames_of(tokens).split(1), attention.split(1), strict=True):
        still = _merge_static(clip, window, alike)
        parts.append(_looked_at(still, looked, most))
    return stacked(parts)


def _looked_at(still: Reduced, attention: Tensor, most: int) -> Reduced:
    """At most `most` tokens: twice as many by likeness, of these the most attended."""
    near = merge_more(still, min(still.tokens.shape[1], 2 * most))
    assert near.index is not None
    count = near.tokens.shape[1]
    looked = attention.new_zeros(1, count).scatter_reduce(1, near.index, attention, "amax")
    kept = looked.argsort(dim=1, descending=True, stable=True)[:, :most].sort(1).values
    order = torch.arange(kept.shape[1], device=kept.device).unsqueeze(0)
    to = torch.full_like(looked, -1, dtype=torch.long).scatter(1, kept, order)
    chosen = Reduced(gather(near.tokens, kept), near.weights.gather(1, kept), to, (1, count))
    return near.then(chosen)


def _merge_static(clip: Tensor, window: int, alike: float) -> Reduced:
    frames, places = grid_of(clip)
    where = torch.arange(frames * places, device=clip.device).view(frames, places)
    to = where.clone()
    for start in range(0, frames, window):
        part = clip[0, start : start + window]
        near = functional.cosine_similarity(part, part.mean(0, keepdim=True), dim=-1)
        static = near.amin(0) >= alike
        to[start : start + window] = torch.where(static, where[start], to[start : start + window])
    to = to.flatten()
    stays = to == where.flatten()
    index = (stays.cumsum(0) - 1)[to].unsqueeze(0)
    return Reduced(*merged(flat(clip), index, int(stays.sum())), index, (frames, places))
