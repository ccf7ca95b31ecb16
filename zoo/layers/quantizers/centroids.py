"""Centroids of samples, fitted once by k-means: CCViT.

Nothing is trained with the network: `fit` takes seconds on a sample of patches and the table then
stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.layers.quantizers._codebook import codebook_losses
from zoo.layers.quantizers._search import kmeans, nearest
from zoo.layers.quantizers.base import (
    Quantizer,
    QuantizerConfig,
    RawQuantized,
    setting,
    straight_through,
)

__all__ = ["Centroids", "CentroidsQuantizer"]


@dataclass(frozen=True, kw_only=True)
class Centroids(QuantizerConfig, kind="centroids"):
    size: int = setting(8192, least=2, most=2**18)


class CentroidsQuantizer(Quantizer):
    """See the module."""

    centroids: Tensor
    fitted: Tensor

    def __init__(self, config: Centroids) -> None:
        super().__init__(config)
        self.levels = (config.size,)
        self.register_buffer("centroids", torch.zeros(config.size, config.dim))
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit(self, samples: Tensor, iterations: int = 20, seed: int = 0) -> float:
        """Centroids of `samples (..., dim)`; returns the mean squared error they leave."""
        rows = samples.reshape(-1, self.dim).float()
        size = self.centroids.shape[0]
        if rows.shape[0] < size:
            raise UsageError(
                f"{rows.shape[0]} samples for {size} centroids", allowed=f"{size} samples or more"
            )
        order = torch.randperm(rows.shape[0], generator=torch.Generator().manual_seed(seed))
        self.centroids.copy_(kmeans(rows[order.to(rows.device)], size, iterations))
        self.fitted.fill_(True)
        return float(functional.mse_loss(self.centroids[nearest(rows, self.centroids)], rows))

    def _quantize(self, z: Tensor) -> RawQuantized:
        ids = self._encode(z)
        codes = self._decode(ids)
        return straight_through(z, codes), ids, codebook_losses(z, codes, learned=False)

    def _encode(self, z: Tensor) -> Tensor:
        self._check_fitted()
        return nearest(z, self.centroids.float()).unsqueeze(-1)

    def _decode(self, columns: Tensor) -> Tensor:
        self._check_fitted()
        return functional.embedding(columns.squeeze(-1), self.centroids.float())

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise UsageError("the centroids are not fitted yet", hint="quantizer.fit(samples)")
