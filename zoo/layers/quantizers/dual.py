"""Two codebooks that share one id: TokenFlow.

The first `semantic` channels are compared with a semantic codebook and the others with a pixel
codebook; the id is the one whose two distances together are smallest. Scaling the pixel part by
the root of its weight makes that a nearest-code search in one joined codebook.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers._codebook import Codebook, CodebookConfig, codebook_losses
from zoo.layers.quantizers._search import on_sphere
from zoo.layers.quantizers.base import Quantizer, RawQuantized, setting, straight_through

__all__ = ["Dual", "DualQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Dual(CodebookConfig, kind="dual"):
    semantic: int = setting(32, least=1)
    """How many of the channels, from the first, are the semantic part."""
    pixel_weight: float = setting(1.0, least=1e-6)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.semantic >= self.dim or self.code_dim is not None:
            raise UsageError(
                f"dual with {self.semantic} semantic of {self.dim} channels, "
                f"code_dim {self.code_dim}",
                allowed="semantic below dim, and no code_dim: the parts are compared as they are",
            )


class DualQuantizer(Quantizer):
    """See the module."""

    def __init__(self, config: Dual) -> None:
        super().__init__(config)
        self.levels = (config.size,)
        self.semantic = config.semantic
        self.scale = config.pixel_weight**0.5
        self.codebook = Codebook(config, surface=self._joined)

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The semantic and the pixel part of latents or values."""
        return values[..., : self.semantic], values[..., self.semantic :]

    def _joined(self, z: Tensor) -> Tensor:
        semantic, pixel = self.split(z)
        return torch.cat([on_sphere(semantic), on_sphere(pixel) * self.scale], -1)

    def _values(self, joined: Tensor) -> Tensor:
        semantic, pixel = self.split(joined)
        return torch.cat([semantic, pixel / self.scale], -1)

    def _quantize(self, z: Tensor) -> RawQuantized:
        latents = self._joined(z)
        ids, codes = self.codebook(latents)
        losses = codebook_losses(latents, codes, learned=self.codebook.config.learned)
        values = self._values(straight_through(latents, codes))
        return values, ids.unsqueeze(-1), losses

    def _encode(self, z: Tensor) -> Tensor:
        return self.codebook.nearest(self._joined(z)).unsqueeze(-1)

    def _decode(self, columns: Tensor) -> Tensor:
        return self._values(self.codebook.lookup(columns.squeeze(-1)))
