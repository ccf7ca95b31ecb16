"""Gaussian latents held near the unit Gaussian: the KL autoencoders of latent diffusion.

In training the decoder reads a sample, in eval and in `encode` the mode. `sample` draws with a
seed of its own, for those who store several draws of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.layers.quantizers._latents import LatentConfig, LatentQuantizer
from zoo.layers.quantizers.base import RawQuantized, full_precision

__all__ = ["KL", "KLQuantizer"]

_LOG_VARIANCES = (-30.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class KL(LatentConfig, kind="kl"):
    pass


class KLQuantizer(LatentQuantizer):
    """See the module. The `kl` loss is the mean over latents, in nats."""

    def __init__(self, config: KL) -> None:
        super().__init__(config, width_in=2 * config.channels)

    @torch.no_grad()
    def sample(self, z: Tensor, seed: int) -> Tensor:
        """Latents as `encode` gives them, but drawn; equal seeds draw equally."""
        self._check_latents(z)
        with full_precision(z):
            mean, log_variance = self._gaussian(z.float())
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(mean.shape, generator=generator).to(mean.device)
            return self._standardised(mean + noise * (0.5 * log_variance).exp())

    def _gaussian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.into(z).chunk(2, dim=-1)
        return mean, log_variance.clamp(*_LOG_VARIANCES)

    def _mode(self, z: Tensor) -> Tensor:
        return self._gaussian(z)[0]

    def _quantize(self, z: Tensor) -> RawQuantized:
        mean, log_variance = self._gaussian(z)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
        latents = mean
        if self.training:
            latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self._values(latents), None, {"kl": kl}
