"""Fewer visual tokens: merged, selected or pooled, with a map back to where they were.

Each file is one idea. Its functions and modules take tokens (B, T, N, D) of T frames with N places,
or (B, N, D), and give a `Reduced`. `REDUCTIONS` names them all.
"""

from zoo.reduction import (
    aggregate,
    bottleneck,
    budget,
    compress,
    contextual,
    encoder,
    exact,
    fuse,
    merge,
    pool,
    prompted,
    prune,
    sampler,
    windows,
)
from zoo.reduction.base import REDUCTIONS, Reduced, by_segment, reduces

__all__ = [
    "REDUCTIONS",
    "Reduced",
    "aggregate",
    "bottleneck",
    "budget",
    "by_segment",
    "compress",
    "contextual",
    "encoder",
    "exact",
    "fuse",
    "merge",
    "pool",
    "prompted",
    "prune",
    "reduces",
    "sampler",
    "windows",
]
