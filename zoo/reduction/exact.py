"""Exactly so many tokens, for clips of any length and frames of any size, without learning."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.reduction.aggregate import merge_frames
from zoo.reduction.base import Reduced, flat, grid_of, merged, reduces
from zoo.reduction.merge import match

__all__ = ["merge_exactly"]


@reduces("learning-free-token-reduction")
def merge_exactly(tokens: Tensor, count: int) -> Reduced:
    """Merge frames, then places inside of each, to `count` tokens: both axes lose alike.

    Clips of fewer tokens give some of them several times, with their weight shared.
    """
    if count < 1:
        raise UsageError(f"{count} tokens", allowed="1 or more")
    frames, places = grid_of(tokens)
    if frames * places <= count:
        return _repeated(tokens, count)
    even = round(frames * math.sqrt(count / (frames * places)))
    film = merge_frames(tokens, min(frames, count, max(-(-count // places), even)))
    left = film.tokens.shape[1] // places
    index, start = [], 0
    pieces = zip(film.tokens.split(places, 1), film.weights.split(places, 1), strict=True)
    for t, (frame, weights) in enumerate(pieces):
        own = count * (t + 1) // left - count * t // left
        index.append(match(frame, own, weights) + start)
        start += own
    near = torch.cat(index, dim=1)
    end = merged(film.tokens, near, count, film.weights)
    return film.then(Reduced(*end, near, (left, places)))


def _repeated(tokens: Tensor, count: int) -> Reduced:
    line = flat(tokens)
    source = torch.arange(count, device=tokens.device) * line.shape[1] // count
    times = torch.bincount(source, minlength=line.shape[1])
    first = (times.cumsum(0) - times).expand(len(line), -1)
    weights = (1 / times[source].to(line.dtype)).expand(len(line), -1)
    return Reduced(line[:, source], weights, first, grid_of(tokens))
