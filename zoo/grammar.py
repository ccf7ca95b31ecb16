"""Made-up examples whose laws are known, to see whether a generator learns them.

Four motifs, each with a label and a text. Where ids are made, a position's id follows from the
motif, the time, the place and a coin, so one id carries exactly ln 2 nats once the motif is known.
Where values are made, a wave follows from the same, plus noise of a known spread. What a trained
generator draws is judged by the same laws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.generator import Batch, Generator, Space

__all__ = ["ENTROPY", "MOTIFS", "NOISE", "examples", "lawful", "spread", "wave"]

MOTIFS = ("rises", "falls slowly", "waits", "leaps")
ENTROPY = math.log(2)
"""Nats of an id when the motif is known."""
NOISE = 0.25
"""Spread of values around the wave."""

_PACE = (1, -1, 0, 3)


def examples(model: Generator, count: int, seed: int) -> tuple[Batch, Tensor]:
    """A batch of the model's space with label and text as far as it takes them, and the motifs."""
    dice = torch.Generator().manual_seed(seed)
    motifs = torch.randint(len(MOTIFS), (count,), generator=dice)
    x = (
        _ids(model.space, motifs, dice)
        if model.space.discrete
        else _values(model.space, motifs, dice)
    )
    return Batch(x, model.given(**asked(model, motifs))), motifs


def asked(model: Generator, motifs: Tensor) -> dict[str, object]:
    """Label and text of motifs, as far as a model takes them."""
    known: dict[str, object] = {
        "label": motifs.tolist(),
        "text": [f"it {MOTIFS[motif]}" for motif in motifs],
    }
    taken = [condition.name for condition in model.config.conditions]
    return {name: value for name, value in known.items() if name in taken}


def lawful(space: Space, ids: Tensor, motifs: Tensor) -> tuple[float, float]:
    """The share of ids that their motif allows, and of those the share whose coin is 1."""
    grid = ids.shape[1 : 1 + len(space.grid)]
    codes = torch.tensor(space.levels)
    coins = (ids.view(len(ids), *grid, -1) - _expected(space, motifs, grid)).remainder(codes)
    allowed = coins <= 1
    return float(allowed.float().mean()), float(coins[allowed].float().mean())


def wave(space: Space, motifs: Tensor, grid: Sequence[int] = ()) -> Tensor:
    """The values of motifs without noise, (B, *grid, channels)."""
    time, places = _axes(tuple(grid) or space.grid)
    channel = torch.arange(space.channels)
    motif = motifs.view(-1, *[1] * (time.dim() + 1))
    phase = time.unsqueeze(-1) * 0.5 * (motif + 1) + places.unsqueeze(-1) * 0.4 + channel * 1.3
    return torch.sin(phase + motif * 1.1)


def spread(space: Space, values: Tensor, motifs: Tensor) -> tuple[float, float]:
    """How values agree with their motif's wave (a correlation), and their spread around it."""
    expected = wave(space, motifs, values.shape[1 : 1 + len(space.grid)])
    pair = torch.stack([expected.flatten(), values.flatten()])
    return float(torch.corrcoef(pair)[0, 1]), float((values - expected).std())


def _ids(space: Space, motifs: Tensor, dice: torch.Generator) -> Tensor:
    expected = _expected(space, motifs, space.grid)
    coins = torch.randint(2, expected.shape, generator=dice)
    return (expected + coins).remainder(torch.tensor(space.levels)).view(space.shape(len(motifs)))


def _values(space: Space, motifs: Tensor, dice: torch.Generator) -> Tensor:
    clean = wave(space, motifs)
    return clean + NOISE * torch.randn(clean.shape, generator=dice)


def _expected(space: Space, motifs: Tensor, grid: Sequence[int]) -> Tensor:
    """The id of each position and level where the coin is 0, (B, *grid, levels)."""
    time, places = _axes(grid)
    shape = (-1, *[1] * len(grid))
    pace = torch.tensor(_PACE)[motifs].view(shape)
    start = (motifs * 2).view(shape)
    ids = start + pace * time + places
    levels = torch.arange(len(space.levels))
    return (ids.unsqueeze(-1) + levels).remainder(torch.tensor(space.levels))


def _axes(grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The time of each position, and the sum of its other coordinates."""
    coordinates = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
    places = (
        torch.stack(coordinates[1:]).sum(0) if len(grid) > 1 else torch.zeros_like(coordinates[0])
    )
    return coordinates[0], places
