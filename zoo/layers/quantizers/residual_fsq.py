"""Residual finite scalar quantization: every level rounds the remainder on a finer scale.

Wraps `ResidualFSQ` of `vector-quantize-pytorch` without its projections (they follow autocast on
CPU) and without its level dropout (it draws from a generator of its own). Any prefix decodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from zoo.layers.quantizers.base import (
    Quantizer,
    QuantizerConfig,
    RawQuantized,
    projection,
    setting,
    straight_through,
)
from zoo.layers.quantizers.fsq import check_levels

__all__ = ["ResidualFsq", "ResidualFsqQuantizer"]


@dataclass(frozen=True, kw_only=True)
class ResidualFsq(QuantizerConfig, kind="residual_fsq"):
    levels: tuple[int, ...] = setting((8, 5, 5, 5), least=2)
    depth: int = setting(2, least=1, most=16)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.kind, self.levels)


class ResidualFsqQuantizer(Quantizer):
    """See the module."""

    nested = True

    def __init__(self, config: ResidualFsq) -> None:
        # Here, because it imports torch's compiler, which takes longer than all other kinds.
        from vector_quantize_pytorch import ResidualFSQ

        super().__init__(config)
        width = len(config.levels)
        self.levels = (math.prod(config.levels),) * config.depth
        self.into = projection(config.dim, width)
        self.scalar = ResidualFSQ(levels=list(config.levels), num_quantizers=config.depth)
        self.out = projection(width, config.dim)

    def _quantize(self, z: Tensor) -> RawQuantized:
        soft, ids = self._round(z)
        return self.out(straight_through(soft, self._codes(ids))), ids, {}

    def _encode(self, z: Tensor) -> Tensor:
        return self._round(z)[1]

    def _decode(self, columns: Tensor) -> Tensor:
        return self.out(self._codes(columns))

    def _round(self, z: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.into(z)
        soft, ids = self.scalar(latents.reshape(latents.shape[0], -1, latents.shape[-1]))
        return soft.reshape(latents.shape), ids.long().reshape(*latents.shape[:-1], -1)

    def _codes(self, ids: Tensor) -> Tensor:
        kept = ids.shape[-1]
        padded = functional.pad(ids, (0, len(self.levels) - kept)).flatten(1, -2)
        codes = self.scalar.get_codes_from_indices(padded)[:kept].sum(0)
        return codes.reshape(*ids.shape[:-1], -1)
