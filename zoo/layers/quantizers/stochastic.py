"""Cosine codes that are drawn at random in training and are the nearest in eval: LARP.

The chance of a code is the softmax of its cosine over `temperature`. Drawing keeps the whole
codebook in use and the latent space smooth; `encode` never draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.layers.quantizers._codebook import CodebookConfig
from zoo.layers.quantizers._search import TABLE_ENTRIES_AT_ONCE, on_sphere
from zoo.layers.quantizers.base import setting
from zoo.layers.quantizers.vq import TableQuantizer

__all__ = ["Stochastic", "StochasticQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Stochastic(CodebookConfig, kind="stochastic"):
    temperature: float = setting(0.03, least=1e-4)


class StochasticQuantizer(TableQuantizer):
    """See the module."""

    def __init__(self, config: Stochastic) -> None:
        super().__init__(config, on_sphere)
        self.temperature = config.temperature

    def _choose(self, latents: Tensor) -> Tensor:
        return self._draw(latents) if self.training else super()._choose(latents)

    @torch.no_grad()
    def _draw(self, latents: Tensor) -> Tensor:
        table = self.codebook.table
        rows = latents.reshape(-1, latents.shape[-1])
        at_once = max(1, TABLE_ENTRIES_AT_ONCE // table.shape[0])
        drawn = [
            (part @ table.T / self.temperature).softmax(-1).multinomial(1)
            for part in rows.split(at_once)
        ]
        return torch.cat(drawn).reshape(latents.shape[:-1])
