"""The result of encoding: one array for each stream, and the spec that says what they mean.

tokens = tokenizer.encode(clip)
tokens.ids                  # (B, *grid) or (B, *grid, levels)
tokens.grid                 # (5, 16, 16)
tokens["motion"]            # a stream by name, where a tokenizer has several
tokens.keep(64)             # the first 64 of ordered tokens, still decodable
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from zoo.errors import SpecMismatchError, UsageError
from zoo.spec import StreamSpec, TokenizerSpec

__all__ = ["Tokens", "join_streams"]


@dataclass(frozen=True)
class Tokens:
    """Ids or latents of a batch whose inputs all had `size`: (T, H, W), (T, J) or (T,)."""

    streams: Mapping[str, Tensor]
    size: tuple[int, ...]
    spec: TokenizerSpec

    @property
    def spec_hash(self) -> str:
        return self.spec.hash

    @property
    def ids(self) -> Tensor:
        """The only stream's array."""
        return self.streams[self._only.name]

    @property
    def grid(self) -> tuple[int, ...]:
        """Positions along the axes of the only stream, time first."""
        return self.grid_of(self._only.name)

    def grid_of(self, name: str) -> tuple[int, ...]:
        stream = self.spec.stream(name)
        return tuple(self.streams[name].shape[1 : 2 + len(stream.axes)])

    def __getitem__(self, name: str) -> Tensor:
        self.spec.stream(name)
        return self.streams[name]

    def __len__(self) -> int:
        """How many clips."""
        return len(next(iter(self.streams.values())))

    @property
    def count(self) -> int:
        """Positions of all streams for one clip."""
        return sum(math.prod(self.grid_of(name)) for name in self.streams)

    @property
    def bits(self) -> float:
        """Bits that these tokens of all clips carry; where an axis is open, up to the end codes."""
        return sum(
            stream.bits * _positions(stream, self.streams[stream.name])
            for stream in self.spec.streams
            if stream.name in self.streams
        )

    def select(self, clips: slice) -> Tokens:
        return replace(self, streams={name: value[clips] for name, value in self.streams.items()})

    def to(self, device: torch.device | str) -> Tokens:
        return replace(self, streams={name: v.to(device) for name, v in self.streams.items()})

    def keep(self, count: int) -> Tokens:
        """The first `count` ordered tokens or residual levels of every position in time; of a
        hierarchy of streams, the first `count` streams."""
        if self.spec.hierarchical:
            return self._keep_streams(count)
        stream = self._only
        if not stream.ordered:
            raise UsageError(
                f"tokens of {self.spec.name} are not ordered: a prefix of them does not decode",
                hint="choose a tokenizer with ordered tokens: zoo.list_models(ordered=True)",
            )
        value = self.streams[stream.name]
        axis, most = self._ordered_axis(stream)
        if not 1 <= count <= most:
            raise UsageError(f"{count} tokens cannot be kept", allowed=f"1 to {most}")
        kept = value.narrow(axis, 0, min(count, value.shape[axis]))
        return replace(self, streams={stream.name: kept})

    def _keep_streams(self, count: int) -> Tokens:
        names = [stream.name for stream in self.spec.streams if stream.name in self.streams]
        if not 1 <= count <= len(names):
            raise UsageError(f"{count} streams cannot be kept", allowed=f"1 to {len(names)}")
        return replace(self, streams={name: self.streams[name] for name in names[:count]})

    @staticmethod
    def join(parts: Sequence[Tokens]) -> Tokens:
        """Parts of one long clip, in order, as the tokens of the whole."""
        if not parts:
            raise UsageError("no tokens to join", allowed="one part or more")
        head = parts[0]
        for part in parts[1:]:
            if part.spec_hash != head.spec_hash or part.size[1:] != head.size[1:]:
                raise SpecMismatchError("parts of different tokenizers or sizes cannot be joined")
        streams = join_streams([part.streams for part in parts], 1, head.spec)
        frames = sum(part.size[0] for part in parts)
        return Tokens(streams, (frames, *head.size[1:]), head.spec)

    @staticmethod
    def stack(batches: Sequence[Tokens]) -> Tokens:
        """Clips of equal size from several batches, as one batch."""
        head = batches[0]
        if any(b.spec_hash != head.spec_hash or b.size != head.size for b in batches[1:]):
            raise SpecMismatchError("clips of different tokenizers or sizes cannot be stacked")
        streams = join_streams([batch.streams for batch in batches], 0, head.spec)
        return replace(head, streams=streams)

    @staticmethod
    def _ordered_axis(stream: StreamSpec) -> tuple[int, int]:
        """The axis of the stored array along which prefixes decode, and its full length."""
        if stream.ordered == "level":
            return 2 + len(stream.axes), len(stream.levels)
        place = [axis.name for axis in stream.axes].index(stream.ordered)
        return 2 + place, stream.axes[place].extent

    @property
    def _only(self) -> StreamSpec:
        if len(self.spec.streams) > 1:
            names = ", ".join(repr(stream.name) for stream in self.spec.streams)
            raise UsageError(
                f"{self.spec.name} gives several streams", allowed=names, hint='tokens["name"]'
            )
        return self.spec.streams[0]


def join_streams(
    parts: Sequence[Mapping[str, Tensor]], dim: int, spec: TokenizerSpec
) -> dict[str, Tensor]:
    """Every stream of all parts along `dim`; where one is shorter on an open axis, ends follow."""
    if len(parts) == 1:
        return dict(parts[0])
    joined = {}
    for name in parts[0]:
        arrays, end = [part[name] for part in parts], spec.stream(name).end
        if end is not None:
            longest = max(array.shape[-1] for array in arrays)
            arrays = [functional.pad(a, (0, longest - a.shape[-1]), value=end) for a in arrays]
        joined[name] = torch.cat(arrays, dim=dim)
    return joined


def _positions(stream: StreamSpec, value: Tensor) -> int:
    """Positions that say something: not those which fill an open axis up."""
    if stream.end is not None:
        return int((value != stream.end).sum()) + math.prod(value.shape[:-1])
    return value.numel() // max(1, stream.trailing)
