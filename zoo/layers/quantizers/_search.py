"""Nearest rows of a table, and k-means on top of it.

Distances by matrix multiplication are fast but round differently with the number of rows, so
that the same latent could get another id in another batch. The product therefore only names a
short list, and the exact differences, which each row computes by itself, decide. The table of
distances is made in slices: its size is bounded whatever the batch and the codebook.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "TABLE_ENTRIES_AT_ONCE",
    "Surface",
    "anywhere",
    "assign",
    "kmeans",
    "means",
    "nearest",
    "on_sphere",
]

_SHORT_LIST = 4
TABLE_ENTRIES_AT_ONCE = 2**24
_SMALLEST_COUNT = 1e-6

Surface = Callable[[Tensor], Tensor]
"""Moves vectors to the nearest point of where codes may lie."""


def anywhere(vectors: Tensor) -> Tensor:
    return vectors


def on_sphere(vectors: Tensor) -> Tensor:
    """Unit vectors: the nearest of them is the one of largest cosine."""
    return torch.nn.functional.normalize(vectors, dim=-1, eps=1e-6)


@torch.no_grad()
def nearest(rows: Tensor, table: Tensor) -> Tensor:
    """Index of the nearest row of `table (K, D)` for each of `rows (..., D)`; ties go low."""
    flat = rows.reshape(-1, rows.shape[-1])
    norms = table.square().sum(-1)
    at_once = max(1, TABLE_ENTRIES_AT_ONCE // table.shape[0])
    parts = [_nearest_slice(part, table, norms) for part in flat.split(at_once)]
    ids = torch.cat(parts) if parts else flat.new_zeros(0, dtype=torch.int64)
    return ids.reshape(rows.shape[:-1])


def _nearest_slice(rows: Tensor, table: Tensor, norms: Tensor) -> Tensor:
    rough = torch.addmm(norms, rows, table.T, alpha=-2)
    short = rough.topk(min(_SHORT_LIST, table.shape[0]), largest=False, sorted=False).indices
    short = short.sort(dim=-1).values
    exact = (table[short] - rows[:, None]).square().sum(-1)
    return short.gather(1, exact.argmin(-1, keepdim=True)).squeeze(1)


def assign(rows: Tensor, ids: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many of `rows (N, D)` went to each id, and their sums: `(size,)`, `(size, D)`."""
    counts = torch.bincount(ids, minlength=size).to(rows.dtype)
    sums = rows.new_zeros(size, rows.shape[1]).index_add_(0, ids, rows)
    return counts, sums


def means(counts: Tensor, sums: Tensor, otherwise: Tensor, surface: Surface) -> Tensor:
    """Mean row of every id, or `otherwise` where it has none."""
    centres = surface(sums / counts.clamp_min(_SMALLEST_COUNT)[:, None])
    return torch.where((counts > _SMALLEST_COUNT)[:, None], centres, otherwise)


@torch.no_grad()
def kmeans(rows: Tensor, size: int, iterations: int, surface: Surface = anywhere) -> Tensor:
    """`size` centres of `rows (N, D)`, which come in random order.

    Starts from the first rows. A centre that lost all its rows moves to the row that is worst
    served. With fewer rows than centres the rows repeat.
    """
    repeats = -(-size // rows.shape[0])
    centres = surface(rows.repeat(repeats, 1)[:size])
    for _ in range(iterations):
        ids = nearest(rows, centres)
        counts, sums = assign(rows, ids, size)
        errors = (rows - centres[ids]).square().sum(-1)
        centres = means(counts, sums, centres, surface)
        empty = (counts == 0).nonzero().squeeze(1)[: rows.shape[0]]
        centres[empty] = surface(rows[errors.topk(len(empty)).indices])
    return centres
