"""What a tokenizer asks of a VAE of diffusers, and the answers that most classes share.

Ports take frames and give latents channels-first, (B, C, T, H, W), as the classes do. The answers
of each class are in `vae_ports.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.spec import LengthRule
from zoo.tokenizer import State

__all__ = ["Learned", "Port"]

Learned = tuple[Tensor, Tensor | None, dict[str, Tensor]]
"""Latents for the decoder, ids for the meter, losses."""


class Port:
    """A class whose encoder is causal, sees a whole clip at once, and has a Gaussian posterior."""

    causal: bool = True
    streaming: bool = False
    can_tile: bool = True
    step: int = 1
    """Positions in time for every step of the length rule."""
    pace: int = 1
    """Steps that are encoded together when streaming."""
    one_by_one: bool = False
    """Whether the class goes wrong on batches of several clips."""

    def __init__(self, vae: Any, tiling: bool):
        self.vae = vae
        if tiling and not self.can_tile:
            raise UsageError(
                f"{type(vae).__name__} does not encode in tiles", allowed="tiling=False"
            )
        self.tiling = tiling
        if tiling:
            vae.enable_tiling()

    def fit(self, rows: int, columns: int) -> None:
        """Prepare the network for frames of this size."""

    @property
    def time(self) -> int:
        """Frames for one position."""
        return int(self.vae.config.temporal_compression_ratio)

    @property
    def space(self) -> int:
        """Rows and columns for one position."""
        return int(self.vae.spatial_compression_ratio)

    @property
    def length(self) -> LengthRule:
        return LengthRule(1, self.time * self.step)

    @property
    def first(self) -> int:
        """Positions in time for the first frames of the length rule."""
        return 1

    @property
    def levels(self) -> tuple[int, ...]:
        return ()

    @property
    def channels(self) -> int:
        return int(self.vae.config.latent_channels)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of latents, (C,) or (C, positions in time)."""
        known = self.vae.config
        scale = float(known.get("scaling_factor") or 1.0)
        mean, deviation = known.get("latents_mean"), known.get("latents_std")
        if mean is None or deviation is None:
            shift = float(known.get("shift_factor") or 0.0)
            return torch.full((self.channels,), shift), torch.full((self.channels,), 1 / scale)
        return torch.tensor(mean), torch.tensor(deviation) / scale

    def encode(self, x: Tensor, state: State) -> Tensor:
        """The mode of the posterior, or ids."""
        return self._posterior(x).mode()

    def decode(self, z: Tensor, state: State) -> Tensor:
        clips = z.split(1) if self.one_by_one else [z]
        return torch.cat([self.vae.decode(clip).sample for clip in clips])

    def learn(self, x: Tensor) -> Learned:
        """A sample of the posterior, with gradients."""
        posterior = self._posterior(x)
        spread = posterior.mean.square() + posterior.var - 1.0 - posterior.logvar
        return posterior.sample(), None, {"kl": 0.5 * spread.mean()}

    def reconstruct(self, z: Tensor) -> Tensor:
        """Frames of a whole clip, with gradients."""
        return self.decode(z, {})

    def _posterior(self, x: Tensor) -> Any:
        if not self.one_by_one or len(x) == 1:
            return self.vae.encode(x).latent_dist
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        moments = [self.vae.encode(clip).latent_dist.parameters for clip in x.split(1)]
        return DiagonalGaussianDistribution(torch.cat(moments))
