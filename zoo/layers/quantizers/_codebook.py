"""A table of codes that learns from what is assigned to it.

By exponential moving averages (VQ-VAE) or, with `learned`, by gradients of a codebook loss. It
starts from k-means of its first batch and codes that nearly nothing uses are moved onto rows of
the batch. Every decision that needs chance draws from `seed` and the number of updates so far, on
every rank alike, so a resumed run and a run over several ranks go the same way.

Own code instead of the codebook of `vector-quantize-pytorch` 1.32, because that one runs k-means
on the first batch in eval mode too, keeps autocast on for CPU, makes a one-hot matrix of rows by
codes in training (8,192 codes take eight times as long), and its dead-code threshold is a count
that depends on the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.layers.quantizers._ranks import HeldUpdates, broadcast, pick_rows
from zoo.layers.quantizers._search import Surface, anywhere, assign, kmeans, means, nearest
from zoo.layers.quantizers.base import QuantizerConfig, setting

__all__ = ["Codebook", "CodebookConfig", "codebook_losses", "mean_losses"]

_KMEANS_ROWS_PER_CODE = 16


@dataclass(frozen=True, kw_only=True)
class CodebookConfig(QuantizerConfig):
    """The settings of every kind that keeps a table of codes."""

    size: int = setting(1024, least=2, most=2**20)
    code_dim: int | None = setting(None, least=1)
    """Width of a code; latents are projected there and back. The latents' own width if None."""
    learned: bool = False
    """Move codes by the gradient of the `codebook` loss instead of moving averages."""
    decay: float = setting(0.99, least=0.0, most=1.0)
    dead_below: float = setting(0.03, least=0.0, most=1.0)
    """A code is moved when its share of use falls below this part of an even share; 0: never."""
    kmeans_iterations: int = setting(10, least=0)
    """Rounds of k-means on the first training batch; 0 starts from random codes."""
    seed: int = setting(0, least=0)

    @property
    def width(self) -> int:
        return self.code_dim or self.dim


class Codebook(HeldUpdates):
    """`size` codes of `width` numbers on a `surface` (anywhere, or unit vectors)."""

    codes: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor
    updates: Tensor

    def __init__(
        self, config: CodebookConfig, width: int | None = None, surface: Surface = anywhere
    ) -> None:
        super().__init__()
        self.config = config
        self.surface = surface
        width = width or config.width
        codes = surface(torch.randn(config.size, width) * width**-0.5)
        if config.learned:
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)
            self.register_buffer("sums", codes.clone())
        self.register_buffer("counts", torch.ones(config.size))
        self.register_buffer("started", torch.tensor(config.kmeans_iterations == 0))
        self.register_buffer("updates", torch.tensor(0))

    def forward(
        self, rows: Tensor, choose: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Ids and codes of `rows (..., width)`; in training the codebook learns from them."""
        self.start(rows)
        ids = (choose or self.nearest)(rows)
        codes = self.lookup(ids)
        self.learn(rows, ids)
        return ids, codes

    def nearest(self, rows: Tensor) -> Tensor:
        return nearest(rows, self.table)

    def lookup(self, ids: Tensor) -> Tensor:
        return self.surface(functional.embedding(ids, self.codes.float()))

    @property
    def table(self) -> Tensor:
        """All codes, without gradients."""
        return self.surface(self.codes.detach().float())

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        size = self.config.size
        sample = pick_rows(rows, _KMEANS_ROWS_PER_CODE * size, self.config.seed)
        codes = kmeans(sample, size, self.config.kmeans_iterations, self.surface)
        broadcast(codes)
        counts, sums = assign(sample, nearest(sample, codes), size)
        self.codes.copy_(codes)
        self.counts.copy_(counts)
        if not self.config.learned:
            self.sums.copy_(sums)
        self.started.fill_(True)

    def start(self, rows: Tensor) -> None:
        """Take the first codes from the first training batch."""
        if self.config.kmeans_iterations and self.learning and not self.started:
            self._start(rows.detach().reshape(-1, rows.shape[-1]))

    def learn(self, rows: Tensor, ids: Tensor) -> None:
        """Count `rows` as assigned to `ids`, and move the codes once a step."""
        if self.learning:
            self._learn(rows.detach().reshape(-1, rows.shape[-1]), ids.reshape(-1))

    @torch.no_grad()
    def _learn(self, rows: Tensor, ids: Tensor) -> None:
        totals = self._collect(*assign(rows, ids, self.config.size))
        if totals is None:
            return
        counts, sums = totals
        self.counts.lerp_(counts, 1 - self.config.decay)
        if not self.config.learned:
            self.sums.lerp_(sums, 1 - self.config.decay)
            self.codes.copy_(means(self.counts, self.sums, self.codes, self.surface))
        self.updates += 1
        self._revive(rows)

    def _revive(self, rows: Tensor) -> None:
        """Put dead codes onto random rows, with an even share of use to begin with."""
        even = self.counts.mean()
        dead = (self.counts < self.config.dead_below * even).nonzero().squeeze(1)
        if not len(dead):
            return
        seed = self.config.seed + int(self.updates)
        fresh = self.surface(pick_rows(rows, len(dead), seed))
        dead = dead[: len(fresh)]
        self.codes[dead] = fresh
        self.counts[dead] = even
        if not self.config.learned:
            self.sums[dead] = fresh * even


def codebook_losses(latents: Tensor, codes: Tensor, *, learned: bool) -> dict[str, Tensor]:
    """Commitment of latents to codes and, where gradients move codes, of codes to latents."""
    losses = {"commitment": _mean_square(latents - codes.detach())}
    if learned:
        losses["codebook"] = _mean_square(codes - latents.detach())
    return losses


def mean_losses(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean over levels or parts, name by name."""
    return {name: torch.stack([part[name] for part in losses]).mean() for name in losses[0]}


def _mean_square(difference: Tensor) -> Tensor:
    """0 for no rows: a level that no clip of a batch uses has nothing to lose."""
    return difference.square().sum() / max(1, difference.numel())
