"""A generator around a generator: what samplers that change one thing have in common."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zoo.denoiser import Denoiser
from zoo.generator import Conditions, Decoding, Known, Samples

__all__ = ["Around"]


class Around(Denoiser):
    """Answers all that the `inner` generator answers, for as many `frames` as are asked for."""

    def __init__(self, inner: Denoiser, frames: int = 0):
        space = inner.space
        longer = replace(space, grid=(frames or space.grid[0], *space.grid[1:]))
        super().__init__(replace(inner.config, space=longer))
        self.inner, self.name, self.source = inner, inner.name, inner.source

    @property
    def learns_known(self) -> bool:
        return self.inner.learns_known

    def inward(self, x: Tensor) -> Tensor:
        return self.inner.inward(x)

    def outward(self, x: Tensor) -> Tensor:
        return self.inner.outward(x)

    def times(self, steps: int, frames: int) -> Tensor:
        return self.inner.times(steps, frames)

    def predict(
        self, x: Tensor, time: Tensor, conditions: Conditions, lengths: Tensor | None = None
    ) -> Tensor:
        return self.inner.predict(x, time, conditions, lengths)

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        return self.inner.estimate(x, time, conditions, guidance, lengths)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        steps = decoding.steps or self.inner.usual_steps
        return super().draw(x, conditions, replace(decoding, steps=steps), dice, known, lengths)
