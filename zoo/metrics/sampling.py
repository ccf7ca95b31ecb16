"""Samples that depend on the data and a seed alone, not on the order in which rows arrived.

Measures that draw random subsets keep all rows, put them in an order that their values decide and
draw with a fixed seed. So neither batches, nor workers, nor shuffling change a published number.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["Rows", "draw"]


class Rows:
    """Vectors (N, D) that arrive in parts."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        self._parts.append(rows)

    def merge(self, other: Rows) -> None:
        self._parts.extend(other._parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def ordered(self) -> Tensor:
        """All rows, sorted by their component along a fixed random direction."""
        rows = torch.cat(self._parts)
        direction = np.random.default_rng(0).standard_normal(rows.shape[1])
        return rows[torch.argsort(rows @ torch.from_numpy(direction))]


def draw(count: int, size: int, times: int, seed: int) -> Tensor:
    """`times` samples of `size` out of `count` rows without replacement, (times, size)."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.permutation(count)[:size] for _ in range(times)]))
