"""What a run makes small: reconstruction, velocity, joints, perceptual and the family's own losses.

Functions of two tensors, and `Objective`, which weighs them by the settings. The discriminator has
a module of its own, because it learns too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.spec import TokenizerSpec
from zoo.tokenizer import Reconstruction
from zoo.training.settings import Losses

__all__ = ["Features", "Joints", "Objective", "perceptual"]

Features = Callable[[Tensor], Sequence[Tensor]]
"""Frames (N, 3, H, W) in -1..1 to feature maps (N, C, h, w), one for each layer that counts."""

Joints = Callable[[Tensor], Tensor]
"""Motion as the model sees it (B, T, D) to joint positions (B, T, J, 3)."""


class Objective:
    """The weighted sum of a run's losses."""

    def __init__(
        self,
        losses: Losses,
        spec: TokenizerSpec,
        family_weights: Mapping[str, float],
        *,
        features: Features | None = None,
        joints: Joints | None = None,
    ):
        _check_parts(losses, spec, features, joints)
        self.losses = losses
        self.time = spec.layout.index("T")
        self.family_weights = {**family_weights, **losses.family}
        self.features, self.joints = features, joints

    def __call__(self, x: Tensor, made: Reconstruction) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to differentiate, and its unweighted parts by name."""
        total = x.new_zeros(())
        parts = dict(made.losses)
        for name, value in made.losses.items():
            total = total + self.family_weights.get(name, 1.0) * value
        if made.output is None:
            return total, parts
        for name, (weight, value) in self._between(x, made.output.float()).items():
            total = total + weight * value
            parts[name] = value
        return total, parts

    def _between(self, x: Tensor, y: Tensor) -> dict[str, tuple[float, Tensor]]:
        known = self.losses
        terms = {"reconstruction": (known.weight, self._distance(x, y))}
        if known.velocity and x.shape[self.time] > 1:
            moved = self._distance(x.diff(dim=self.time), y.diff(dim=self.time))
            terms["velocity"] = (known.velocity, moved)
        if self.joints and known.joints:
            terms["joints"] = (known.joints, self._distance(self.joints(x), self.joints(y)))
        if self.features and known.perceptual:
            terms["perceptual"] = (known.perceptual, perceptual(self.features, x, y))
        return terms

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        kind = self.losses.reconstruction
        if kind == "l1":
            return functional.l1_loss(y, x)
        if kind == "huber":
            return functional.huber_loss(y, x, delta=self.losses.huber_delta)
        return functional.mse_loss(y, x)


def perceptual(features: Features, x: Tensor, y: Tensor) -> Tensor:
    """Mean squared distance of unit feature vectors of single frames, summed over layers."""
    with torch.no_grad():
        wanted = features(_frames(x))
    got = features(_frames(y))
    return torch.stack(
        [
            (functional.normalize(a, dim=1) - functional.normalize(b, dim=1)).square().sum(1).mean()
            for a, b in zip(wanted, got, strict=True)
        ]
    ).sum()


def _frames(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(0, 1)


def _check_parts(
    losses: Losses, spec: TokenizerSpec, features: Features | None, joints: Joints | None
) -> None:
    if losses.perceptual and features is None:
        raise UsageError(
            "a perceptual loss needs a feature network",
            hint="give fit(..., features=net) a function of frames, or set perceptual to 0",
        )
    if losses.perceptual and spec.layout != "BCTHW":
        raise UsageError(
            f"a perceptual loss judges pictures, {spec.name} makes {spec.modality}",
            hint="set perceptual to 0",
        )
    if losses.joints and joints is None:
        raise UsageError(
            "a joint loss needs the function that recovers joint positions",
            hint="give fit(..., joints=function), or set joints to 0",
        )
