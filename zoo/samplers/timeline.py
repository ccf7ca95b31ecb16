"""Several texts on one timeline, each for an interval and for parts of the body (STMC).

Between two borders of the timeline the same rows hold. Each such segment is denoised once for each
of its rows, and each part of the body is taken from the row that has it; where no row holds,
nothing is asked for. Segments look `join` frames beyond their borders and are blended there, so
that one leads into the next; with 0 they do not know of each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.generator import Conditions
from zoo.generators.motion_diffusion import MotionDiffusion
from zoo.samplers.around import Around

__all__ = ["Row", "Timeline"]


@dataclass(frozen=True)
class Row:
    """Frames `start` to `end` are asked for something; `parts` empty is the whole body."""

    start: int
    end: int
    asked: Conditions
    parts: tuple[int, ...] = ()


class Timeline(Around):
    """Motion of `frames` frames after the rows of a timeline."""

    def __init__(self, inner: MotionDiffusion, frames: int, rows: Sequence[Row], join: int = 2):
        super().__init__(inner, frames)
        for row in rows:
            if not 0 <= row.start < row.end <= frames:
                raise UsageError(
                    f"a row holds from {row.start} to {row.end}", allowed=f"within 0 to {frames}"
                )
        self.rows, self.join, self.body = tuple(rows), join, inner

    def segments(self, frames: int) -> Iterator[tuple[int, int, list[Row]]]:
        """Begin, end and rows of each run of frames in which the same rows hold."""
        edges = {0, frames, *(edge for row in self.rows for edge in (row.start, row.end))}
        borders = sorted(edge for edge in edges if edge <= frames)
        for begin, end in itertools.pairwise(borders):
            yield begin, end, [row for row in self.rows if row.start < end and begin < row.end]

    def estimate(
        self,
        x: Tensor,
        time: Tensor,
        conditions: Conditions,
        guidance: float = 1.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        total, weight = torch.zeros_like(x), x.new_zeros(x.shape[1], 1)
        for begin, end, rows in self.segments(x.shape[1]):
            first, last = max(0, begin - self.join), min(x.shape[1], end + self.join)
            own = time if time.dim() == 1 else time[:, first:last]
            made = self._segment(x[:, first:last], own, rows, guidance)
            frame = torch.arange(first, last, device=x.device)
            outside = torch.maximum(begin - frame, frame - end + 1).clamp(min=0)
            share = (1 - outside / (self.join + 1)).unsqueeze(1)
            total[:, first:last] += made * share
            weight[first:last] += share
        return total / weight

    def _segment(self, x: Tensor, time: Tensor, rows: list[Row], guidance: float) -> Tensor:
        made = None
        for row in rows:
            asked = row.asked.to(x.device)
            one = self.inner.estimate(x, time, asked, guidance)
            if made is None:
                made = one
            elif row.parts:
                there = torch.isin(self.body.part, torch.tensor(row.parts, device=x.device))
                made = torch.where(there, one, made)
            else:
                made = one
        return self.inner.estimate(x, time, Conditions()) if made is None else made
