"""One budget for merging and pruning, after AIM: merge while the pictures alone are known, prune
once it is known what matters."""

from __future__ import annotations

from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.reduction.base import Reduced, counted, flat, grid_of, kept_only, reduces
from zoo.reduction.merge import merge_to

__all__ = ["adapt"]


@reduces()
def adapt(tokens: Tensor, importance: Tensor, budget: float) -> Reduced:
    """Merge to the root of `budget`, a share of the tokens, then keep the most important of these.

    Args:
        importance: (B, N) of each token. Merged ones are as important as the most important of
            them.
    """
    frames, places = grid_of(tokens)
    total = frames * places
    if not 0 < budget <= 1:
        raise UsageError(f"a budget of {budget:g}", allowed="more than 0, at most 1")
    if importance.shape != flat(tokens).shape[:2]:
        raise InputError(f"importance {tuple(importance.shape)}", allowed="a value for each token")
    count = counted(max(1, round(budget * total)), total)
    near = merge_to(tokens, max(count, round(budget**0.5 * total)))
    assert near.index is not None
    worth = importance.new_zeros(near.tokens.shape[:2])
    worth = worth.scatter_reduce(1, near.index, importance, "amax")
    best = worth.argsort(dim=1, descending=True, stable=True)[:, :count].sort(1).values
    left = near.then(kept_only(near.tokens, best))
    return Reduced(left.tokens, near.weights.gather(1, best), left.index, (frames, places))
