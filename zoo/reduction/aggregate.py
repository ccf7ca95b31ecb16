"""Merging along two axes: whole frames that are alike, then places of what is left.

Long clips lose frames first, for most of them repeat their neighbours (TESTA); stretches of a video
are merged each for itself and then pair by pair until one is left (TempMe).
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.reduction.base import (
    Reduced,
    counted,
    flat,
    frames_of,
    grid_of,
    joined,
    merged,
    reduces,
)
from zoo.reduction.merge import match, merge_more, merge_to

__all__ = ["aggregate", "merge_clips", "merge_frames"]


def merge_frames(tokens: Tensor, frames: int) -> Reduced:
    """Merge the frames that are most alike, place by place, to so many."""
    grid = frames_of(tokens)
    before, places = grid_of(grid)
    counted(frames, before, "frames")
    near = match(grid.mean(2), frames)
    index = near.repeat_interleave(places, 1) * places
    index = index + torch.arange(places, device=tokens.device).repeat(before)
    line = flat(grid)
    return Reduced(*merged(line, index, frames * places), index, (before, places))


@reduces("testa")
def aggregate(tokens: Tensor, frames: int, places: int) -> Reduced:
    """Merge to so many frames of so many places each: `frames * places` tokens."""
    film = merge_frames(tokens, frames)
    wide = film.grid[1]
    counted(places, wide, "places")
    pieces = zip(film.tokens.split(wide, 1), film.weights.split(wide, 1), strict=True)
    near = [match(frame, places, weights) + t * places for t, (frame, weights) in enumerate(pieces)]
    index = torch.cat(near, dim=1)
    left = merged(film.tokens, index, frames * places, film.weights)
    return film.then(Reduced(*left, index, (frames, wide)))


@reduces("tempme")
def merge_clips(tokens: Tensor, clips: int, count: int) -> Reduced:
    """Merge inside of `clips` stretches, then across neighbours, to `count` for all of them.

    `Reduced.pooled` of it is the embedding of the whole.
    """
    frames, places = grid_of(tokens)
    if clips < 1 or frames % clips:
        raise UsageError(f"{frames} frames do not make {clips} stretches", allowed="equal ones")
    counted(count, frames * places)
    cut = frames_of(tokens).chunk(clips, dim=1)
    parts = [merge_to(part, _quarter(part.shape[1] * places, count)) for part in cut]
    while len(parts) > 1:
        pairs = [joined(parts[i : i + 2]) for i in range(0, len(parts), 2)]
        parts = [merge_more(pair, _quarter(pair.tokens.shape[1], count)) for pair in pairs]
    return merge_more(parts[0], count)


def _quarter(tokens: int, count: int) -> int:
    return min(tokens, max(count, tokens // 4))
