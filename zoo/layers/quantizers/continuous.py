"""Plain continuous latents: a narrow projection, bounded if wished, without any loss.

MotionStreamer's and ViTok's bottlenecks without their KL term, and the codes of diffusion
autoencoders.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.quantizers._latents import LatentConfig, LatentQuantizer
from zoo.layers.quantizers.base import RawQuantized

__all__ = ["Continuous", "ContinuousQuantizer"]

_BOUNDS = ("none", "tanh", "norm")


@dataclass(frozen=True, kw_only=True)
class Continuous(LatentConfig, kind="continuous"):
    bound: str = "none"
    """none; tanh: between -1 and 1; norm: mean 0 and deviation 1 over the channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bound not in _BOUNDS:
            raise UsageError(
                f"continuous.bound is {self.bound!r}", allowed=", ".join(map(repr, _BOUNDS))
            )


class ContinuousQuantizer(LatentQuantizer):
    """See the module."""

    def __init__(self, config: Continuous) -> None:
        super().__init__(config, width_in=config.channels)
        self.bound = config.bound

    def _mode(self, z: Tensor) -> Tensor:
        latents = self.into(z)
        if self.bound == "tanh":
            return latents.tanh()
        if self.bound == "norm":
            return functional.layer_norm(latents, latents.shape[-1:])
        return latents

    def _quantize(self, z: Tensor) -> RawQuantized:
        return self._values(self._mode(z)), None, {}
