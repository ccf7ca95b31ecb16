"""The base of generators that turn noise into values step by step.

A family writes `predict`, the network. Training, known parts, lengths, guidance and the walk are
here; they meet in `estimate`, the clean values expected behind a mixture, and that is where
samplers (`zoo/samplers`) plug in: each is a generator around a generator.

Times are those of `zoo.layers.diffusion`: one for each example, each frame, or each place. What is
known has time 0, in training (`known`, the share of examples of which some part is known) and in
sampling; a model that never saw this in training has the known part put into each mixture instead.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from zoo.generator import Batch, Conditions, Decoding, Generator, Known, Samples
from zoo.layers.diffusion import Process, ladder, pushed, walk

__all__ = ["Denoiser", "counted", "part_known"]


class Denoiser(Generator):
    """A network that names the clean values, or what leads to them, in a mixture with noise.

    `config` has `process` besides the fields of every generator.
    """

    default_steps = 12
    lesson_steps = 120
    fresh: float = 0.0
    """The share of noise that a step draws anew."""

    @abstractmethod
    def predict(
        self, x: Tensor, time: Tensor, conditions: Conditions, lengths: Tensor | None = None
    ) -> Tensor:
        """The process's target behind mixtures `x (B, *grid, channels)`."""

    @property
    def process(self) -> Process:
        process: Process = self.config.process
        return process

    @property
    def usual_steps(self) -> int:
        """Steps of a sample when none are asked for."""
        return self.process.steps or self.default_steps

    @property
    def learns_known(self) -> bool:
        """Whether training shows mixtures of which a part is clean."""
        return bool(getattr(self.config, "known", 0))

    def inward(self, x: Tensor) -> Tensor:
        """Values as the network knows them."""
        return x

    def outward(self, x: Tensor) -> Tensor:
        """The inverse of `inward`."""
        return x

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        batch = replace(batch, x=self.inward(batch.x))
        time = self.draw_times(batch)
        noise = torch.randn_like(batch.x)
        mixture = self.process.mix(batch.x, noise, time)
        error = (
            self.named(batch, mixture, time) - self.process.wanted(batch.x, noise, time)
        ).square()
        return {"denoise": counted(error, batch, time)}

    def named(self, batch: Batch, mixture: Tensor, time: Tensor) -> Tensor:
        """What the network names behind mixtures of a batch, which it sees as in training."""
        return self.predict(mixture, time, batch.conditions, batch.lengths)

    def draw_times(self, batch: Batch) -> Tensor:
        """Times to train at: one for each example, 0 at places that are known."""
        time = self.process.draw_times((len(batch),), batch.x.device)
        if not self.learns_known:
            return time
        mask = part_known(batch.x.shape[:-1], self.config.known, batch.x.device)
        return time.view(-1, *(1,) * (mask.dim() - 1)).expand(mask.shape).masked_fill(mask, 0.0)

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """The clean values expected behind mixtures."""
        if guidance == 1:
            return self.process.clean(self.predict(x, time, conditions, lengths), x, time)
        both = conditions.joined(conditions.none())
        twice = None if lengths is None else torch.cat([lengths, lengths])
        two = torch.cat([x, x])
        named = self.predict(two, torch.cat([time, time]), both, twice)
        asked, unasked = self.process.clean(named, two, torch.cat([time, time])).chunk(2)
        return pushed(asked, unasked, guidance)

    def noise(self, x: Tensor, dice: torch.Generator) -> Tensor:
        """What sampling begins with, of the shape of `x`."""
        return torch.randn(x.shape, generator=dice, device=x.device, dtype=x.dtype)

    def times(self, steps: int, frames: int) -> Tensor:
        """The ladder of a sample: (steps + 1,), or (steps + 1, frames)."""
        return ladder(steps, self.process.shift)

    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        if known is not None:
            known = replace(known, x=self.inward(known.x))

        def denoise(mixture: Tensor, time: Tensor) -> Tensor:
            if known is None:
                return self.estimate(mixture, time, conditions, decoding.guidance, lengths)
            if self.learns_known:
                mixture = self.held(mixture, known)
                time = time.view(*time.shape, *(1,) * (known.mask.dim() - time.dim()))
                time = torch.where(known.mask, 0.0, time)
            made = self.estimate(mixture, time, conditions, decoding.guidance, lengths)
            return self.held(made, known)

        begin = self.process.start(self.noise(x, dice) * decoding.temperature)
        times = self.times(decoding.steps or self.usual_steps, x.shape[1])
        made = walk(self.process, denoise, begin, times, fresh=self.fresh, dice=dice)
        return Samples(self.outward(made), lengths)


def counted(error: Tensor, batch: Batch, time: Tensor) -> Tensor:
    """The mean of errors (B, *grid, channels) at places that count: valid ones, not known ones."""
    weight = batch.valid().view(*error.shape[:2], *(1,) * (error.dim() - 2)).to(error.dtype)
    if time.dim() > 1:
        weight = weight * (time > 0).view(*time.shape, *(1,) * (error.dim() - time.dim()))
    weight = weight.expand_as(error)
    return (error * weight).sum() / weight.sum().clamp_min(1)


def part_known(shape: tuple[int, ...], share: float, device: torch.device | str) -> Tensor:
    """(B, *grid) True at what is known of a share of the examples.

    Half of these know their first frames, the others frames or places here and there.
    """
    batch, frames = shape[:2]
    chosen = torch.rand(batch, 1, device=device) < share
    amount = torch.rand(batch, 1, device=device)
    first = torch.arange(frames, device=device) < amount * frames
    some = torch.rand(batch, frames, device=device) < amount
    whole = torch.where(torch.rand(batch, 1, device=device) < 0.5, first, some) & chosen
    mask = whole.view(batch, frames, *(1,) * (len(shape) - 2)).expand(shape)
    if len(shape) == 2:
        return mask
    places = torch.rand(shape, device=device) < amount.view(-1, *(1,) * (len(shape) - 1))
    inside = chosen & (torch.rand(batch, 1, device=device) < 0.3)
    return torch.where(inside.view(-1, *(1,) * (len(shape) - 1)), places, mask)
