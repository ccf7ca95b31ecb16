"""Several codebooks that look at the same latent from different sides: FQGAN.

Every factor has a projection and a codebook of its own, and gives one id. The disentangle loss
is the mean squared cosine between the codes that two factors choose at a position: it keeps them
from saying the same thing twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from zoo.layers.quantizers._codebook import (
    Codebook,
    CodebookConfig,
    codebook_losses,
    mean_losses,
)
from zoo.layers.quantizers._search import on_sphere
from zoo.layers.quantizers.base import (
    Projection,
    Quantizer,
    RawQuantized,
    setting,
    straight_through,
)

__all__ = ["Factorised", "FactorisedQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Factorised(CodebookConfig, kind="factorised"):
    factors: int = setting(2, least=2, most=16)
    learned: bool = True


class FactorisedQuantizer(Quantizer):
    """See the module."""

    def __init__(self, config: Factorised) -> None:
        super().__init__(config)
        factors = range(config.factors)
        self.levels = (config.size,) * config.factors
        self.learned = config.learned
        self.heads = nn.ModuleList(Projection(config.dim, config.width) for _ in factors)
        self.codebooks = nn.ModuleList(Codebook(config, surface=on_sphere) for _ in factors)
        self.out = Projection(config.width * config.factors, config.dim)

    def _quantize(self, z: Tensor) -> RawQuantized:
        latents = [on_sphere(head(z)) for head in self.heads]
        found = [book(part) for book, part in zip(self.codebooks, latents, strict=True)]
        ids, codes = zip(*found, strict=True)
        pairs = list(zip(latents, codes, strict=True))
        quantized = [straight_through(*pair) for pair in pairs]
        losses = mean_losses([codebook_losses(*pair, learned=self.learned) for pair in pairs])
        losses["disentangle"] = _overlap(list(codes) if self.learned else quantized)
        return self.out(torch.cat(quantized, -1)), torch.stack(ids, -1), losses

    def _encode(self, z: Tensor) -> Tensor:
        factors = zip(self.heads, self.codebooks, strict=True)
        return torch.stack([book.nearest(on_sphere(head(z))) for head, book in factors], -1)

    def _decode(self, columns: Tensor) -> Tensor:
        factors = zip(self.codebooks, columns.unbind(-1), strict=True)
        return self.out(torch.cat([book.lookup(ids) for book, ids in factors], -1))


def _overlap(codes: list[Tensor]) -> Tensor:
    """Mean squared cosine between the unit codes of two factors."""
    cosines = [(one * other).sum(-1).square().mean() for one, other in combinations(codes, 2)]
    return torch.stack(cosines).mean()
