"""Frames without end from a queue: the first is nearly clean, the last is noise, all move on.

Each step of denoising finishes one frame, which leaves, and one of noise comes in behind, so the
queue is as long as ever. The newcomer has the slow parts of the frame before it (Ouroboros), so
that what is shown does not drift. The generator must take a time for each frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Conditions, Decoding
from zoo.layers.diffusion import ladder, step

__all__ = ["queue"]


@torch.no_grad()
def queue(
    model: Denoiser,
    count: int,
    frames: int,
    conditions: Conditions | None = None,
    decoding: Decoding | None = None,
    *,
    kept: float = 0.25,
    seed: int = 0,
) -> Iterator[Tensor]:
    """`frames` frames of `count` examples, one by one; `kept` is the share of slow frequencies that
    a new frame has of the one before it."""
    if not model.learns_known:
        raise UsageError(
            f"{model.name or model.family()} has one noise for all frames",
            allowed="causal_diffusion, or a generator trained with known parts",
        )
    asked, chosen = (conditions or Conditions()).to(model.device), decoding or Decoding()
    dice = torch.Generator(model.device).manual_seed(seed)
    first = model.inward(model.sample(count, asked, chosen, seed=seed).x)
    length = first.shape[1]
    levels = ladder(length, model.process.shift).flip(0).to(first)
    now, after = (part.expand(count, -1) for part in (levels[1:], levels[:-1]))
    line = model.process.mix(first, model.noise(first, dice), now)
    for _ in range(frames):
        line = step(
            model.process,
            lambda x, time: model.estimate(x, time, asked, chosen.guidance),
            line,
            now,
            after,
        )
        done, line = line[:, :1], line[:, 1:]
        yield model.outward(done)
        fresh = model.process.start(model.noise(done, dice))
        line = torch.cat([line, newcomer(line[:, -1:], fresh, kept)], dim=1)


def newcomer(before: Tensor, fresh: Tensor, kept: float) -> Tensor:
    """Noise with the slow parts of another frame, slow along the axes of the frame."""
    axes = tuple(range(2, before.dim() - 1)) or (before.dim() - 1,)
    waves, own = (torch.fft.fftn(x, dim=axes) for x in (fresh, before))
    for axis in axes:
        near = torch.fft.fftfreq(waves.shape[axis], device=fresh.device).abs() < kept / 2
        shape = [1] * waves.dim()
        shape[axis] = -1
        own = own * near.view(shape)
        waves = torch.where(near.view(shape) & (own != 0), own, waves)
    return torch.fft.ifftn(waves, dim=axes).real
