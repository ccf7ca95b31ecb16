"""Reduction along time: windows of a few frames, and what a reader looks at while it writes.

`merge_windows` keeps the first frame of every window and drops from the others what repeats it;
`attended` leaves out, step by step of the writing, what gets no attention (DyCoke). `pool_time`
takes means of neighbouring frames (STORM).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import UsageError
from zoo.reduction.base import Reduced, flat, frames_of, grid_of, merged, reduces

__all__ = ["attended", "merge_windows", "pool_time"]


@reduces("dycoke")
def merge_windows(tokens: Tensor, ratio: float, *, window: int = 4) -> Reduced:
    """Merge that share of the tokens of a window's later frames into its first frame.

    Those go that are most like the token at their place in the first frame. Ratio 0 leaves every
    token as it was.
    """
    if not 0 <= ratio <= 1:
        raise UsageError(f"a ratio of {ratio:g}", allowed="0 to 1")
    grid = frames_of(tokens)
    frames, places = grid_of(grid)
    firsts = torch.arange(frames, device=tokens.device) // window * window
    alike = functional.cosine_similarity(grid, grid[:, firsts], dim=-1)
    where = torch.arange(frames * places, device=tokens.device).view(frames, places)
    to = where.expand(alike.shape).clone()
    for start in range(0, frames, window):
        later = alike[:, start + 1 : start + window].flatten(1)
        gone = later.argsort(dim=1, descending=True, stable=True)[:, : int(ratio * later.shape[1])]
        target = where[start].expand(len(grid), -1)
        moved = to[:, start + 1 : start + window].flatten(1)
        moved = moved.scatter(1, gone, target.gather(1, gone % places))
        to[:, start + 1 : start + window] = moved.unflatten(1, (-1, places))
    line = flat(grid)
    stays = to.flatten(1) == where.flatten()
    index = (stays.cumsum(1) - 1).gather(1, to.flatten(1))
    count = int(stays[0].sum())
    left, weights = merged(line, index, count)
    return Reduced(left, weights, index, (frames, places))


@reduces("dycoke")
def attended(attention: Tensor, ratio: float) -> Tensor:
    """(B, M) places of the memory that a step of writing reads: all but the least attended share.

    Args:
        attention: (B, N) that the step before gave to every token, also to those left out.
        ratio: 0 keeps all.
    """
    if not 0 <= ratio < 1:
        raise UsageError(f"a ratio of {ratio:g}", allowed="0 to 1, which would leave nothing")
    left = attention.shape[1] - int(ratio * attention.shape[1])
    return attention.argsort(dim=1, descending=True, stable=True)[:, :left].sort(1).values


@reduces("storm")
def pool_time(tokens: Tensor, factor: int, *, every: int = 1) -> Reduced:
    """Means of `factor` frames after each other, place by place; the last may be of fewer.

    Args:
        every: of the pooled frames only each of that number is kept, to read a longer clip than
            was meant without another pass of the encoder.
    """
    if factor < 1 or every < 1:
        raise UsageError(f"pooling {factor} frames, every {every}", allowed="at least 1 of both")
    grid = frames_of(tokens)
    frames, places = grid_of(grid)
    pooled = torch.arange(frames, device=tokens.device) // factor
    to = torch.where(pooled % every == 0, pooled // every, -1)
    count = int(to.max()) + 1
    index = to.unsqueeze(1) * places + torch.arange(places, device=tokens.device)
    index = torch.where(to.unsqueeze(1) >= 0, index, -1).flatten().expand(len(grid), -1)
    left, weights = merged(flat(grid), index, count * places)
    return Reduced(left, weights, index, (frames, places))
