"""Noise and the way back: processes, what a network names, when it is asked, and how one walks.

A process mixes data and noise, `x = alpha(t) data + sigma(t) noise`, from clean at time 0 to noise
at time 1. Straight paths (rectified flow), two variance-preserving schedules and the
variance-exploding one of EDM differ in these two functions alone. A network names a target, which
is some mixture `a data + b noise` too; two mixtures give both parts, so one formula turns every
target into every other.

Times are (B,) or, where frames or places differ, (B, T) or (B, *grid); they are laid against `x`
from the left. All samplers are one step, which goes from any times to any others:

    process = Process("flow", "flow")
    denoise = lambda x, time: process.clean(network(x, time), x, time)
    walk(process, denoise, noise, ladder(10))
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo.errors import UsageError

__all__ = ["Denoise", "Method", "Process", "against", "aim", "ladder", "pushed", "step", "walk"]

Path = Literal["flow", "cosine", "linear", "edm"]
Target = Literal["data", "noise", "v", "flow", "edm"]
Times = Literal["uniform", "logit-normal"]
Method = Literal["euler", "heun", "renoise"]
"""Straight on; looking ahead; or from the clean values back with noise that is all new, for
networks that name a sample where others name a mean."""
Denoise = Callable[[Tensor, Tensor], Tensor]
"""(mixture, times) to the clean data that is expected behind it."""

BETAS = 0.1, 20.0
"""Rates of noise of the linear schedule, at time 0 and at time 1."""
SIGMAS = 0.002, 80.0
"""Least and most noise of EDM."""
RHO = 7.0
"""How EDM's noise levels crowd towards the least."""
COSINE_END = 0.99
"""The cosine schedule ends a little before its data are gone, so noise can be told from data."""


