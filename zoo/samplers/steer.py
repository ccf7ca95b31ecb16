"""Samples that keep to what can be measured: error functions, other models, other guidance.

An error function takes clean values as they leave the generator, (B, T, ..., channels), and gives
one number for each example. The same function scores stored clips.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Conditions, Decoding
from zoo.generators.latent_dit import LatentDit
from zoo.layers.diffusion import pushed, walk
from zoo.samplers.around import Around

__all__ = [
    "Composed",
    "Error",
    "Intervalled",
    "LeaningOnMotion",
    "Steered",
    "like_motion_of",
    "motion_signature",
    "programmed",
]

Error = Callable[[Tensor], Tensor]
"""Clean values (B, T, ..., channels) to errors (B,)."""


class Steered(Around):
    """Each estimate takes `repeats` steps down the slope of an error, `weight` long.

    Errors may compare examples of the batch, such as two people who shall touch.
    """

    def __init__(self, inner: Denoiser, error: Error, weight: float = 0.1, repeats: int = 5):
        super().__init__(inner)
        self.error, self.weight, self.repeats = error, weight, repeats

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        clean = self.inner.estimate(x, time, conditions, guidance, lengths)
        if not self.weight:
            return clean
        for _ in range(self.repeats):
            with torch.enable_grad():
                tried = clean.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self.error(self.outward(tried)).sum(), tried)
            clean = clean - self.weight * slope
        return clean


class Composed(Around):
    """A large generator's estimate, moved by `weight` towards that of a `small` one of a domain."""

    def __init__(self, inner: Denoiser, small: Denoiser, weight: float = 0.5):
        super().__init__(inner)
        if small.process != inner.process or small.space != inner.space:
            raise UsageError("two generators differ in space or process", allowed="equal ones")
        self.small, self.weight = small, weight

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        large = self.inner.estimate(x, time, conditions, guidance, lengths)
        if not self.weight:
            return large
        small = self.small.estimate(x, time, conditions, guidance, lengths)
        return pushed(small, large, self.weight)


class Intervalled(Around):
    """Guidance between two times alone, and with its deviation brought back by `rescale`."""

    def __init__(
        self, inner: Denoiser, first: float = 1.0, last: float = 0.0, rescale: float = 0.0
    ):
        super().__init__(inner)
        self.first, self.last, self.rescale = first, last, rescale

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        now = float(time.max())
        if guidance == 1 or not self.last <= now <= self.first:
            return self.inner.estimate(x, time, conditions, 1.0, lengths)
        if not self.rescale:
            return self.inner.estimate(x, time, conditions, guidance, lengths)
        asked, unasked = (
            self.inner.estimate(x, time, each, 1.0, lengths)
            for each in (conditions, conditions.none())
        )
        return pushed(asked, unasked, guidance, self.rescale)


class LeaningOnMotion(Around):
    """Pushed away from what would come without seeing the movement made so far (VideoJAM)."""

    def __init__(self, inner: LatentDit, weight: float = 1.0):
        super().__init__(inner)
        if not inner.config.motion:
            raise UsageError("this generator makes no movement", allowed="motion=2, say")
        self.blind, self.weight = inner, weight

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        made = self.inner.estimate(x, time, conditions, guidance, lengths)
        if not self.weight:
            return made
        named = self.inner.predict(self.blind.without_motion(x), time, conditions, lengths)
        return pushed(made, self.process.clean(named, x, time), 1 + self.weight)


def motion_signature(x: Tensor) -> Tensor:
    """How frames resemble each other after what never changes is gone, (B, T * T)."""
    moving = (x - x.mean(1, keepdim=True)).flatten(2)
    unit = functional.normalize(moving, dim=-1)
    return (unit @ unit.transpose(1, 2)).flatten(1)


def like_motion_of(reference: Tensor) -> Error:
    """The error of frames that do not resemble each other as those of a reference clip do."""
    wanted = motion_signature(reference)
    return lambda x: (motion_signature(x) - wanted.to(x)).square().mean(1)


def programmed(
    model: Denoiser,
    error: Error,
    count: int = 1,
    conditions: Conditions | None = None,
    decoding: Decoding | None = None,
    *,
    tolerance: float = 0.01,
    most: int = 100,
    rate: float = 0.1,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Samples whose noise was sought so that an error falls below a tolerance, and their errors."""
    model.eval()
    chosen, asked = decoding or Decoding(), conditions or Conditions()
    dice = torch.Generator(model.device).manual_seed(seed)
    empty = torch.zeros(model.space.shape(count), device=model.device)
    noise = model.noise(empty, dice).requires_grad_()
    times = model.times(chosen.steps or model.usual_steps, empty.shape[1])
    seeker = torch.optim.Adam([noise], rate)

    def made() -> Tensor:
        start = model.process.start(noise)
        clean = walk(
            model.process,
            lambda x, t: model.estimate(x, t, asked, chosen.guidance),
            start,
            times,
            method="euler",
        )
        return model.outward(clean)

    for _ in range(most):
        sample = made()
        errors = error(sample)
        if bool((errors <= tolerance).all()):
            break
        seeker.zero_grad()
        (noise.grad,) = torch.autograd.grad(errors.sum(), noise)
        seeker.step()
    return sample.detach(), errors.detach()
