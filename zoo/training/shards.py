"""Weights, gradients and moments divided among the processes (fully sharded data parallel).

Each process keeps a part of every weight. A block's weights are put together just before the block
computes, forward and backward, and let go afterwards; gradients are averaged on the way to their
parts. So a model fits that no single device could train, and gradients, losses and checkpoints are
those of whole weights: a checkpoint is gathered tensor by tensor, and a run may go on with another
number of processes, or unsharded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from zoo.training.recompute import outer_blocks
from zoo.training.workers import Workers

__all__ = ["gathered", "in_parts", "shard", "whole_root"]

_WORTH = 0.01
"""The share of the weights that a block must have to be put together on its own."""


def shard(model: nn.Module, workers: Workers) -> None:
    """Divide the weights of `model` among all processes, in place."""
    mesh = init_device_mesh(next(model.parameters()).device.type, (workers.world,))
    every = _count(model)
    for block in outer_blocks(model):
        if _count(block) >= _WORTH * every:
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gathered(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors in the memory of the CPU, where `keep`; every process must ask."""
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            whole[name] = full.detach().cpu()
    return whole


def in_parts(full: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which each process has, divided as `like` is."""
    if not isinstance(like, DTensor) or full.shape != like.shape:
        return full
    full = full.to(like.device)
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)


@contextmanager
def whole_root(model: nn.Module) -> Iterator[None]:
    """Inside, methods of a divided model besides `forward` may be called."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
