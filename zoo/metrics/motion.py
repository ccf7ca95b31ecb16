"""How near reconstructed motion is, and whether feet slide: joints (B, T, J, 3) in metres.

Takes of unequal length share a batch with `lengths`; padding never counts. Means run over all
frames of the data set, so long takes weigh more, as in the published evaluators. Differences over
time lose their first frames.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics.base import (
    MeanMetric,
    Measurement,
    Metric,
    MetricInfo,
    WeightedMean,
    nothing_measured,
)

__all__ = [
    "MPJPE",
    "AccelerationError",
    "ContactRule",
    "FootSkate",
    "VelocityError",
    "over_frames",
    "procrustes_align",
    "valid_frames",
]

Alignment = Literal["none", "root", "procrustes"]

MILLIMETRES = 1000.0
LARGEST_BODY_M = 10.0


def procrustes_align(source: Tensor, target: Tensor) -> Tensor:
    """`source` moved, turned and scaled onto `target`, both (..., J, 3); never mirrored."""
    source, target = source.double(), target.double()
    from_centre, to_centre = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    x, y = source - from_centre, target - to_centre
    u, stretch, vt = torch.linalg.svd(x.transpose(-1, -2) @ y)
    sign = torch.ones_like(stretch)
    sign[..., 2] = torch.sign(torch.linalg.det(u @ vt))
    turned = x @ (u * sign.unsqueeze(-2)) @ vt
    size = x.square().sum((-1, -2)).clamp(min=torch.finfo(x.dtype).tiny)
    scale = (stretch * sign).sum(-1) / size
    return turned * scale[..., None, None] + to_centre


class _JointMetric(MeanMetric):
    """The mean over frames of a distance between joints, in millimetres."""

    counted = "takes"

    @abstractmethod
    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        """(B, T - lost) from two takes (B, T, J, 3)."""

    @torch.no_grad()
    def update(
        self, reference: Tensor, reconstruction: Tensor, lengths: Tensor | None = None
    ) -> None:
        """Joints (B, T, J, 3) in metres; `lengths` (B,) counts the frames that are no padding."""
        if reference.shape != reconstruction.shape:
            raise InputError(
                f"takes of {tuple(reference.shape)} and {tuple(reconstruction.shape)}",
                allowed="two takes of one shape",
            )
        valid = valid_frames(reference, lengths)
        padding = ~valid[..., None, None]
        reference, reconstruction = (
            joints.double().masked_fill(padding, 0) for joints in (reference, reconstruction)
        )
        if not torch.isfinite(reconstruction).all():
            raise InputError(
                "the reconstruction holds NaN or infinite values", hint="mend the model"
            )
        errors = self.measure(reference, reconstruction)
        counts = valid[:, valid.shape[1] - errors.shape[1] :]
        self._mean.add(*over_frames(errors, counts))


class MPJPE(_JointMetric):
    """Mean per-joint position error: in the world, from the root, or after Procrustes."""

    def __init__(self, align: Alignment = "none", *, root: int = 0) -> None:
        super().__init__()
        if align not in ("none", "root", "procrustes"):
            raise UsageError(f"alignment {align!r}", allowed="'none', 'root' or 'procrustes'")
        self.align: Alignment = align
        self.root = root

    @property
    def info(self) -> MetricInfo:
        name, how = {
            "none": ("mpjpe", "world positions"),
            "root": ("root_mpjpe", f"joint {self.root} of both moved to the origin"),
            "procrustes": ("pa_mpjpe", "each frame moved, turned and scaled on, never mirrored"),
        }[self.align]
        protocol = f"mean joint distance, {how}; mean over joints and over all frames"
        return MetricInfo(name, "mm", False, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        if self.align == "root":
            reference, reconstruction = (
                joints - joints[:, :, self.root, None] for joints in (reference, reconstruction)
            )
        if self.align == "procrustes":
            reconstruction = procrustes_align(reconstruction, reference)
        return _joint_distance(reference - reconstruction)


class _DifferenceError(_JointMetric):
    """Error of a difference over time; per frame, or per second where a rate is given."""

    name: str
    order: int

    def __init__(self, *, fps: float | None = None) -> None:
        super().__init__()
        self.fps = fps

    @property
    def info(self) -> MetricInfo:
        power = "²" if self.order == 2 else ""
        unit = f"mm/frame{power}" if self.fps is None else f"mm/s{power}"
        rate = "frame rate not stated" if self.fps is None else f"at {self.fps:g} fps"
        protocol = (
            f"mean joint distance of differences of order {self.order} over time, {rate}; mean "
            f"over joints and over all but {self.order} frames of each take"
        )
        return MetricInfo(self.name, unit, False, protocol)

    def measure(self, reference: Tensor, reconstruction: Tensor) -> Tensor:
        scale = 1.0 if self.fps is None else self.fps**self.order
        return scale * _joint_distance((reference - reconstruction).diff(n=self.order, dim=1))


class VelocityError(_DifferenceError):
    """Error of joint velocities."""

    name = "velocity_error"
    order = 1


class AccelerationError(_DifferenceError):
    """Error of joint accelerations (ACCEL)."""

    name = "acceleration_error"
    order = 2


@dataclass(frozen=True)
class ContactRule:
    """When a foot stands and when it slides.

    A foot joint stands between two frames while it is at most `height_m` above the floor in both
    and moves up or down by less than `vertical_m_s`; it slides when it then moves along the floor
    by more than `slide_m_s`. `floor_m` is the floor's height; without it every foot joint's own
    lowest position in the take is its floor, which also suits ankles.
    """

    height_m: float = 0.05
    vertical_m_s: float = 0.3
    slide_m_s: float = 0.5
    floor_m: float | None = None

    def __str__(self) -> str:
        floor = "its lowest position" if self.floor_m is None else f"{self.floor_m:g} m"
        return (
            f"standing: at most {self.height_m:g} m above {floor} in both frames, vertical speed "
            f"below {self.vertical_m_s:g} m/s"
        )


class FootSkate(Metric):
    """How often and how fast standing feet slide, over one set of takes."""

    def __init__(
        self,
        feet: Sequence[int],
        fps: float,
        *,
        rule: ContactRule | None = None,
        up: int = 1,
    ) -> None:
        self.feet = tuple(feet)
        self.fps = fps
        self.rule = rule or ContactRule()
        self.up = up
        self._share = WeightedMean()
        self._speed = WeightedMean()

    @property
    def infos(self) -> tuple[MetricInfo, ...]:
        basis = f"joints {self.feet}, axis {self.up} up, {self.fps:g} fps; {self.rule}"
        share = f"standing foot-frames faster than {self.rule.slide_m_s:g} m/s along the floor"
        return (
            MetricInfo("foot_skate", "%", False, f"{share}; {basis}"),
            MetricInfo("foot_slide", "cm/s", False, f"mean floor speed while standing; {basis}"),
        )

    @torch.no_grad()
    def update(self, joints: Tensor, lengths: Tensor | None = None) -> None:
        """Joints (B, T, J, 3) in metres; `lengths` (B,) counts the frames that are no padding."""
        joints = joints.double()
        valid = valid_frames(joints, lengths)
        feet = joints[:, :, list(self.feet)]
        height = self._height(feet[..., self.up], valid)
        velocity = feet.diff(dim=1) * self.fps
        along = [axis for axis in range(3) if axis != self.up]
        speed = velocity[..., along].norm(dim=-1)
        low = height <= self.rule.height_m
        standing = low[:, 1:] & low[:, :-1] & valid[:, 1:, None]
        standing &= velocity[..., self.up].abs() < self.rule.vertical_m_s
        sliding = (speed > self.rule.slide_m_s).double()
        self._share.add(*over_frames(100 * sliding, standing))
        self._speed.add(*over_frames(100 * speed, standing))

    def _height(self, height: Tensor, valid: Tensor) -> Tensor:
        if self.rule.floor_m is not None:
            return height - self.rule.floor_m
        return height - height.masked_fill(~valid[..., None], torch.inf).amin(1, keepdim=True)

    def measurements(self) -> tuple[Measurement, ...]:
        if not self._share.items:
            raise nothing_measured(self)
        means = (self._share, self._speed)
        return tuple(
            Measurement(info, mean.mean, mean.items, "takes with contact", mean.interval)
            for info, mean in zip(self.infos, means, strict=True)
        )

    def _absorb(self, other: Self) -> None:
        self._share.merge(other._share)
        self._speed.merge(other._speed)


def valid_frames(joints: Tensor, lengths: Tensor | None) -> Tensor:
    """Which frames are no padding, (B, T); refuses what is no take in metres."""
    if joints.dim() != 4 or joints.shape[-1] != 3:
        raise InputError(
            f"joints of shape {tuple(joints.shape)}", allowed="(batch, frames, joints, 3)"
        )
    batch, frames = joints.shape[:2]
    if lengths is None:
        valid = torch.ones(batch, frames, dtype=torch.bool, device=joints.device)
    else:
        valid = torch.arange(frames, device=joints.device) < lengths.to(joints.device)[:, None]
    span = (joints.amax(2) - joints.amin(2)).amax(-1)[valid]
    if not (span <= LARGEST_BODY_M).all():
        raise InputError(
            f"a body of {float(span.max()):.4g} m",
            allowed=f"joints in metres, finite, within {LARGEST_BODY_M:g} m of each other",
            hint="divide millimetres by 1000, centimetres by 100",
        )
    return valid


def _joint_distance(difference: Tensor) -> Tensor:
    """Millimetres, mean over joints: (B, T, J, 3) to (B, T)."""
    return MILLIMETRES * difference.norm(dim=-1).mean(-1)


def over_frames(values: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """For each take the mean of the values that count, and how many do."""
    weights = counted.flatten(1).sum(1)
    totals = torch.where(counted, values, 0).flatten(1).sum(1)
    return totals / weights.clamp(min=1), weights
