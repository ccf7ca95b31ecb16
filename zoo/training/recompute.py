"""Gradient checkpointing for any family: blocks keep no activations and are computed again.

The blocks are the members of every `ModuleList` and `Sequential` outside quantizers (which count
what passes, and must see it once).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from zoo.layers.quantizers import Quantizer

__all__ = ["outer_blocks", "recomputed_blocks"]


@contextmanager
def recomputed_blocks(model: nn.Module) -> Iterator[int]:
    """Recompute the blocks of `model` inside; gives their number."""
    blocks = list(outer_blocks(model))
    for block in blocks:
        # An instance attribute hides the method; deleting it brings the method back.
        block.forward = partial(_recomputed, block.forward)
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            del block.forward


def _recomputed(forward: Any, *inputs: Any, **options: Any) -> Any:
    return checkpoint(forward, *inputs, use_reentrant=False, **options)


def outer_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Outermost blocks only: a block inside a block is recomputed with it."""
    for child in module.children():
        if isinstance(child, Quantizer):
            continue
        if isinstance(child, nn.ModuleList | nn.Sequential):
            yield from child
        else:
            yield from outer_blocks(child)
