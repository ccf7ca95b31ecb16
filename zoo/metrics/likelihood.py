"""How many bits a generator needs for a token of data that it was not trained on.

    bits = Likelihood(levels=1, exact=model.exact_nll)
    bits.update(model.nll(batch), batch.valid().flatten(1).sum(1))

Bits compare between generators of one tokenizer's tokens and nowhere else. A bound lies above the
true value, so of two models with bounds either may be the better one where they are close.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.metrics.base import MeanMetric, MetricInfo

__all__ = ["Likelihood"]


class Likelihood(MeanMetric):
    """Bits per token, longer clips weighing more."""

    counted = "clips"

    def __init__(self, levels: int = 1, *, exact: bool = True) -> None:
        super().__init__()
        self.levels = levels
        self.exact = exact

    @property
    def info(self) -> MetricInfo:
        kind = "exact likelihood" if self.exact else "bound from above, estimated by sampling"
        protocol = (
            f"negative log2 likelihood of each id of {self.levels} level(s), {kind}; mean over "
            "tokens, interval over clips"
        )
        return MetricInfo("bits_per_token", "bits", False, protocol)

    @torch.no_grad()
    def update(self, nats: Tensor, positions: Tensor) -> None:
        """Mean nats of each clip's tokens (B,), and how many positions it has (B,)."""
        self._mean.add(nats / math.log(2), positions * self.levels)
