"""HumanML3D's 263 motion features as joint positions, with gradients: for a joint loss.

fit(model, feed, settings, folder, joints=humanml_joints)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["humanml_joints"]

_JOINTS = 22


def humanml_joints(features: Tensor) -> Tensor:
    """Features (B, T, 263) to joints (B, T, 22, 3) in metres, the first root above the origin.

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
