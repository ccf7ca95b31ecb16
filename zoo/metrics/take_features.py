"""A take as one vector of statistics, for Frechet and kernel distances without any trained net.

Of every joint: its height, its distance from the root along the floor, its speed; of the body: its
speed forwards and to its left, and its turning. Their means and deviations over time do not depend
on where a take happens or whereto it faces. Nothing was trained and agreement with human judgement
is not known, so distances in this space must not be called FID.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.metrics.motion import valid_frames

__all__ = ["TAKE_STATISTICS", "take_features"]

TAKE_STATISTICS = "take_statistics_v1"
"""Raised when the vector changes."""

LEAST_FRAMES = 2
RIGHT_HIP, LEFT_HIP = 2, 1


@torch.no_grad()
def take_features(joints: Tensor, fps: float) -> Tensor:
    """Vectors (B, D) of takes (B, T, 22, 3) in metres, y up, the root first."""
    valid_frames(joints, None)
    if joints.shape[1] < LEAST_FRAMES or joints.shape[2] <= RIGHT_HIP:
        raise InputError(
            f"takes of {joints.shape[1]} frames and {joints.shape[2]} joints",
            allowed=f"{LEAST_FRAMES} frames or more of a body with hips",
        )
    joints = joints.double()
    velocity = joints.diff(dim=1) * fps
    left = _flat(joints[:, :, LEFT_HIP] - joints[:, :, RIGHT_HIP])
    left = left / left.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    travel = _flat(velocity[:, :, 0])
    along = torch.stack([_turn(left[:, :-1], travel), (left[:, :-1] * travel).sum(-1)], -1)
    before, after = left[:, :-1], left[:, 1:]
    turning = torch.atan2(_turn(after, before), (before * after).sum(-1)).unsqueeze(-1)
    rows = [
        joints[..., 1],
        _flat(joints - joints[:, :, :1]).norm(dim=-1),
        velocity.norm(dim=-1),
        along,
        turning * fps,
    ]
    return torch.cat([part for row in rows for part in (row.mean(1), row.std(1, correction=0))], -1)


def _flat(x: Tensor) -> Tensor:
    """Without the height."""
    return x[..., [0, 2]]


def _turn(a: Tensor, b: Tensor) -> Tensor:
    """How far `b` points to the right of `a`, seen from above: ahead, where `a` points left."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
