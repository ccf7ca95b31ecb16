"""Frozen feature extractors whose knowledge a tokenizer's codes are to carry.

Any function of frames will do: wrap CLIP, DINO or SigLIP in a few lines and hand it to
`learn_from`. A teacher is needed in training only and never becomes part of an artefact.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError

__all__ = ["DctTeacher", "Taught", "Teacher", "distance"]

_CELL = 4


class Teacher(Protocol):
    """Features of every cell of a grid over every frame."""

    def __call__(self, frames: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 3, T, H, W) in -1..1 to (B, T, *grid, width)."""


class DctTeacher:
    """The lowest cosine frequencies of every cell: a stand-in that knows textures, not meaning."""

    def __init__(self, width: int):
        most = 3 * _CELL**2
        if not 1 <= width <= most:
            raise UsageError(f"{width} frequencies", allowed=f"1 to {most}")
        self.width = width

    def __call__(self, frames: Tensor, grid: tuple[int, int]) -> Tensor:
        batch, _, count = frames.shape[:3]
        rows, columns = grid
        size = (rows * _CELL, columns * _CELL)
        small = functional.interpolate(frames.transpose(1, 2).flatten(0, 1), size, mode="area")
        cells = small.unflatten(3, (columns, _CELL)).unflatten(2, (rows, _CELL))
        basis = _cosines().to(frames)
        waves = torch.einsum("nchiwj,ui,vj->nhwuvc", cells, basis, basis)
        order = sorted(range(_CELL**2), key=lambda place: sum(divmod(place, _CELL)))
        ordered = waves.flatten(3, 4)[..., order, :].flatten(3)
        return ordered[..., : self.width].unflatten(0, (batch, count))


class Taught:
    """Holds a teacher beside a module's weights, not among them."""

    _teacher: Teacher | None = None

    def learn_from(self, teacher: Teacher) -> None:
        """Take the features of `teacher` as the target from now on."""
        self._teacher = _Held(teacher)

    @torch.no_grad()
    def taught(self, x: Tensor, made: Tensor) -> Tensor:
        """The teacher's features of `x` for features `made (B, T, h, w, width)`."""
        teacher = self._teacher or DctTeacher(made.shape[-1])
        wanted = teacher(x, (made.shape[2], made.shape[3]))
        if wanted.shape != made.shape:
            raise UsageError(
                f"the teacher gives features of shape {tuple(wanted.shape)}",
                allowed=f"{tuple(made.shape)}: clips, frames, rows, columns, teacher_width",
                hint="resample them to the grid, or set teacher_width to their width",
            )
        return wanted.to(made)


class _Held:
    """A teacher that `nn.Module` does not take for a submodule, though it may be a module."""

    def __init__(self, teacher: Teacher):
        self.teacher = teacher

    def __call__(self, frames: Tensor, grid: tuple[int, int]) -> Tensor:
        return self.teacher(frames, grid)


def distance(made: Tensor, wanted: Tensor) -> Tensor:
    """1 - cosine of two features, averaged over all positions."""
    return 1 - functional.cosine_similarity(made, wanted, dim=-1).mean()


def _cosines() -> Tensor:
    """The orthonormal cosine basis of a cell, one wave a row."""
    place = torch.arange(_CELL) + 0.5
    waves = torch.cos(math.pi / _CELL * torch.arange(_CELL)[:, None] * place)
    waves[0] /= math.sqrt(2)
    return waves * math.sqrt(2 / _CELL)
