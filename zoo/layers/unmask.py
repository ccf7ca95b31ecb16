"""One step of drawing behind masks: guess everything that is hidden, keep what is surest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from zoo.generator import Decoding
from zoo.layers.codes import choose
from zoo.layers.schedules import first_ranks

__all__ = ["keep_surest"]


def keep_surest(
    ids: Tensor,
    hidden: Tensor,
    logits: Sequence[Tensor],
    left: Tensor,
    decoding: Decoding,
    dice: torch.Generator,
    *,
    noise: Tensor | float = 0.0,
    levels: Iterable[int] | None = None,
) -> Tensor:
    """Write guesses into `ids (B, N, levels)` until `left (B,)` of the hidden places remain.

    Returns what is still hidden. `noise` is the temperature of noise on how sure a guess is.
    """
    guesses, sure = {}, torch.zeros(hidden.shape, device=ids.device)
    for level in range(len(logits)) if levels is None else levels:
        guess = choose(logits[level], decoding, dice)
        shares = logits[level].float().log_softmax(-1)
        sure = sure + shares.gather(-1, guess.unsqueeze(-1)).squeeze(-1)
        guesses[level] = guess
    rolls = torch.rand(hidden.shape, generator=dice, device=ids.device)
    gumbel = -(-rolls.clamp(1e-9, 1 - 1e-7).log()).log()
    doubt = -(sure + noise * gumbel)
    done = (hidden.sum(1) - left).clamp(min=0)
    kept = hidden & first_ranks(doubt.masked_fill(~hidden, torch.inf), done)
    for level, guess in guesses.items():
        ids[..., level] = torch.where(kept, guess, ids[..., level])
    return hidden & ~kept
