"""Frechet distance between two sets of features: FID, FVD and motion FID need only the features.

    rfvd = FrechetDistance(FeatureProtocol("i3d_k400_logits", sha256, "224x224", 16, "test"))
    rfvd.update(features_of_clips, features_of_reconstructions)
    rfvd.compute()

Numbers compare only at equal features, sizes, splits and counts, so the protocol records them.
Mean and scatter are kept in float64 and merge exactly as over the whole. The square root of the
product of covariances is never formed: its trace is the sum of the singular values of the two
roots' product, which loses half as many digits as eigenvalues of the product do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from zoo.errors import InputError, ZooError
from zoo.metrics.base import Measurement, MetricInfo, SingleMetric

__all__ = ["FeatureProtocol", "FeatureStats", "FrechetDistance", "check_features"]


@dataclass(frozen=True)
class FeatureProtocol:
    """What was measured: without it a Frechet distance compares with nothing.

    `size` is the frame size that the net saw, with the filter that made it; `frames` the clip
    length (0 for pictures, -1 for whole takes); `split` the data's.
    """

    features: str
    sha256: str = ""
    size: str = ""
    frames: int = 0
    split: str = ""
    fps: float = 0.0

    def __str__(self) -> str:
        length = {0: "", -1: "whole takes"}.get(self.frames, f"{self.frames} frames")
        rate = f"{self.fps:g} fps" if self.fps else ""
        weights = f"weights sha256 {self.sha256[:12]}" if self.sha256 else ""
        split = f"split {self.split}" if self.split else ""
        known = [f"features {self.features}", weights, self.size, length, rate, split]
        return ", ".join(part for part in known if part)


class FeatureStats:
    """Count, mean and scatter of feature vectors, in float64 on the CPU."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, features: Tensor) -> None:
        """Add vectors (N, D)."""
        values = check_features(features)
        batch = FeatureStats()
        batch.count = len(values)
        batch.mean = values.mean(0)
        centred = values - batch.mean
        batch.scatter = centred.T @ centred
        self.merge(batch)

    def merge(self, other: FeatureStats) -> None:
        if not self.count or not other.count:
            if other.count:
                self.count, self.mean, self.scatter = other.count, other.mean, other.scatter
            return
        if len(self.mean) != len(other.mean):
            raise InputError(
                f"features of {len(other.mean)} values after features of {len(self.mean)}",
                allowed="vectors of one net",
            )
        total = self.count + other.count
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.count * other.count / total)
        self.scatter = self.scatter + other.scatter + between
        self.mean = self.mean + shift * (other.count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """The unbiased estimate, (D, D)."""
        if self.count < 2:
            raise ZooError(f"{self.count} vectors have no covariance", allowed="2 or more")
        return self.scatter / (self.count - 1)

    def distance(self, other: FeatureStats) -> float:
        """The Frechet distance of the two Gaussians."""
        covariances = self.covariance, other.covariance
        roots = [_root(covariance) for covariance in covariances]
        traces = sum(float(covariance.trace()) for covariance in covariances)
        cross = float(torch.linalg.svdvals(roots[0] @ roots[1]).sum())
        shift = float((self.mean - other.mean).square().sum())
        return max(0.0, shift + traces - 2 * cross)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root; rounding below zero counts as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def check_features(features: Tensor) -> Tensor:
    """Vectors (N, D) as float64 on the CPU."""
    if features.dim() != 2:
        raise InputError(f"features of shape {tuple(features.shape)}", allowed="(clips, values)")
    values = features.detach().to("cpu", torch.float64)
    if not torch.isfinite(values).all():
        raise InputError("the features hold NaN or infinite values", hint="look at the net's input")
    return values


class FrechetDistance(SingleMetric):
    """Distance between real (or original) and generated (or reconstructed) features."""

    def __init__(self, protocol: FeatureProtocol, *, name: str = "frechet_distance") -> None:
        self.name = name
        self.protocol = protocol
        self.reference = FeatureStats()
        self.generated = FeatureStats()

    @property
    def info(self) -> MetricInfo:
        protocol = f"Frechet distance of Gaussians, unbiased covariance; {self.protocol}"
        return MetricInfo(self.name, "", False, protocol)

    def update(self, reference: Tensor | None = None, generated: Tensor | None = None) -> None:
        """Features (N, D) of either side or both; the counts may differ."""
        if reference is not None:
            self.reference.update(reference)
        if generated is not None:
            self.generated.update(generated)

    def compute(self) -> Measurement:
        """The distance; with fewer vectors than dimensions it is biased upwards."""
        value = self.reference.distance(self.generated)
        counts = {
            "reference_count": float(self.reference.count),
            "generated_count": float(self.generated.count),
            "dimensions": float(len(self.reference.mean)),
        }
        count = min(self.reference.count, self.generated.count)
        return Measurement(self.info, value, count, "vectors", parts=counts)

    def _absorb(self, other: Self) -> None:
        self.reference.merge(other.reference)
        self.generated.merge(other.generated)
