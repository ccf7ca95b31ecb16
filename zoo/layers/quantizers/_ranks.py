"""Statistics that must not depend on how a batch is split over processes and micro-batches.

Counts and sums are collected in `forward` and applied once: after they were summed over the
micro-batches (`hold_updates`) and over the ranks (`torch.distributed`, when initialised). The
result is the one that a single process would get from the joint batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn import functional as differentiable

__all__ = ["HeldUpdates", "broadcast", "hold_updates", "mean_over_ranks", "pick_rows"]


class HeldUpdates(nn.Module):
    """A module that learns from statistics of its inputs, once an optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self.holding = False
        self._pending: list[Tensor] = []

    @property
    def learning(self) -> bool:
        """Statistics move only in training and only where gradients are on: a discriminator's
        pass over the generator under `no_grad` must not count a batch twice."""
        return self.training and torch.is_grad_enabled()

    def _collect(self, *statistics: Tensor) -> list[Tensor] | None:
        """Sums over micro-batches and ranks, or None while they are held back."""
        if self._pending:
            statistics = tuple(a + b for a, b in zip(self._pending, statistics, strict=True))
        self._pending = list(statistics)
        if self.holding:
            return None
        totals, self._pending = self._pending, []
        if _several_ranks():
            for total in totals:
                dist.all_reduce(total)
        return totals


@contextmanager
def hold_updates(module: nn.Module) -> Iterator[None]:
    """Keep the codebooks of `module` from moving: for all micro-batches of a step but the last.

    The counterpart of `DistributedDataParallel.no_sync`, and used beside it. Every rank must
    hold the same micro-batches.
    """
    held = [part for part in module.modules() if isinstance(part, HeldUpdates)]
    for part in held:
        part.holding = True
    try:
        yield
    finally:
        for part in held:
            part.holding = False


def pick_rows(rows: Tensor, count: int, seed: int) -> Tensor:
    """At most `count` random rows of the joint batch `(N, D)`, the same ones on every rank.

    Only the picked rows travel: every rank fills in those it owns.
    """
    sizes = _sizes(rows)
    total = sum(sizes)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(total, generator=generator)[:count].to(rows.device)
    if len(sizes) == 1:
        return rows[chosen]
    local = chosen - sum(sizes[: dist.get_rank()])
    mine = (local >= 0) & (local < rows.shape[0])
    picked = rows.new_zeros(len(chosen), rows.shape[1])
    picked[mine] = rows[local[mine]]
    dist.all_reduce(picked)
    return picked


def broadcast(tensor: Tensor) -> None:
    """Make every rank hold what rank 0 holds: equal inputs may still round differently."""
    if _several_ranks():
        dist.broadcast(tensor, src=0)


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """Mean over equally large ranks, through which gradients pass."""
    if not _several_ranks():
        return tensor
    return differentiable.all_reduce(tensor) / dist.get_world_size()


def _sizes(rows: Tensor) -> list[int]:
    if not _several_ranks():
        return [rows.shape[0]]
    sizes = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=rows.device)
    sizes[dist.get_rank()] = rows.shape[0]
    dist.all_reduce(sizes)
    return [int(size) for size in sizes.tolist()]


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
