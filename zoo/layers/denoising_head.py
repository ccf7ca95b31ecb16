"""A small network that denoises single vectors, each told what a larger network makes of its place.

The larger network runs once for many vectors, the head once for each step of each of them; so
values need no codebook to be drawn one set after the other (MAR, arXiv 2406.11838).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from zoo.layers.flow import TimeEmbedding

__all__ = ["DenoisingHead", "HeadConfig"]


@dataclass(frozen=True)
class HeadConfig:
    """Size of the head, and the steps of one drawing."""

    width: int = 1024
    depth: int = 6
    steps: int = 25


class DenoisingHead(nn.Module):
    """Noisy vectors (N, channels), times (N,) and what is told (N, told) to a process's target."""

    def __init__(self, channels: int, told: int, config: HeadConfig):
        super().__init__()
        width = config.width
        self.time, self.told = TimeEmbedding(width), nn.Linear(told, width)
        self.enter = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width)
        self.leave = nn.Linear(width, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, time: Tensor, told: Tensor) -> Tensor:
        given = functional.silu(self.time(time) + self.told(told))
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, given)
        return self.leave(self.norm(x))


class _Block(nn.Module):
    """A residual MLP that is scaled, shifted and gated by what is given."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.modulation = nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(given).chunk(3, dim=-1)
        made: Tensor = x + (1 + gate) * self.mlp(self.norm(x) * (1 + scale) + shift)
        return made
