"""How a clip is padded and cut in time: the same pieces for a whole clip and for a stream.

The length rule gives a first piece and steps; `pace` steps make one further piece. Padding repeats
the last frame, row or column, and is undone by decoding, so that 18 frames in are 18 frames out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError
from zoo.spec import TokenizerSpec

__all__ = ["Cutter"]


@dataclass(frozen=True)
class Cutter:
    """Pads and cuts clips for one spec."""

    spec: TokenizerSpec
    pace: int = 1

    @property
    def time(self) -> int:
        """The axis of time in the input."""
        return self.spec.layout.index("T")

    def schedule(self, frames: int) -> Iterator[tuple[int, int]]:
        """(is first, further steps) of each piece of a clip of a valid length."""
        rule = self.spec.length
        steps = rule.steps(frames)
        if not self.spec.streaming:
            yield 1, steps
            return
        beside = 0 if rule.first != rule.step else min(steps, self.pace - 1)
        yield 1, beside
        for done in range(beside, steps, self.pace):
            yield 0, min(self.pace, steps - done)

    def frames(self, first: int, steps: int) -> int:
        return first * self.spec.length.first + steps * self.spec.length.step

    def pieces(self, clip: Tensor) -> Iterator[Tensor]:
        """The pieces of one clip, padded in time and space."""
        clip = self.pad(clip, self.spec.length.padded(clip.shape[self.time]))
        start = 0
        for first, steps in self.schedule(clip.shape[self.time]):
            length = self.frames(first, steps)
            yield clip.narrow(self.time, start, length)
            start += length

    def buffered(self, chunks: Iterable[Tensor]) -> Iterator[tuple[Tensor, int]]:
        """The same pieces from a clip in chunks, each with its count of real frames."""
        rule = self.spec.length
        wanted = self.frames(1, 0 if rule.first != rule.step else self.pace - 1)
        waiting: Tensor | None = None
        for chunk in chunks:
            if chunk.shape[0] != 1:
                raise InputError(
                    f"a stream is one clip, this chunk holds {chunk.shape[0]}",
                    hint="encode each clip's stream on its own, or use encode for a batch",
                )
            waiting = chunk if waiting is None else torch.cat([waiting, chunk], dim=self.time)
            while waiting.shape[self.time] >= wanted:
                yield self.pad(waiting.narrow(self.time, 0, wanted), wanted), wanted
                rest = waiting.shape[self.time] - wanted
                waiting = waiting.narrow(self.time, wanted, rest)
                wanted = rule.step * self.pace
        if waiting is not None and waiting.shape[self.time]:
            real = waiting.shape[self.time]
            yield self.pad(waiting, real + -real % rule.step), real

    def pad(self, clip: Tensor, frames: int) -> Tensor:
        """Repeat the last frame up to `frames`, and the last row and column to the multiple."""
        real = clip.shape[self.time]
        if frames > real:
            last = clip.narrow(self.time, real - 1, 1)
            clip = torch.cat([clip, *itertools.repeat(last, frames - real)], dim=self.time)
        if self.spec.layout == "BCTHW":
            rows, columns = (-n % self.spec.multiple for n in clip.shape[-2:])
            if rows or columns:
                clip = functional.pad(clip, (0, columns, 0, rows, 0, 0), mode="replicate")
        return clip

    def crop(self, clip: Tensor, size: tuple[int, ...]) -> Tensor:
        """Undo `pad`."""
        axes = [i for i, axis in enumerate(self.spec.layout) if axis not in "BCD"]
        for axis, extent in zip(axes, size, strict=True):
            clip = clip.narrow(axis, 0, extent)
        return clip
