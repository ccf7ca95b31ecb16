"""Residual codes: every level quantizes what the levels before it left over.

SoundStream, MoMask, VQ-VLA. Any prefix of the levels decodes; `dropout` trains for that by giving
a part of the clips only their first levels. Own code for the reasons of `_codebook`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.layers.quantizers._codebook import (
    Codebook,
    CodebookConfig,
    codebook_losses,
    mean_losses,
)
from zoo.layers.quantizers.base import (
    Quantizer,
    RawQuantized,
    projection,
    setting,
    straight_through,
)

__all__ = ["Rvq", "RvqQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Rvq(CodebookConfig, kind="rvq"):
    depth: int = setting(4, least=1, most=64)
    shared: bool = False
    """All levels look up in one codebook."""
    dropout: float = setting(0.0, least=0.0, most=1.0)
    """Share of the clips that train with a random number of levels."""


class RvqQuantizer(Quantizer):
    """See the module."""

    nested = True

    def __init__(self, config: Rvq) -> None:
        super().__init__(config)
        self.levels = (config.size,) * config.depth
        self.dropout = config.dropout
        self.into = projection(config.dim, config.width)
        self.codebooks = nn.ModuleList(
            Codebook(config) for _ in range(1 if config.shared else config.depth)
        )
        self.out = projection(config.width, config.dim)

    def _quantize(self, z: Tensor) -> RawQuantized:
        latents = self.into(z)
        residual, total = latents, torch.zeros_like(latents)
        ids: list[Tensor] = []
        lessons: list[tuple[Tensor, Tensor]] = []
        losses: list[dict[str, Tensor]] = []
        for level, keep in enumerate(self._kept_in_training(latents)):
            codebook = self._codebook(level)
            codebook.start(residual)
            ids.append(codebook.nearest(residual))
            codes = codebook.lookup(ids[-1])
            lessons.append((residual[keep], ids[-1][keep]))
            losses.append(
                codebook_losses(residual[keep], codes[keep], learned=codebook.config.learned)
            )
            total = total + codes.detach() * keep.view(-1, *[1] * (z.ndim - 1))
            residual = residual - codes.detach()
        self._learn(lessons)
        return self.out(straight_through(latents, total)), torch.stack(ids, -1), mean_losses(losses)

    def _kept_in_training(self, latents: Tensor) -> Tensor:
        """Which clips use which level: (levels, B) of bool; the first is never dropped."""
        depth, clips = len(self.levels), latents.shape[0]
        lengths = torch.full((clips,), depth, device=latents.device)
        if self.training and self.dropout:
            drawn = torch.randint(1, depth + 1, (clips,), device=latents.device)
            dropped = torch.rand(clips, device=latents.device) < self.dropout
            lengths = torch.where(dropped, drawn, lengths)
        return torch.arange(depth, device=latents.device)[:, None] < lengths

    def _learn(self, lessons: list[tuple[Tensor, Tensor]]) -> None:
        """After the last level, so that a shared codebook moves once, from all of them."""
        if len(self.codebooks) == 1:
            rows, ids = zip(*lessons, strict=True)
            lessons = [(torch.cat(rows), torch.cat(ids))]
        for level, (row, chosen) in enumerate(lessons):
            self._codebook(level).learn(row, chosen)

    def _codebook(self, level: int) -> Codebook:
        return self.codebooks[min(level, len(self.codebooks) - 1)]

    def _encode(self, z: Tensor) -> Tensor:
        residual = self.into(z)
        ids = []
        for level in range(len(self.levels)):
            codebook = self._codebook(level)
            ids.append(codebook.nearest(residual))
            residual = residual - codebook.lookup(ids[-1])
        return torch.stack(ids, dim=-1)

    def _decode(self, columns: Tensor) -> Tensor:
        total = torch.zeros((), device=columns.device)
        for level in range(columns.shape[-1]):
            total = total + self._codebook(level).lookup(columns[..., level])
        return self.out(total)
