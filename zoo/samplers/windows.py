"""More frames than a generator learned, all at once: windows that are denoised together.

    CoDenoised(model, frames=64, stride=4).sample(1, conditions)

`CoDenoised` averages the estimates of windows that overlap. `Rescheduled` begins with the noise of
the first window, shuffled again and again. `Blended` takes what is slow from an estimate of the
whole and what is fast from the windows. `Parallel` gives each worker its own frames, and to look at
those of its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Conditions
from zoo.samplers.around import Around

__all__ = ["Blended", "CoDenoised", "Parallel", "Rescheduled"]


class CoDenoised(Around):
    """Windows of the inner generator's length, `stride` frames apart, averaged where they overlap.

    `asks` are the conditions of the windows in turn, instead of the same for all.
    """

    def __init__(
        self, inner: Denoiser, frames: int, stride: int = 0, asks: Sequence[Conditions] = ()
    ):
        super().__init__(inner, frames)
        self.window = min(inner.space.grid[0], frames)
        self.stride = stride or max(1, self.window // 2)
        if not 0 < self.stride <= self.window:
            raise UsageError(f"windows {stride} frames apart", allowed=f"1 to {self.window}")
        self.asks = tuple(asks)
        if self.asks and len(self.asks) != len(self.begins(frames)):
            raise UsageError(
                f"{len(self.asks)} windows are asked for something",
                allowed=f"{len(self.begins(frames))}, one for each",
            )

    def begins(self, frames: int) -> list[int]:
        """The first frame of each window; the last window ends with the last frame."""
        last = max(0, frames - self.window)
        return [*range(0, last, self.stride), last]

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        total, count = torch.zeros_like(x), x.new_zeros(x.shape[1])
        for number, begin in enumerate(self.begins(x.shape[1])):
            window = slice(begin, begin + self.window)
            asked = self.asks[number].to(x.device) if self.asks else conditions
            own = time if time.dim() == 1 else time[:, window]
            total[:, window] += self.inner.estimate(x[:, window], own, asked, guidance)
            count[window] += 1
        return total / count.view(-1, *(1,) * (x.dim() - 2))


class Rescheduled(CoDenoised):
    """Noise of later frames is that of the first window in another order (FreeNoise)."""

    def noise(self, x: Tensor, dice: torch.Generator) -> Tensor:
        made = super().noise(x, dice)
        for begin in range(self.window, x.shape[1], self.stride):
            end = min(begin + self.stride, x.shape[1])
            order = torch.randperm(self.stride, generator=dice, device=x.device)[: end - begin]
            made[:, begin:end] = made[:, begin - self.window + order]
        return made


class Blended(CoDenoised):
    """Slow changes from an estimate of the whole, fast ones from windows (FreeLong).

    `share` is the share of frequencies that are slow.
    """

    def __init__(self, inner: Denoiser, frames: int, stride: int = 0, share: float = 0.25):
        super().__init__(inner, frames, stride)
        self.share = share

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        whole = self.inner.estimate(x, time, conditions, guidance, lengths)
        if self.window >= x.shape[1]:
            return whole
        near = super().estimate(x, time, conditions, guidance)
        return near + slow(whole - near, self.share)


class Parallel(Around):
    """Each of `workers` makes as many frames as the inner generator does, and looks at `context`
    frames on both sides that its neighbours make at the same time (Video-Infinity)."""

    def __init__(self, inner: Denoiser, workers: int, context: int = 1):
        super().__init__(inner, workers * inner.space.grid[0])
        self.workers, self.context = workers, context

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        share = -(-x.shape[1] // self.workers)

        def part(begin: int) -> Tensor:
            first, last = max(0, begin - self.context), begin + share + self.context
            own = time if time.dim() == 1 else time[:, first:last]
            with torch.no_grad():
                made = self.inner.estimate(x[:, first:last], own, conditions, guidance)
            return made[:, begin - first : begin - first + share]

        with ThreadPoolExecutor(self.workers) as pool:
            return torch.cat(list(pool.map(part, range(0, x.shape[1], share))), dim=1)


def slow(x: Tensor, share: float) -> Tensor:
    """The slowest `share` of the frequencies in time."""
    waves = torch.fft.rfft(x, dim=1)
    waves[:, max(1, round(waves.shape[1] * share)) :] = 0
    return torch.fft.irfft(waves, n=x.shape[1], dim=1)
