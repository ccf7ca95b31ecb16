"""Kernel distance (KID): unbiased where the Frechet distance of few samples is not.

The squared maximum mean discrepancy under the kernel (x·y / D + 1)³, averaged over random subsets.
It may fall below zero when both sets are alike; that is no error.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics.base import Measurement, MetricInfo, SingleMetric
from zoo.metrics.frechet import FeatureProtocol, check_features
from zoo.metrics.sampling import Rows, draw

__all__ = ["KernelDistance", "kernel_mmd"]


def kernel_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased squared discrepancy of vectors (N, D) and (M, D)."""
    if min(len(x), len(y)) < 2:
        raise InputError(f"{len(x)} and {len(y)} vectors", allowed="2 or more on each side")
    n, m = len(x), len(y)
    within_x, within_y = _kernel(x, x), _kernel(y, y)
    mean_x = (within_x.sum() - within_x.trace()) / (n * (n - 1))
    mean_y = (within_y.sum() - within_y.trace()) / (m * (m - 1))
    return mean_x + mean_y - 2 * _kernel(x, y).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


class KernelDistance(SingleMetric):
    """KID over features that are all kept; subsets shrink to the smaller side."""

    def __init__(
        self,
        protocol: FeatureProtocol,
        *,
        name: str = "kernel_distance",
        subsets: int = 100,
        subset_size: int = 1000,
        seed: int = 0,
    ) -> None:
        if subsets < 1 or subset_size < 2:
            raise UsageError(
                f"{subsets} subsets of {subset_size}", allowed="1 or more, of 2 vectors or more"
            )
        self.name = name
        self.protocol = protocol
        self.subsets = subsets
        self.subset_size = subset_size
        self.seed = seed
        self._reference = Rows()
        self._generated = Rows()

    @property
    def info(self) -> MetricInfo:
        protocol = (
            f"unbiased squared MMD, kernel (x·y/D + 1)³, mean over {self.subsets} subsets of at "
            f"most {self.subset_size} without replacement, seed {self.seed}; {self.protocol}"
        )
        return MetricInfo(self.name, "", False, protocol)

    def update(self, reference: Tensor | None = None, generated: Tensor | None = None) -> None:
        """Features (N, D) of either side or both; the counts may differ."""
        if reference is not None:
            self._reference.add(check_features(reference))
        if generated is not None:
            self._generated.add(check_features(generated))

    def compute(self) -> Measurement:
        size = min(self.subset_size, len(self._reference), len(self._generated))
        if size < 2:
            raise InputError(
                f"{len(self._reference)} reference and {len(self._generated)} generated vectors",
                allowed="2 or more on each side",
            )
        reference, generated = self._reference.ordered(), self._generated.ordered()
        pairs = zip(
            draw(len(reference), size, self.subsets, self.seed),
            draw(len(generated), size, self.subsets, self.seed + 1),
            strict=True,
        )
        values = torch.stack([kernel_mmd(reference[x], generated[y]) for x, y in pairs])
        parts = {
            "reference_count": float(len(reference)),
            "generated_count": float(len(generated)),
            "subset_size": float(size),
            "deviation_over_subsets": float(values.std(correction=0)),
        }
        count = min(len(reference), len(generated))
        return Measurement(self.info, float(values.mean()), count, "vectors", parts=parts)

    def _absorb(self, other: Self) -> None:
        self._reference.merge(other._reference)
        self._generated.merge(other._generated)
