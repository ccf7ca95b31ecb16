"""HumanML3D's 263 motion features as joint positions, with gradients: for a joint loss.

    fit(model, feed, settings, folder, joints=humanml_joints)

Joints follow from the first 67 features; a model of `features[..., ESSENTIAL]` learns none of the
rest, which only repeats them (MARDM, arXiv 2411.16575).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["ESSENTIAL", "humanml_joints"]

_JOINTS = 22

ESSENTIAL = slice(0, 4 + 3 * (_JOINTS - 1))
"""The root's rates and height, and the positions of the other joints."""


def humanml_joints(features: Tensor) -> Tensor:
    """Features (B, T, 67 or more) to joints (B, T, 22, 3) in metres, the first above the origin.

    The first four are the root's turning rate (half the angle a frame), its velocity over the
    ground and its height; then come the positions of the other joints as seen from it. A frame's
    rates lead to the next frame.
    """
    rates, height = features[..., :3], features[..., 3]
    before = functional.pad(rates[:, :-1], (0, 0, 1, 0))
    angle = -2 * before[..., 0].cumsum(1)
    steps = torch.stack([before[..., 1], torch.zeros_like(height), before[..., 2]], -1)
    ground = _turned(steps, angle).cumsum(1)
    others = features[..., 4 : 4 + 3 * (_JOINTS - 1)].unflatten(-1, (-1, 3))
    others = _turned(others, angle[..., None]) + ground[..., None, :]
    root = torch.stack([ground[..., 0], height, ground[..., 2]], -1)
    return torch.cat([root[..., None, :], others], dim=-2)


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """Turned about the vertical."""
    x, y, z = vectors.unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([x * cosine + z * sine, y.expand_as(x), z * cosine - x * sine], -1)
