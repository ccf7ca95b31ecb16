"""Selection by what is looked at: dominant tokens stay, the rest is told in a few.

`zip_tokens` asks the encoder's own attention (VisionZip); `keep_for_text` asks a text, layer by
layer with a budget for each (SparseVLM).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.reduction.base import Reduced, counted, flat, gather, grid_of, merged, reduces
from zoo.reduction.merge import received

__all__ = ["for_layers", "keep_for_text", "text_relevance", "zip_tokens"]


@reduces("visionzip")
def zip_tokens(tokens: Tensor, attention: Tensor, dominant: int, context: int) -> Reduced:
    """The most attended tokens, and `context` means of the others.

    Args:
        attention: (B, N), (B, Q, N) or (B, heads, Q, N) of the encoder's last layers.
    """
    return _split(tokens, received(attention), dominant, context)


@reduces("sparsevlm")
def keep_for_text(tokens: Tensor, text: Tensor, keep: int, recycle: int = 0) -> Reduced:
    """The tokens that a text asks for, and `recycle` means of the others.

    Args:
        text: (B, L, D) its words in the space of the tokens.
    """
    return _split(tokens, text_relevance(flat(tokens), text), keep, recycle)


@reduces("sparsevlm")
def for_layers(
    tokens: Tensor, text: Tensor, budgets: Sequence[tuple[int, int]]
) -> Iterator[Reduced]:
    """`keep_for_text` once for each layer, always of what the layer before was left with.

    Indices and kept tokens are those of the input. The layers' own work between them is done by
    calling `keep_for_text` there.
    """
    so_far: Reduced | None = None
    for keep, recycle in budgets:
        left = tokens if so_far is None else so_far.tokens
        one = keep_for_text(left, text, keep, recycle)
        so_far = one if so_far is None else so_far.then(one)
        yield so_far


def text_relevance(line: Tensor, text: Tensor) -> Tensor:
    """(B, N) attention that the words give to tokens (B, N, D).

    Only words with more than the mean to do with the pictures are asked.
    """
    scores = text @ line.transpose(1, 2) / line.shape[-1] ** 0.5
    visual = scores.softmax(dim=1).mean(2)
    asked = visual >= visual.mean(1, keepdim=True)
    looks = scores.softmax(dim=2) * asked.unsqueeze(-1)
    return looks.sum(1) / asked.sum(1, keepdim=True)


def _split(tokens: Tensor, worth: Tensor, keep: int, rest: int) -> Reduced:
    """The `keep` tokens worth most, in order, then `rest` means of the others."""
    line = flat(tokens)
    batch, n = line.shape[:2]
    counted(keep + rest, n)
    if keep < 0 or rest < 0:
        raise UsageError(f"{keep} tokens and {rest} means", allowed="none or more of both")
    order = worth.argsort(dim=1, descending=True, stable=True)
    kept, others = order[:, :keep].sort(1).values, order[:, keep:].sort(1).values
    index = torch.full_like(order, -1)
    index = index.scatter(1, kept, torch.arange(keep, device=line.device).expand(batch, -1))
    if rest:
        index = index.scatter(1, others, keep + _nearest(gather(line, others), rest))
    left, weights = merged(line, index, keep + rest)
    chosen = functional.pad(kept, (0, rest), value=-1)
    return Reduced(left, weights, index, grid_of(tokens), kept=chosen)


def _nearest(line: Tensor, count: int) -> Tensor:
    """(B, n) which of `count` targets, evenly spread, each token (B, n, D) is most like."""
    n = line.shape[1]
    targets = torch.arange(count, device=line.device) * n // count
    unit = functional.normalize(line, dim=-1)
    near = (unit @ unit[:, targets].transpose(1, 2)).argmax(-1)
    return near.scatter(
        1,
        targets.expand(len(line), -1),
        torch.arange(count, device=line.device).expand(len(line), -1),
    )
