"""How well codebooks are used, over a whole data set.

    meter = UsageMeter.of(quantizer)
    for ids in batches:
        meter.add(ids)
    meter.levels_use[0].perplexity

Usage of a batch says little: a batch of 5,120 ids cannot use 64,000 codes. The meter keeps one
count per code, so its numbers are those of everything added, in whatever batches, and meters of
several workers merge exactly. Plain object: pickles, belongs to no module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers.base import Quantizer

__all__ = ["LevelUse", "UsageMeter"]


@dataclass(frozen=True)
class LevelUse:
    """The use of one codebook."""

    size: int
    ids: int
    """How many ids were counted."""
    used: int
    """How many codes occurred at all."""
    perplexity: float
    """Codes of an evenly used codebook that would carry as much; 0 when nothing was counted."""

    @property
    def usage(self) -> float:
        return self.used / self.size

    @property
    def dead(self) -> int:
        return self.size - self.used


class UsageMeter:
    """Counts of every code at every level.

    `positions` are the ids of each level where ids are one flat sequence of all levels.
    """

    def __init__(self, levels: Sequence[int], positions: Sequence[int] = ()) -> None:
        if not levels:
            raise UsageError("continuous latents have no codes", hint="meter discrete tokenizers")
        if positions and len(positions) != len(levels):
            raise UsageError(f"{len(positions)} positions for {len(levels)} levels")
        self.levels = tuple(levels)
        self.positions = tuple(positions)
        self.counts = [torch.zeros(size, dtype=torch.int64) for size in levels]

    @classmethod
    def of(cls, quantizer: Quantizer) -> UsageMeter:
        """A meter of all levels, or all scales, of a quantizer."""
        if not quantizer.scales:
            return cls(quantizer.levels)
        positions = [int(torch.tensor(grid).prod()) for grid in quantizer.scales]
        return cls(quantizer.levels * len(positions), positions)

    def add(self, ids: Tensor) -> None:
        """Count ids as a quantizer gives them."""
        for counts, column in zip(self.counts, self._by_level(ids), strict=True):
            flat = column.reshape(-1).long()
            size = len(counts)
            if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= size):
                raise UsageError(
                    f"ids from {int(flat.min())} to {int(flat.max())} in a codebook of {size}",
                    allowed=f"0 to {size - 1}",
                )
            counts += torch.bincount(flat, minlength=size).cpu()

    def merge(self, other: UsageMeter) -> None:
        """Count what another meter of the same levels has counted."""
        if (other.levels, other.positions) != (self.levels, self.positions):
            raise UsageError(
                f"a meter of levels {other.levels} cannot join one of {self.levels}",
                hint="merge meters of one tokenizer",
            )
        for counts, more in zip(self.counts, other.counts, strict=True):
            counts += more

    @property
    def levels_use(self) -> tuple[LevelUse, ...]:
        return tuple(_use(counts) for counts in self.counts)

    def _by_level(self, ids: Tensor) -> Sequence[Tensor]:
        if self.positions:
            if ids.shape[-1] != sum(self.positions):
                raise UsageError(
                    f"{ids.shape[-1]} ids a sequence", allowed=f"{sum(self.positions)}"
                )
            return ids.split(self.positions, -1)
        if len(self.levels) == 1:
            return [ids]
        if ids.shape[-1] != len(self.levels):
            raise UsageError(
                f"ids with {ids.shape[-1]} levels", allowed=f"{len(self.levels)} in the last axis"
            )
        return ids.unbind(-1)


def _use(counts: Tensor) -> LevelUse:
    total = int(counts.sum())
    shares = counts.double() / max(1, total)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return LevelUse(
        size=len(counts),
        ids=total,
        used=int((counts > 0).sum()),
        perplexity=float(entropy.exp()) if total else 0.0,
    )
