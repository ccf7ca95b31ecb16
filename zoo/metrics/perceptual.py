"""Perceptual distance over a pluggable feature net, in the manner of LPIPS.

Features of both frames are scaled to unit length at every position, subtracted, squared, weighted
by channel (learned weights, or 1), averaged over the picture and added up over depths. With the
net of `zoo.metrics.lpips` and published weights this is LPIPS; with `FilterBank` it needs no
weights and is not LPIPS. `perceptual_distance` has gradients, so training uses it as a loss.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from zoo.metrics.base import MetricInfo
from zoo.metrics.clips import SIGNED, ClipMetric, ValueRange, by_frames, per_clip
from zoo.metrics.features import FeatureNet, FilterBank, as_rgb

__all__ = ["PerceptualDistance", "perceptual_distance"]

NORM_FLOOR = 1e-8


def perceptual_distance(net: FeatureNet, reference: Tensor, reconstruction: Tensor) -> Tensor:
    """The distance of frames (N, 1 or 3, H, W) in -1..1, (N,)."""
    total = reference.new_zeros(len(reference))
    pairs = zip(net(as_rgb(reference)), net(as_rgb(reconstruction)), strict=True)
    for depth, (x, y) in enumerate(pairs):
        squared = (_unit_length(x) - _unit_length(y)).square()
        if net.channel_weights:
            squared = squared * net.channel_weights[depth]
        total = total + squared.sum(1).mean((1, 2))
    return total


def _unit_length(maps: Tensor) -> Tensor:
    return maps * torch.rsqrt(maps.square().sum(1, keepdim=True) + NORM_FLOOR)


class PerceptualDistance(ClipMetric):
    """Distance in the features of `net`; its name is the net's."""

    def __init__(self, net: FeatureNet | None = None, *, value_range: ValueRange = SIGNED) -> None:
        super().__init__(value_range)
        self.net = FilterBank() if net is None else net

    @property
    def info(self) -> MetricInfo:
        weighting = "learned channel weights" if self.net.channel_weights else "unit weights"
        protocol = (
            f"features {self.net.identity}, unit length by position, squared difference, "
            f"{weighting}, mean over positions, sum over depths; frames at their own size, "
            "mean over frames, then clips"
        )
        return MetricInfo(self.net.name, "", False, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        distance = partial(perceptual_distance, self.net.to(reference.device))
        return per_clip(by_frames(distance, reference * 2 - 1, reconstruction * 2 - 1))
