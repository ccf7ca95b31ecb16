"""What can be said of generated clips without a reference: flicker, smoothness, motion, constancy.

The questions are those of VBench (arXiv 2311.17982), the answers are arithmetic: block matching
stands for optical flow and interpolation nets, fixed filters for a recognition net. So these values
must not be put into a table of VBench's; read them beside those of real clips.

All take clips (B, C, T, H, W) in `value_range`; where motion is looked for, the shorter side is
brought down to `SHORT_SIDE` pixels.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError
from zoo.layers.block_motion import block_motion, warp
from zoo.metrics.base import MeanMetric, MetricInfo
from zoo.metrics.clips import SIGNED, ValueRange, per_clip, unit_pair
from zoo.metrics.features import FeatureNet, FilterBank, as_rgb

__all__ = ["DynamicDegree", "FlickerScore", "MotionSmoothness", "SubjectConstancy"]

SHORT_SIDE = 64
BLOCK, REACH = 8, 6
FASTEST = 0.05
MOVES_PERCENT = 1.0
_SEARCH = (
    f"shorter side at most {SHORT_SIDE} px, blocks of {BLOCK}, exhaustive search of {REACH} px"
)


class _Dimension(MeanMetric):
    """The mean over clips of a score."""

    least_frames = 2

    def __init__(self, value_range: ValueRange = SIGNED) -> None:
        super().__init__()
        self.value_range = value_range

    @abstractmethod
    def measure(self, clips: Tensor) -> Tensor:
        """(B,) from clips in 0..1."""

    @torch.no_grad()
    def update(self, clips: Tensor) -> None:
        """Clips (B, C, T, H, W) in `value_range`."""
        unit, _ = unit_pair(clips, clips, self.value_range)
        if unit.shape[2] < self.least_frames:
            raise InputError(
                f"clips of {unit.shape[2]} frames", allowed=f"{self.least_frames} frames or more"
            )
        self._mean.add(self.measure(unit))


class FlickerScore(_Dimension):
    """How little neighbouring frames differ; motion counts as flicker, as in the original."""

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "100 - mean absolute difference of neighbouring frames in percent of the range; mean "
            "over pixels and pairs, then clips; clips without motion are not picked out"
        )
        return MetricInfo("temporal_flickering", "%", True, protocol)

    def measure(self, clips: Tensor) -> Tensor:
        return 100 * (1 - per_clip(clips.diff(dim=2).abs()))


class MotionSmoothness(_Dimension):
    """How well a frame follows from its two neighbours, moved half the way to each other."""

    least_frames = 3

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "100 - mean absolute difference of each inner frame and the mean of its neighbours, "
            f"moved half the way along block motion ({_SEARCH}), in percent of the range; mean "
            "over clips"
        )
        return MetricInfo("motion_smoothness", "%", True, protocol)

    def measure(self, clips: Tensor) -> Tensor:
        clips = _small(clips)
        before, middle, after = clips[:, :, :-2], clips[:, :, 1:-1], clips[:, :, 2:]
        frames = [part.transpose(1, 2).flatten(0, 1) for part in (before, middle, after)]
        pairs = torch.stack([frames[0], frames[2]], dim=2)
        half = block_motion(pairs, BLOCK, REACH)[:, 0] / 2
        expected = (warp(frames[0], half) + warp(frames[2], -half)) / 2
        errors = (frames[1] - expected).abs().unflatten(0, (len(clips), -1))
        return 100 * (1 - per_clip(errors))


class DynamicDegree(_Dimension):
    """The share of clips in which something moves."""

    @property
    def info(self) -> MetricInfo:
        protocol = (
            f"clips whose fastest {100 * FASTEST:g}% of blocks move by more than "
            f"{MOVES_PERCENT:g}% of the shorter side per frame, mean over pairs of frames "
            f"({_SEARCH})"
        )
        return MetricInfo("dynamic_degree", "%", None, protocol)

    def measure(self, clips: Tensor) -> Tensor:
        clips = _small(clips)
        lengths = block_motion(clips, BLOCK, REACH).norm(dim=-1).flatten(2)
        fastest = lengths.topk(max(1, round(FASTEST * lengths.shape[2])), dim=2).values
        percent = 100 * fastest.mean((1, 2)) / min(clips.shape[-2:])
        return 100 * (percent > MOVES_PERCENT).double()


class SubjectConstancy(_Dimension):
    """How alike frames stay to the first one and to the one before, seen by a feature net."""

    def __init__(self, net: FeatureNet | None = None, value_range: ValueRange = SIGNED) -> None:
        super().__init__(value_range)
        self.net = net or FilterBank()

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "mean of the cosines of each frame with the first and with the one before, of maps "
            f"averaged over the frame; features {self.net.identity}; mean over clips"
        )
        return MetricInfo("subject_constancy", "%", True, protocol)

    def measure(self, clips: Tensor) -> Tensor:
        pictures = as_rgb(clips.transpose(1, 2).flatten(0, 1)) * 2 - 1
        seen = torch.cat([depth.mean((2, 3)) for depth in self.net(pictures)], 1).double()
        seen = functional.normalize(seen, dim=1).unflatten(0, (len(clips), -1))
        first = (seen[:, 1:] * seen[:, :1]).sum(-1)
        before = (seen[:, 1:] * seen[:, :-1]).sum(-1)
        return 100 * (first + before).mean(1) / 2


def _small(clips: Tensor) -> Tensor:
    """At most `SHORT_SIDE` pixels along the shorter side, sides being multiples of a block."""
    scale = min(1.0, SHORT_SIDE / min(clips.shape[-2:]))
    rows, columns = (max(1, round(side * scale / BLOCK)) * BLOCK for side in clips.shape[-2:])
    if (rows, columns) == tuple(clips.shape[-2:]):
        return clips
    frames = clips.transpose(1, 2).flatten(0, 1)
    made = functional.interpolate(frames, size=(rows, columns), mode="area")
    return made.unflatten(0, (len(clips), -1)).transpose(1, 2)
