"""Channels split into parts, each with a quantizer of its own: product and grouped codes.

Any kind may be the part: `Product(parts=4, part=Vq(...))` is product quantization,
`part=Rvq(...)` grouped residual quantization, and ImageFolder's semantic and detail ids or the
codebooks of body parts are products as well. The columns of ids are those of the parts, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.layers.quantizers._codebook import mean_losses
from zoo.layers.quantizers.base import Quantizer, QuantizerConfig, RawQuantized, setting

__all__ = ["Product", "ProductQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Product(QuantizerConfig, kind="product"):
    part: QuantizerConfig = field()
    parts: int = setting(2, least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part.dim * self.parts != self.dim:
            raise UsageError(
                f"product of {self.parts} parts of width {self.part.dim} for latents of {self.dim}",
                allowed=f"part.dim = dim / parts = {self.dim / self.parts:g}",
            )


class ProductQuantizer(Quantizer):
    """See the module; `parts` are made by the caller, who knows all kinds."""

    def __init__(self, config: Product, parts: list[Quantizer]) -> None:
        super().__init__(config)
        if not all(part.levels and not part.scales for part in parts):
            raise UsageError(
                f"a product of {config.part.kind}",
                allowed="kinds with ids on the grid of the latents",
            )
        self.parts = nn.ModuleList(parts)
        self.widths = [len(part.levels) for part in parts]
        self.levels = tuple(size for part in parts for size in part.levels)

    def _quantize(self, z: Tensor) -> RawQuantized:
        done = [
            part._quantize(piece) for part, piece in zip(self.parts, self._split(z), strict=True)
        ]
        values, ids, losses = zip(*done, strict=True)
        return torch.cat(values, -1), torch.cat(ids, -1), mean_losses(losses)

    def _encode(self, z: Tensor) -> Tensor:
        pieces = zip(self.parts, self._split(z), strict=True)
        return torch.cat([part._encode(piece) for part, piece in pieces], -1)

    def _decode(self, columns: Tensor) -> Tensor:
        pieces = zip(self.parts, columns.split(self.widths, -1), strict=True)
        return torch.cat([part._decode(piece) for part, piece in pieces], -1)

    def _split(self, z: Tensor) -> tuple[Tensor, ...]:
        return z.chunk(len(self.parts), -1)
