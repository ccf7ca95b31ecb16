"""Pooling to a grid of exact size, in which a prompt says what counts: PPLLaVA."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.reduction.base import Reduced, frames_of, grid_of, reduces

__all__ = ["pool_for"]


@reduces("ppllava")
def pool_for(
    tokens: Tensor,
    prompt: Tensor,
    to: tuple[int, int, int],
    *,
    sides: tuple[int, int] | None = None,
    sharpness: float = 10.0,
) -> Reduced:
    """Pool to `to` (frames, rows, columns), whatever the clip's length.

    Each is the mean of its cell; tokens count the more, the nearer they are to the prompt.

    Args:
        prompt: (B, D) in the space of the tokens.
        sides: rows and columns of a frame; None for a square.
        sharpness: 0 counts all alike.
    """
    grid = frames_of(tokens)
    frames, places = grid_of(grid)
    rows, columns = sides or (math.isqrt(places), math.isqrt(places))
    if rows * columns != places or min(to) < 1:
        raise UsageError(
            f"{places} places as {rows} rows of {columns}, to {to}",
            allowed="sides whose product is the number of places; at least 1 along each axis",
        )
    alike = functional.cosine_similarity(grid, prompt[:, None, None], dim=-1)
    weights = (sharpness * alike).exp().unflatten(2, (rows, columns)).unsqueeze(1)
    film = grid.movedim(-1, 1).unflatten(3, (rows, columns))
    total = functional.adaptive_avg_pool3d(weights, to)
    pooled = functional.adaptive_avg_pool3d(film * weights, to) / total
    return Reduced(pooled.flatten(2).transpose(1, 2), total.flatten(1), None, (frames, places))