@dataclass(frozen=True)
class Process:
    """How noise is added, what is learned, at which times, and how one walks back.

    The network adds to the best guess that is proportional to the mixture, as EDM's does; `spread`
    is the deviation of the data that the guess reckons with. `shift` above 1 spends more time near
    noise, as large pictures need it. `steps` and `method` are those of a sample when none are asked
    for; 0 steps is the family's own number.
    """

    path: Path = "flow"
    target: Target = "flow"
    times: Times = "uniform"
    shift: float = 1.0
    spread: float = 1.0
    steps: int = 0
    method: Method = "euler"

    def shares(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """`alpha` and `sigma` of times."""
        if self.path == "flow":
            return 1 - time, time
        if self.path == "cosine":
            angle = time * (COSINE_END * math.pi / 2)
            return angle.cos(), angle.sin()
        if self.path == "linear":
            low, high = BETAS
            log = -0.25 * time.square() * (high - low) - 0.5 * time * low
            return log.exp(), (-torch.expm1(2 * log)).sqrt()
        low, high = (sigma ** (1 / RHO) for sigma in SIGMAS)
        sigma = (low + time * (high - low)) ** RHO
        return torch.ones_like(time), torch.where(time > 0, sigma, 0.0)

    def mix(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What lies between data and noise at these times."""
        alpha, sigma = self.shares(against(time, data))
        return alpha * data + sigma * noise

    def start(self, noise: Tensor) -> Tensor:
        """Noise of deviation 1 as it is at time 1."""
        return noise * self.shares(torch.ones((), device=noise.device))[1].to(noise.dtype)

    def scaled(self, x: Tensor, time: Tensor) -> Tensor:
        """A mixture as the network reads it: EDM's own grow too large."""
        if self.path != "edm":
            return x
        alpha, sigma = self.shares(against(time, x))
        return x / (alpha * self.spread).hypot(sigma)

    def wanted(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the network should name: what the guess lacks of the target."""
        at = against(time, data)
        a, b = self._target(at)
        alpha, sigma = self.shares(at)
        return a * data + b * noise - self._guess(at) * (alpha * data + sigma * noise)

    def clean(self, named: Tensor, x: Tensor, time: Tensor) -> Tensor:
        """The data behind a mixture, from what the network names; `x` itself where time is 0."""
        at = against(time, x)
        (alpha, sigma), (a, b) = self.shares(at), self._target(at)
        target = named + self._guess(at) * x
        return torch.where(at > 0, (b * x - sigma * target) / (alpha * b - sigma * a), x)

    def noise(self, clean: Tensor, x: Tensor, time: Tensor) -> Tensor:
        """The noise in a mixture whose data are known; none where time is 0."""
        at = against(time, x)
        alpha, sigma = self.shares(at)
        return torch.where(at > 0, (x - alpha * clean) / sigma, 0.0)

    def _guess(self, at: Tensor) -> Tensor:
        """How much of the mixture the target is, at the least square error."""
        (alpha, sigma), (a, b) = self.shares(at), self._target(at)
        wide = self.spread**2
        return (a * alpha * wide + b * sigma) / (alpha.square() * wide + sigma.square())

    def _target(self, at: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """The target's shares of data and noise."""
        if self.target == "data":
            return 1.0, 0.0
        if self.target == "noise":
            return 0.0, 1.0
        if self.target == "flow":
            return -1.0, 1.0
        alpha, sigma = self.shares(at)
        if self.target == "v":
            return -sigma, alpha
        # EDM names what is left of the data after the best guess that needs no network.
        total = sigma.square() + self.spread**2
        kept, scale = self.spread**2 / total, sigma * self.spread / total.sqrt()
        scale = scale.clamp_min(1e-12)
        return (1 - kept * alpha) / scale, -kept * sigma / scale

    def draw_times(self, shape: tuple[int, ...], device: torch.device | str) -> Tensor:
        """Times to train at. Along the batch they are spread evenly, which makes losses calm."""
        if len(shape) == 1:
            first = torch.rand(1, device=device) + torch.arange(shape[0], device=device) / shape[0]
            even = first.remainder(1)
        else:
            even = torch.rand(shape, device=device)
        even = even.clamp(1e-4, 1 - 1e-4)
        if self.times == "logit-normal":
            even = torch.special.ndtri(even).sigmoid()
        return shifted(even, self.shift).clamp(1e-3, 1 - 1e-4)


def against(time: Tensor, x: Tensor) -> Tensor:
    """Times with axes of length 1 for the rest of `x`."""
    return time.to(x.dtype).view(*time.shape, *(1,) * (x.dim() - time.dim()))


def shifted(time: Tensor, shift: float) -> Tensor:
    """Times moved towards noise; 0 and 1 stay."""
    return shift * time / (1 + (shift - 1) * time)


def ladder(steps: int, shift: float = 1.0, *, begin: float = 1.0) -> Tensor:
    """(steps + 1,) times from `begin` down to 0."""
    if steps < 1:
        raise UsageError(f"{steps} steps", allowed="1 or more")
    return shifted(torch.linspace(begin, 0, steps + 1, dtype=torch.float64), shift).float()


def step(
    process: Process,
    denoise: Denoise,
    x: Tensor,
    now: Tensor,
    after: Tensor,
    *,
    method: Method = "euler",
    fresh: float = 0.0,
    dice: torch.Generator | None = None,
) -> Tensor:
    """From times `now` to times `after`; nothing changes where they are equal.

    `fresh` is the share of noise that is drawn anew: 0 walks straight (DDIM, Euler), 1 draws from
    the posterior (ancestral). Heun looks ahead and walks in the mean direction.
    """
    clean = denoise(x, now)
    if method == "renoise":
        drawn = torch.randn(x.shape, generator=dice, device=x.device, dtype=x.dtype)
        return torch.where(against(now == after, x).bool(), x, process.mix(clean, drawn, after))
    noise = process.noise(clean, x, now)
    (alpha, sigma), (alpha2, sigma2) = (process.shares(against(t, x)) for t in (now, after))
    if fresh:
        behind = (sigma.square() - (alpha / alpha2 * sigma2).square()).clamp_min(0)
        new = fresh**2 * behind * sigma2.square() / sigma.square().clamp_min(1e-12)
        drawn = torch.randn(x.shape, generator=dice, device=x.device, dtype=x.dtype)
        kept = (sigma2.square() - new).clamp_min(0).sqrt()
        made = alpha2 * clean + kept * noise + new.sqrt() * drawn
    else:
        made = alpha2 * clean + sigma2 * noise
        if method == "heun" and bool((after > 0).any()):
            ahead = denoise(made, after)
            noise2 = process.noise(ahead, made, after)
            mean = (
                x + (alpha2 - alpha) * (clean + ahead) / 2 + (sigma2 - sigma) * (noise + noise2) / 2
            )
            made = torch.where(against(after, x) > 0, mean, made)
    return torch.where(against(now == after, x).bool(), x, made)


def walk(
    process: Process,
    denoise: Denoise,
    x: Tensor,
    times: Iterable[Tensor],
    *,
    method: Method | None = None,
    fresh: float = 0.0,
    dice: torch.Generator | None = None,
) -> Tensor:
    """Down a ladder of times, each for all of the batch: a number, (T,), or (*grid).

    Without a `method` it is the process's.
    """
    method = method or process.method
    every = (time.to(x.device).expand(len(x), *time.shape) for time in times)
    for now, after in itertools.pairwise(every):
        x = step(process, denoise, x, now, after, method=method, fresh=fresh, dice=dice)
    return x


def aim(process: Process, x: Tensor, now: Tensor, after: Tensor, arrived: Tensor) -> Tensor:
    """The clean values at which a straight step from `x` at `now` to `arrived` at `after` aims."""
    (alpha, sigma), (alpha2, sigma2) = (process.shares(against(t, x)) for t in (now, after))
    kept = sigma2 / sigma
    return (arrived - kept * x) / (alpha2 - kept * alpha)


def pushed(asked: Tensor, unasked: Tensor, guidance: float, rescale: float = 0.0) -> Tensor:
    """An estimate pushed away from what would come without conditions.

    `rescale` is the share by which the deviation is brought back to what it was, for strong
    guidance makes pictures glaring.
    """
    made = unasked + guidance * (asked - unasked)
    if not rescale:
        return made
    axes = tuple(range(1, made.dim()))
    ratio = asked.std(axes, keepdim=True) / made.std(axes, keepdim=True).clamp_min(1e-6)
    return made * (rescale * ratio + 1 - rescale)
