"""Whether bodies stay on the floor and move without jerks: joints (B, T, J, 3) in metres.

None compares with a reference: real takes jump and kneel too, so a generator's values are read
beside those of real ones.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from zoo.metrics.base import Measurement, Metric, MetricInfo, WeightedMean, nothing_measured
from zoo.metrics.motion import over_frames, valid_frames

__all__ = ["BodyPhysics"]


class BodyPhysics(Metric):
    """Depth below the floor, height above it, and jerk, over one set of takes."""

    def __init__(self, fps: float, *, floor_m: float = 0.0, up: int = 1) -> None:
        self.fps = fps
        self.floor_m = floor_m
        self.up = up
        self._means = (WeightedMean(), WeightedMean(), WeightedMean())

    @property
    def infos(self) -> tuple[MetricInfo, ...]:
        floor = f"the floor at {self.floor_m:g} m of axis {self.up}; mean over frames"
        jerk = (
            f"mean length of joints' third difference over time, {self.fps:g} fps; mean over "
            "joints and frames"
        )
        return (
            MetricInfo(
                "floor_penetration", "cm", False, f"depth of the lowest joint below {floor}"
            ),
            MetricInfo("floating", "cm", None, f"height of the lowest joint above {floor}"),
            MetricInfo("jerk", "m/s³", None, jerk),
        )

    @torch.no_grad()
    def update(self, joints: Tensor, lengths: Tensor | None = None) -> None:
        """Joints (B, T, J, 3) in metres; `lengths` (B,) counts the frames that are no padding."""
        joints = joints.double()
        valid = valid_frames(joints, lengths)
        joints = joints.masked_fill(~valid[..., None, None], 0)
        lowest = 100 * (joints[..., self.up].amin(-1) - self.floor_m)
        jerk = joints.diff(n=3, dim=1).norm(dim=-1).mean(-1) * self.fps**3
        values = ((-lowest).clamp(min=0), lowest.clamp(min=0), jerk)
        for mean, value in zip(self._means, values, strict=True):
            mean.add(*over_frames(value, valid[:, valid.shape[1] - value.shape[1] :]))

    def measurements(self) -> tuple[Measurement, ...]:
        if not all(mean.items for mean in self._means):
            raise nothing_measured(self)
        return tuple(
            Measurement(info, mean.mean, mean.items, "takes", mean.interval)
            for info, mean in zip(self.infos, self._means, strict=True)
        )

    def _absorb(self, other: Self) -> None:
        for mine, theirs in zip(self._means, other._means, strict=True):
            mine.merge(theirs)
