"""Finite scalar quantization: every channel rounded to one of a few levels.

Large vocabularies without a codebook: VidTok [8, 8, 8, 8, 8] = 32768, Cosmos and
MotionMillion [8, 8, 8, 5, 5, 5] = 64000. Bounds, rounding and the order of ids are those of
`vector-quantize-pytorch`, so that checkpoints trained with it give the same ids. The projections
are ours, because its own follow autocast on CPU, and so is the exact straight-through step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers.base import (
    Quantizer,
    QuantizerConfig,
    RawQuantized,
    projection,
    setting,
    straight_through,
)

__all__ = ["Fsq", "FsqQuantizer", "check_levels"]

_MOST_CODES = 2**20


@dataclass(frozen=True, kw_only=True)
class Fsq(QuantizerConfig, kind="fsq"):
    levels: tuple[int, ...] = setting((8, 8, 8, 5, 5, 5), least=2)
    symmetric: bool = False
    """Space levels evenly between -1 and 1 (Stable Audio's form); needed for 2 levels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.kind, self.levels)
        if 2 in self.levels and not self.symmetric:
            raise UsageError(
                f"fsq.levels is {self.levels}: 2 levels are not centred on 0",
                allowed="3 levels or more, or symmetric=True",
            )


def check_levels(kind: str, levels: tuple[int, ...]) -> None:
    """Ids are added up in float32, so the vocabulary must stay well inside 2^24."""
    if not levels or math.prod(levels) > _MOST_CODES:
        raise UsageError(
            f"{kind}.levels has {math.prod(levels)} codes",
            allowed=f"one to {_MOST_CODES}",
            hint="use several ids a position: residual_fsq, or a product of fsq",
        )


class FsqQuantizer(Quantizer):
    """See the module."""

    def __init__(self, config: Fsq) -> None:
        # Here, because it imports torch's compiler, which takes longer than all other kinds.
        from vector_quantize_pytorch import FSQ

        super().__init__(config)
        width = len(config.levels)
        self.levels = (math.prod(config.levels),)
        self.into = projection(config.dim, width)
        self.scalar = FSQ(
            list(config.levels), return_indices=False, preserve_symmetry=config.symmetric
        )
        self.out = projection(width, config.dim)

    def _quantize(self, z: Tensor) -> RawQuantized:
        rounded = self.scalar.quantize(self.into(z))
        ids = self.scalar.codes_to_indices(rounded).long()
        values = self.out(straight_through(rounded, self._codes(ids)))
        return values, ids.unsqueeze(-1), {}

    def _encode(self, z: Tensor) -> Tensor:
        rounded = self.scalar.quantize(self.into(z))
        return self.scalar.codes_to_indices(rounded).long().unsqueeze(-1)

    def _decode(self, columns: Tensor) -> Tensor:
        return self.out(self._codes(columns.squeeze(-1)))

    def _codes(self, ids: Tensor) -> Tensor:
        return self.scalar.indices_to_codes(ids.reshape(-1)).reshape(*ids.shape, -1)
