"""From a grid of features in space and time to planes of it, and back to where planes cross."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Project", "crossing"]


class Project(nn.Module):
    """Sums up one axis of (B, ..., D) by attention: every position says how much it matters."""

    def __init__(self, dim: int):
        super().__init__()
        self.score, self.value = nn.Linear(dim, 1), nn.Linear(dim, dim)

    def forward(self, x: Tensor, axis: int) -> Tensor:
        return (self.score(x).softmax(dim=axis) * self.value(x)).sum(dim=axis)


def crossing(*planes: Tensor) -> tuple[Tensor, ...]:
    """Planes (B, h, w, D), (B, T, h, D) and (B, T, w, D) on the grid (B, T, h, w, D)."""
    xy, yt, xt = planes
    on_grid = xy.unsqueeze(1), yt.unsqueeze(3), xt.unsqueeze(2)
    shape = torch.broadcast_shapes(*(plane.shape[:-1] for plane in on_grid))
    return tuple(plane.expand(*shape, -1) for plane in on_grid)
