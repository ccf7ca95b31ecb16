"""SimVQ: a frozen random codebook seen through one learned linear map.

The map moves all codes at once, which keeps large codebooks in use without resets. Own code: the
layer itself is a few lines, and the library's distances depend on the batch size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zoo.layers.quantizers._codebook import codebook_losses
from zoo.layers.quantizers._search import nearest
from zoo.layers.quantizers.base import (
    Projection,
    Quantizer,
    QuantizerConfig,
    RawQuantized,
    setting,
    straight_through,
)

__all__ = ["SimVq", "SimVqQuantizer"]


@dataclass(frozen=True, kw_only=True)
class SimVq(QuantizerConfig, kind="simvq"):
    size: int = setting(8192, least=2, most=2**20)
    code_dim: int | None = setting(None, least=1)
    """Width of the frozen codes; the latents' own width if None."""


class SimVqQuantizer(Quantizer):
    """See the module."""

    frozen: Tensor

    def __init__(self, config: SimVq) -> None:
        super().__init__(config)
        self.levels = (config.size,)
        width = config.code_dim or config.dim
        self.register_buffer("frozen", torch.randn(config.size, width) * width**-0.5)
        self.transform = Projection(width, config.dim, bias=False)

    def _table(self) -> Tensor:
        return self.transform(self.frozen.float())

    def _quantize(self, z: Tensor) -> RawQuantized:
        table = self._table()
        ids = nearest(z, table.detach())
        codes = functional.embedding(ids, table)
        losses = codebook_losses(z, codes, learned=True)
        return straight_through(z, codes), ids.unsqueeze(-1), losses

    def _encode(self, z: Tensor) -> Tensor:
        return nearest(z, self._table()).unsqueeze(-1)

    def _decode(self, columns: Tensor) -> Tensor:
        return functional.embedding(columns.squeeze(-1), self._table())
