"""How many ordered tokens each clip needs: simple pictures are worth fewer than rich ones.

counts, errors = tokens_for_error(tokenizer, x, target=0.01)
tokenizer.encode(x[:1]).keep(int(counts[0]))
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.spec import StreamSpec
from zoo.tokenizer import Tokenizer
from zoo.tokens import Tokens

__all__ = ["prefix_errors", "tokens_for_error"]


def prefix_errors(tokenizer: Tokenizer, tokens: Tokens, x: Tensor, count: int) -> Tensor:
    """Mean squared error (B,) of each clip when its first `count` tokens are decoded."""
    back = tokenizer.decode(tokens.keep(count))
    return (back - x.to(back)).square().flatten(1).mean(dim=1)


def tokens_for_error(tokenizer: Tokenizer, x: Tensor, target: float) -> tuple[Tensor, Tensor]:
    """For each clip, the number of tokens whose error is at most `target`, and that error.

    Found by halving, so it is the smallest number where the error falls with the prefix, as nested
    training makes it do. A clip whose error stays above the target with every token gets them all:
    compare the error that is returned.
    """
    if target <= 0:
        raise UsageError(f"an error of {target:g} cannot be aimed at", allowed="above 0")
    tokens = tokenizer.encode(x)
    found = [
        _smallest(tokenizer, tokens.select(slice(i, i + 1)), x[i], target) for i in range(len(x))
    ]
    counts, errors = zip(*found, strict=True)
    return torch.tensor(counts), torch.stack(errors)


def _smallest(
    tokenizer: Tokenizer, tokens: Tokens, clip: Tensor, target: float
) -> tuple[int, Tensor]:
    low, high = 1, _most(tokens.spec.streams[0])
    error = prefix_errors(tokenizer, tokens, clip[None], high)[0]
    while low < high and error <= target:
        middle = (low + high) // 2
        tried = prefix_errors(tokenizer, tokens, clip[None], middle)[0]
        if tried <= target:
            high, error = middle, tried
        else:
            low = middle + 1
    return high, error


def _most(stream: StreamSpec) -> int:
    if stream.ordered == "level":
        return len(stream.levels)
    return next((axis.extent for axis in stream.axes if axis.name == stream.ordered), 1)
