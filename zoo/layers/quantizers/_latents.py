"""What the two continuous kinds share: stored latents of mean 0 and deviation 1.

Generators want latents on a common scale, so the quantizer keeps running statistics per channel
(over all ranks, with `normalise`) and `encode` gives standardised numbers, which `decode` takes
back. The statistics are buffers and travel with the weights. `measure` replaces the running
estimate by the exact one of a whole data set, which is right before latents are stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers._ranks import HeldUpdates
from zoo.layers.quantizers.base import Projection, Quantizer, QuantizerConfig, setting

__all__ = ["LatentConfig", "LatentQuantizer", "Standardise"]

_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, kw_only=True)
class LatentConfig(QuantizerConfig):
    """The settings of kinds that keep numbers."""

    channels: int = setting(16, least=1)
    normalise: bool = False
    """Give latents of mean 0 and deviation 1 a channel, by statistics of training."""
    momentum: float = setting(0.01, least=0.0, most=1.0)


class Standardise(HeldUpdates):
    """Running mean and deviation of every channel."""

    mean: Tensor
    deviation: Tensor
    updates: Tensor

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.register_buffer("updates", torch.tensor(0))

    def forward(self, latents: Tensor) -> Tensor:
        return (latents - self.mean) / self.deviation

    def back(self, latents: Tensor) -> Tensor:
        return latents * self.deviation + self.mean

    @torch.no_grad()
    def learn(self, latents: Tensor) -> None:
        """Move towards the statistics of a training batch; the first one is taken as it is."""
        if not self.learning:
            return
        totals = self._collect(*_moments(latents))
        if totals is None:
            return
        mean, deviation = _statistics(totals)
        weight = self.momentum if self.updates else 1.0
        self.mean.lerp_(mean, weight)
        self.deviation.lerp_(deviation, weight)
        self.updates += 1

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> None:
        """Take the statistics of all `batches (..., channels)` together."""
        totals: list[Tensor] | None = None
        for latents in batches:
            moments = _moments(latents)
            totals = (
                [a + b for a, b in zip(totals, moments, strict=True)] if totals else list(moments)
            )
        if totals is None:
            raise UsageError("no latents to measure", allowed="at least one batch")
        mean, deviation = _statistics(totals)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)
        self.updates += 1


def _moments(latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, sum and sum of squares of every channel, in float64: they are subtracted later."""
    rows = latents.detach().reshape(-1, latents.shape[-1]).double()
    count = torch.tensor(float(rows.shape[0]), dtype=torch.float64, device=rows.device)
    return count, rows.sum(0), rows.square().sum(0)


def _statistics(totals: list[Tensor]) -> tuple[Tensor, Tensor]:
    count, total, squares = totals
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(_LEAST_DEVIATION**2)
    return mean.float(), variance.sqrt().float()


class LatentQuantizer(Quantizer):
    """Keeps `channels` numbers a position; a kind says how they are made."""

    def __init__(self, config: LatentConfig, width_in: int) -> None:
        super().__init__(config)
        self.channels = config.channels
        self.normalise = config.normalise
        self.into = Projection(config.dim, width_in)
        self.standard = Standardise(config.channels, config.momentum)
        self.out = Projection(config.channels, config.dim)

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Exact statistics of encoder outputs `(B, *grid, dim)` instead of the running ones."""
        if not self.normalise:
            raise UsageError("latents are not normalised", hint="build it with normalise=True")
        self.standard.measure(self._mode(z.float()) for z in batches)

    def _mode(self, z: Tensor) -> Tensor:
        """The latents of eval mode, before they are standardised."""
        raise NotImplementedError

    def _values(self, latents: Tensor) -> Tensor:
        """Values of latents: in eval on the very path that stored latents take."""
        if not self.training:
            return self._decode(self._standardised(latents))
        if self.normalise:
            self.standard.learn(latents)
        return self.out(latents)

    def _standardised(self, latents: Tensor) -> Tensor:
        return self.standard(latents) if self.normalise else latents

    def _encode(self, z: Tensor) -> Tensor:
        return self._standardised(self._mode(z))

    def _decode(self, columns: Tensor) -> Tensor:
        return self.out(self.standard.back(columns) if self.normalise else columns)

    def _public(self, columns: Tensor) -> Tensor:
        return columns

    def _columns(self, ids: Tensor, levels: int | None) -> Tensor:
        if levels is not None:
            raise UsageError(f"{levels} levels of continuous latents", allowed="levels=None")
        if not ids.is_floating_point() or ids.shape[-1] != self.channels:
            raise UsageError(
                f"latents of shape {tuple(ids.shape)} and type {ids.dtype}",
                allowed=f"floating point (B, *grid, {self.channels})",
            )
        return ids.float()
