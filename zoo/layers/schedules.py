"""How much of a grid is hidden at a moment, which places that are, and what is known beforehand."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Schedule", "Task", "first_ranks", "hidden_places", "hidden_share", "known_places"]

Schedule = Literal["cosine", "linear", "square", "root"]
Task = Literal["create", "predict", "interpolate", "inpaint", "outpaint"]
"""What is known before: nothing, the first frames, both ends, all but a box, or a box alone."""


def hidden_share(name: Schedule, progress: Tensor) -> Tensor:
    """The share of places that are hidden at a progress of 0 (all) to 1 (none)."""
    if name == "cosine":
        return (progress * (math.pi / 2)).cos().clamp(0, 1)
    return 1 - progress ** {"linear": 1.0, "square": 2.0, "root": 0.5}[name]


def hidden_places(able: Tensor, share: Tensor, rolls: Tensor) -> Tensor:
    """(B, N) True at a share (B,) of the places that are able, chosen by rolls; one at least."""
    count = (share * able.sum(1)).round().clamp(min=1)
    return able & first_ranks(rolls.masked_fill(~able, torch.inf), count)


def first_ranks(values: Tensor, count: Tensor) -> Tensor:
    """(B, N) True at the `count` (B,) smallest values of each row."""
    return values.argsort(dim=1).argsort(dim=1) < count.unsqueeze(1)


def known_places(task: Task, batch: int, grid: tuple[int, ...], device: torch.device) -> Tensor:
    """(B, *grid) True at what a task knows, drawn anew for each example."""
    nothing = torch.zeros(batch, *grid, dtype=torch.bool, device=device)
    if task == "create" or nothing[0].numel() == 1:
        return nothing
    if task in ("predict", "interpolate"):
        time = torch.arange(grid[0], device=device).view(1, -1, *[1] * (len(grid) - 1))
        known = torch.randint(1, max(2, grid[0]), (batch, *[1] * len(grid)), device=device)
        first = time < known
        ends = (time == 0) | (time == grid[0] - 1)
        # A single frame has nothing before it, two have nothing between them.
        too_short = grid[0] < (2 if task == "predict" else 3)
        return nothing if too_short else (first if task == "predict" else ends) | nothing
    box = _box(batch, grid, device)
    return box if task == "outpaint" else ~box


def _box(batch: int, grid: tuple[int, ...], device: torch.device) -> Tensor:
    """A box that holds some places of each axis, and never all places of the grid."""
    box = torch.ones(batch, *grid, dtype=torch.bool, device=device)
    for axis, extent in enumerate(grid):
        ends = torch.randint(0, extent + 1, (2, batch, 1), device=device).sort(dim=0).values
        places = torch.arange(extent, device=device)
        inside = (places >= ends[0].clamp(max=extent - 1)) & (places <= ends[1])
        shape = [batch, *(extent if other == axis else 1 for other in range(len(grid)))]
        box = box & inside.view(shape)
    full = box.flatten(1).all(1).view(-1, *[1] * len(grid))
    last = torch.zeros_like(box)
    last.flatten(1)[:, -1] = True
    return box & ~(full & last)
