"""How much of a codebook a data set uses: usage, perplexity, bits per token and dead codes.

Counts are kept for the whole data set, because the perplexity of a batch is bounded by its size
and its mean over batches says nothing about the codebook. A sample of few tokens per code still
reads low, so every value carries its tokens per code.

    use = CodebookUse(levels)                # one size per level: (262144,) or (512,) * 6
    use.update(tokens.ids)
    use.measurements()

A product code too large to count is counted by factor: `split_codes(ids, (2**18, 2**18))`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics.base import Measurement, Metric, MetricInfo, nothing_measured

if TYPE_CHECKING:
    from zoo.layers.quantizers.base import Quantizer

__all__ = ["CodebookUse", "split_codes"]

MOST_CODES = 2**26
"""Counters that are still held in memory: half a gigabyte."""


def split_codes(ids: Tensor, factors: Sequence[int]) -> Tensor:
    """The factors of product codes, least significant first, along a new last axis."""
    digits = []
    for factor in factors:
        digits.append(ids % factor)
        ids = torch.div(ids, factor, rounding_mode="floor")
    if ids.any():
        raise InputError(
            f"some ids do not fit into the factors {tuple(factors)}",
            allowed=f"0 to {math.prod(factors) - 1}",
        )
    return torch.stack(digits, -1)


class CodebookUse(Metric):
    """Counts of every code at every level.

    `positions` says how many ids of each level follow each other along the last axis: one of each
    for residual codes, the size of each scale's grid for codes of several scales.
    """

    def __init__(self, levels: Sequence[int], positions: Sequence[int] = ()) -> None:
        self.levels = tuple(levels)
        self.positions = tuple(positions) or (1,) * len(self.levels)
        if not self.levels or min(self.levels) < 2 or sum(self.levels) > MOST_CODES:
            raise UsageError(
                f"codebooks of {self.levels} codes cannot be counted",
                allowed=f"one size of 2 or more for each level, {MOST_CODES} in all",
                hint="count a product code by factor: split_codes(ids, factors)",
            )
        if len(self.positions) != len(self.levels):
            raise UsageError(
                f"{len(self.positions)} runs of positions for {len(self.levels)} levels",
                allowed="one for each level",
            )
        self._starts = np.cumsum((0, *self.levels))
        self._counts = np.zeros(sum(self.levels), dtype=np.int64)

    @classmethod
    def of(cls, quantizer: Quantizer) -> Self:
        """All levels, or all scales, of a quantizer."""
        if not quantizer.scales:
            return cls(quantizer.levels)
        positions = [math.prod(grid) for grid in quantizer.scales]
        return cls(quantizer.levels * len(positions), positions)

    @property
    def infos(self) -> tuple[MetricInfo, ...]:
        sizes = "+".join(str(size) for size in self.levels)
        over = f"counts over the whole sample, codebook {sizes}"
        mean = ", mean over levels" if len(self.levels) > 1 else ""
        entropy = f"H = -sum p log p by level; {over}"
        return (
            MetricInfo("codebook_usage", "%", True, f"codes seen at least once / codes; {over}"),
            MetricInfo("codebook_perplexity", "codes", True, f"exp(H{mean}); {entropy}"),
            MetricInfo("bits_per_token", "bits", True, f"H in bits{mean}; {entropy}"),
            MetricInfo("dead_codes", "codes", False, f"codes never seen, all levels; {over}"),
        )

    def update(self, ids: Tensor) -> None:
        """Ids of any shape for one level; several levels lie along the last axis."""
        if ids.is_floating_point():
            raise InputError(f"codes of type {ids.dtype}", allowed="an integer type")
        width = sum(self.positions)
        if width > 1 and ids.shape[-1] != width:
            raise InputError(
                f"ids of shape {tuple(ids.shape)} for {len(self.levels)} levels",
                allowed=f"{width} ids along the last axis",
            )
        sizes = torch.from_numpy(np.repeat(self.levels, self.positions)).to(ids.device)
        columns = ids.long().reshape(-1, width)
        if ((columns < 0) | (columns >= sizes)).any():
            raise InputError(
                f"ids from {int(columns.min())} to {int(columns.max())}",
                allowed=f"0 to {' and '.join(str(size - 1) for size in sorted(set(self.levels)))}",
                hint="leave out padding and special tokens",
            )
        starts = torch.from_numpy(np.repeat(self._starts[:-1], self.positions)).to(ids.device)
        counts = torch.bincount((columns + starts).flatten(), minlength=len(self._counts))
        self._counts += counts.cpu().numpy()

    def counts(self, level: int = 0) -> np.ndarray:
        """How often each code of a level was seen."""
        return self._counts[self._starts[level] : self._starts[level + 1]].copy()

    def measurements(self) -> tuple[Measurement, ...]:
        by_level = [self.counts(level) for level in range(len(self.levels))]
        tokens = int(self._counts.sum())
        if not tokens:
            raise nothing_measured(self)
        used = [int(np.count_nonzero(counts)) for counts in by_level]
        nats = [_entropy(counts) for counts in by_level]
        mean_nats = sum(nats) / len(nats)
        shares = [100 * seen / size for seen, size in zip(used, self.levels, strict=True)]
        dead = [size - seen for seen, size in zip(used, self.levels, strict=True)]
        values: list[tuple[float, Sequence[float]]] = [
            (sum(shares) / len(shares), shares),
            (math.exp(mean_nats), [math.exp(value) for value in nats]),
            (mean_nats / math.log(2), [value / math.log(2) for value in nats]),
            (sum(dead), dead),
        ]
        return tuple(
            Measurement(info, float(value), tokens, "tokens", parts=self._parts(parts))
            for info, (value, parts) in zip(self.infos, values, strict=True)
        )

    def _parts(self, by_level: Sequence[float]) -> dict[str, float]:
        seen = np.add.reduceat(self._counts, self._starts[:-1])
        parts = {"tokens_per_code": float((seen / self.levels).min())}
        if len(self.levels) > 1:
            parts |= {f"level_{level}": float(value) for level, value in enumerate(by_level)}
        return parts

    def _absorb(self, other: Self) -> None:
        self._counts += other._counts


def _entropy(counts: np.ndarray) -> float:
    """Of the code distribution, in nats."""
    seen = counts[counts > 0]
    shares = seen / seen.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))
