"""One codebook, the nearest code: VQ-VAE, VQGAN, VideoGPT, T2M-GPT; with `cosine` and a narrow
`code_dim`, the l2-normalised codes of ViT-VQGAN and OmniTokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from zoo.layers.quantizers._codebook import Codebook, CodebookConfig, codebook_losses
from zoo.layers.quantizers._search import Surface, anywhere, on_sphere
from zoo.layers.quantizers.base import Quantizer, RawQuantized, projection, straight_through

__all__ = ["TableQuantizer", "Vq", "VqQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Vq(CodebookConfig, kind="vq"):
    cosine: bool = False
    """Compare directions: latents and codes are unit vectors."""


class TableQuantizer(Quantizer):
    """Looks latents up in one learning table of codes on a `surface`."""

    def __init__(self, config: CodebookConfig, surface: Surface) -> None:
        super().__init__(config)
        self.levels = (config.size,)
        self.surface = surface
        self.into = projection(config.dim, config.width)
        self.codebook = Codebook(config, surface=surface)
        self.out = projection(config.width, config.dim)

    def _quantize(self, z: Tensor) -> RawQuantized:
        latents = self.surface(self.into(z))
        ids, codes = self.codebook(latents, self._choose)
        losses = codebook_losses(latents, codes, learned=self.codebook.config.learned)
        values = self.out(straight_through(latents, codes))
        return values, ids.unsqueeze(-1), losses

    def _choose(self, latents: Tensor) -> Tensor:
        return self.codebook.nearest(latents)

    def _encode(self, z: Tensor) -> Tensor:
        return self.codebook.nearest(self.surface(self.into(z))).unsqueeze(-1)

    def _decode(self, columns: Tensor) -> Tensor:
        return self.out(self.codebook.lookup(columns.squeeze(-1)))


class VqQuantizer(TableQuantizer):
    """See the module."""

    def __init__(self, config: Vq) -> None:
        super().__init__(config, on_sphere if config.cosine else anywhere)
