"""Decoding by denoising: straight paths between data and noise, walked in few steps.

At time 0 a picture is clean, at time 1 it is noise, and between them it is mixed in proportion. A
network reads the mixture, its time and what it is conditioned on, and names the clean picture; the
difference is the direction to walk. Naming the picture rather than the noise keeps one step useful:
it gives the mean of all pictures that fit the condition.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["TimeEmbedding", "denoised", "mixed"]

SLOWEST = 1_000.0
"""Ratio of the fastest to the slowest wave that a time is told by."""

EARLIEST = 1e-3
"""Nothing is to be learned of a picture that is clean already."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""(mixture, times of shape (B,)) to the clean picture."""


class TimeEmbedding(nn.Module):
    """Times (B,) between 0 and 1 as vectors (B, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.half = width // 2
        self.mlp = nn.Sequential(
            nn.Linear(2 * self.half, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, time: Tensor) -> Tensor:
        powers = torch.arange(self.half, device=time.device) / self.half
        phase = time.unsqueeze(1) * SLOWEST * torch.exp(-math.log(SLOWEST) * powers)
        return self.mlp(torch.cat([phase.cos(), phase.sin()], dim=1).to(self.mlp[0].weight.dtype))


def mixed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mixtures of a training batch with noise, and their times.

    Late times come more often: there only the condition tells what the picture is.
    """
    time = torch.rand(len(x), device=x.device).sqrt().clamp_min(EARLIEST)
    share = time.view(-1, *(1,) * (x.dim() - 1)).to(x.dtype)
    return x + share * (torch.randn_like(x) - x), time


def denoised(predict: Predict, like: Tensor, seed: int, steps: int) -> Tensor:
    """A picture of the shape, type and device of `like`; equal seeds draw equal noise."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.randn(like.shape, generator=dice).to(like)
    for step in range(steps, 0, -1):
        time, after = step / steps, (step - 1) / steps
        clean = predict(x, torch.full((len(x),), time, device=x.device))
        x = clean + (x - clean) * (after / time)
    return x
