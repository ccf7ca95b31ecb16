"""Binary spherical quantization: signs of latents on the unit sphere, as unit vectors.

BSQ-ViT with 18 bits a patch, or 36, which make two ids of 2^18. On the sphere the error is
bounded, so the commitment loss may be left out. `packing` stores ids in exactly their bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from zoo.layers.quantizers._bits import SignConfig, SignQuantizer
from zoo.layers.quantizers._search import on_sphere

__all__ = ["Bsq", "BsqQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Bsq(SignConfig, kind="bsq"):
    pass


class BsqQuantizer(SignQuantizer):
    """See the module."""

    def __init__(self, config: Bsq) -> None:
        super().__init__(config, scale=config.bits**-0.5)

    def _latents(self, z: Tensor) -> Tensor:
        return on_sphere(self.into(z))
