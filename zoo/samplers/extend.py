"""Longer or denser than a generator makes at once, by giving it what it made as known.

These need nothing of a generator but `sample` with a known part, so they work for ids as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Conditions, Decoding, Generator, Known, Samples
from zoo.samplers.windows import CoDenoised

__all__ = ["extend", "segments", "smooth"]


def extend(
    model: Generator,
    count: int,
    frames: int,
    conditions: Conditions | Sequence[Conditions] | None = None,
    decoding: Decoding | None = None,
    *,
    overlap: int = 0,
    seed: int = 0,
) -> Samples:
    """`frames` positions in time by windows; each knows the last `overlap` of the one before.

    A sequence of conditions holds those of the windows in turn, the last one for the rest.
    """
    window = model.space.grid[0]
    overlap = overlap or max(1, window // 2)
    if not 0 < overlap < window:
        raise UsageError(f"windows share {overlap} frames", allowed=f"1 to {window - 1}")
    asks = (
        [conditions] if isinstance(conditions, Conditions) else list(conditions or [Conditions()])
    )
    made = model.sample(count, asks[0], decoding, seed=seed, frames=min(window, frames)).x
    number = 0
    while made.shape[1] < frames:
        number += 1
        size = min(window, overlap + frames - made.shape[1])
        known = made.new_zeros(model.space.shape(count, size))
        known[:, :overlap] = made[:, -overlap:]
        mask = torch.zeros(count, size, *model.space.grid[1:], dtype=torch.bool)
        mask[:, :overlap] = True
        more = model.sample(
            count,
            asks[min(number, len(asks) - 1)],
            decoding,
            seed=seed + number,
            frames=size,
            known=Known(known, mask),
        ).x
        made = torch.cat([made, more[:, overlap:]], dim=1)
    return Samples(made)


def segments(
    model: Generator,
    asks: Sequence[Conditions],
    count: int = 1,
    decoding: Decoding | None = None,
    *,
    seed: int = 0,
) -> Samples:
    """One segment for each ask, joined; the last frame of one begins the next (MTVG)."""
    frames = model.space.grid[0] + (len(asks) - 1) * (model.space.grid[0] - 1)
    return extend(model, count, frames, asks, decoding, overlap=1, seed=seed)


def smooth(
    model: Denoiser,
    x: torch.Tensor,
    factor: int,
    conditions: Conditions | None = None,
    decoding: Decoding | None = None,
    *,
    seed: int = 0,
) -> Samples:
    """`factor` times the frame rate: frames `x (B, T, ...)` stay, those between are made."""
    if factor < 1:
        raise UsageError(f"{factor} times the frame rate", allowed="1 or more")
    frames = (x.shape[1] - 1) * factor + 1
    known = x.new_zeros(len(x), frames, *x.shape[2:])
    known[:, ::factor] = x
    mask = torch.zeros(len(x), frames, *model.space.grid[1:], dtype=torch.bool)
    mask[:, ::factor] = True
    denser = CoDenoised(model, frames)
    return denser.sample(
        len(x), conditions, decoding, seed=seed, frames=frames, known=Known(known, mask)
    )
