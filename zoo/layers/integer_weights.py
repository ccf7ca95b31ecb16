"""Networks as integers: the weights of a small network are what a fitted clip is stored as.

Neural representations of video keep a clip in the weights of a network that was fitted to it. Here
weights are whole multiples of a step from the beginning, so that the network that is trained, the
one that is stored and the one that decodes are the same. `pack` writes such integers in few bytes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from zoo.layers import range_coder
from zoo.layers.quantizers.base import straight_through

__all__ = ["count", "flat", "named", "pack", "rounded", "unpack"]

_SCALES = np.geomspace(0.03, 512, 64)


def count(net: nn.Module) -> int:
    """How many weights `net` has."""
    return sum(weight.numel() for weight in net.parameters())


def flat(net: nn.Module) -> Tensor:
    """All weights of `net` as one detached vector."""
    return parameters_to_vector(net.parameters()).detach().clone()


def named(net: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """A vector as the weights of `net` by name, for `torch.func.functional_call`."""
    names, weights = zip(*net.named_parameters(), strict=True)
    runs = vector.split([weight.numel() for weight in weights])
    return {n: run.view_as(w) for n, run, w in zip(names, runs, weights, strict=True)}


def rounded(values: Tensor, step: float, limit: int) -> Tensor:
    """Values as multiples of `step`, at most `limit` of them, with straight gradients."""
    return straight_through(values, (values / step).round().clamp(-limit, limit) * step)


def pack(integers: Tensor, limit: int) -> bytes:
    """Integers from -limit to limit in as many bytes as a logistic of their spread needs."""
    values = integers.flatten().cpu()
    # The mean distance from 0 of a logistic is 2 ln 2 times its scale.
    spread = float(values.double().abs().mean()) / (2 * np.log(2))
    choice = int(np.searchsorted(_SCALES, spread).clip(0, len(_SCALES) - 1))
    coder = range_coder.Encoder()
    table = _tables(limit)[choice]
    range_coder.encode(coder, (values + limit).tolist(), [table] * len(values))
    return bytes([choice]) + coder.finish()


def unpack(data: bytes, amount: int, limit: int) -> Tensor:
    """The `amount` integers that `pack` wrote."""
    table = _tables(limit)[data[0]]
    symbols = range_coder.decode(range_coder.Decoder(data[1:]), [table] * amount)
    return torch.tensor(symbols) - limit


@cache
def _tables(limit: int) -> list[list[int]]:
    return range_coder.logistic_tables(limit, _SCALES, np.zeros(1))
