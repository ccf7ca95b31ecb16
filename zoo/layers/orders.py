"""In which order ids are drawn: the places of a grid one after the other, the levels of a place.

`place_order` gives the places. `Steps` cuts ids (N places, L levels) into what is drawn at each
step and puts it together again: all levels of a place in steps of their own, shifted against each
other, or at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo.layers.attention import grid_positions

__all__ = ["Arrangement", "Order", "Steps", "place_order"]

Order = Literal["raster", "coarse", "random"]
Arrangement = Literal["flat", "delay", "depth"]

NOTHING = -1
"""A slot in which nothing is drawn."""


def place_order(name: Order, grid: tuple[int, ...], dice: torch.Generator | None = None) -> Tensor:
    """Flat indices of a grid's places: by rows, from coarse to fine, or at random."""
    count = int(torch.tensor(grid).prod())
    if name == "raster":
        return torch.arange(count)
    if name == "random":
        return torch.randperm(count, generator=dice)
    places = grid_positions(grid, torch.device("cpu"))
    fineness = torch.zeros(count, dtype=torch.long)
    stride = 1
    while stride < max(grid):
        stride *= 2
        fineness += places.remainder(stride).ne(0).any(dim=1).long()
    return fineness.argsort(stable=True)


@dataclass(frozen=True)
class Steps:
    """`count` places of `levels` ids each, cut into steps of one or more slots."""

    count: int
    levels: int
    arrangement: Arrangement

    @property
    def length(self) -> int:
        """How many steps."""
        if self.arrangement == "flat":
            return self.count * self.levels
        return self.count + (self.levels - 1 if self.arrangement == "delay" else 0)

    @property
    def slots(self) -> int:
        """Ids of a step."""
        return 1 if self.arrangement == "flat" else self.levels

    def places(self) -> Tensor:
        """(steps,) The place of each step, which a delayed step's first slot fills."""
        steps = torch.arange(self.length)
        return (
            steps // self.levels if self.arrangement == "flat" else steps.clamp(max=self.count - 1)
        )

    def split(self, ids: Tensor) -> Tensor:
        """(B, places, levels) as (B, steps, slots); NOTHING where a slot is empty."""
        if self.arrangement == "flat":
            return ids.flatten(1, 2).unsqueeze(-1)
        if self.arrangement == "depth":
            return ids
        made = ids.new_full((len(ids), self.length, self.levels), NOTHING)
        for level in range(self.levels):
            made[:, level : level + self.count, level] = ids[..., level]
        return made

    def join(self, slots: Tensor) -> Tensor:
        """The inverse of `split`."""
        if self.arrangement == "flat":
            return slots.view(len(slots), self.count, self.levels)
        if self.arrangement == "depth":
            return slots
        return torch.stack(
            [slots[:, level : level + self.count, level] for level in range(self.levels)], dim=-1
        )
