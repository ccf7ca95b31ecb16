"""What a tokenizer takes and gives, and a hash that changes when its ids would.

`TokenizerSpec` is the contract that is checked when tokens are written, when they are read for
training and when a generator is loaded. `hash` covers everything that decides ids: the input that
is expected, how it is cut in time, the code's version, the encoding half of the configuration and
the encoding half of the weights. A decoder that was trained further leaves it as it is, so tokens
outlive a better decoder.

    spec.length.padded(18)        # 21 under the rule 1+4k
    spec.grid((17, 128, 128))     # {'tokens': (5, 16, 16)}
    spec.hash[:12]                # what token tables are named after
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.errors import InputError, UsageError

__all__ = ["Axis", "LengthRule", "StreamSpec", "TokenizerSpec", "hash_tensors"]

LAYOUTS = {"video": "BCTHW", "image": "BCTHW", "motion": "BTD", "joints": "BTJC", "action": "BTD"}
"""Axis order by modality. An image is a clip of one frame; an image tokenizer works by frame."""


@dataclass(frozen=True, slots=True)
class LengthRule:
    """Which numbers of frames are encoded without padding: `first + k * step`."""

    first: int
    step: int

    def __str__(self) -> str:
        if self.first == self.step:
            return "any" if self.step == 1 else f"{self.step}k"
        return f"{self.first}+{self.step}k"

    def steps(self, frames: int) -> int:
        """How many steps follow the first one once `frames` are padded."""
        return max(0, math.ceil((frames - self.first) / self.step))

    def padded(self, frames: int) -> int:
        """The smallest valid length that holds `frames`."""
        if frames < 1:
            raise InputError(f"{frames} frames cannot be encoded", allowed="1 frame or more")
        return self.first + self.steps(frames) * self.step


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a grid besides time: `extent` positions, or the input's `name` over `stride`.

    A stride of 0 leaves it open: as long as the content needs, known only once it is encoded.
    """

    name: str
    extent: int = 0
    stride: int = 1

    @property
    def open(self) -> bool:
        return not (self.extent or self.stride)

    def positions(self, size: Mapping[str, int]) -> int:
        """How many for an input of `size`; 0 for an open axis."""
        if self.open:
            return 0
        return self.extent or math.ceil(size[self.name.upper()] / self.stride)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One array of a tokenizer's output: a grid of ids, or of latent vectors.

    The first axis of the grid runs with time: `first` positions for the first frames of the length
    rule and `step` positions for every further step. `levels` are the codebook sizes at a position
    (several for residual or product codes, none for latents); `channels` is the width of a latent.
    `ordered` names the axis along which any prefix decodes: `n` for query tokens, `level` for
    residual codes, `stream` for a stream that refines those before it and may be left out.
    """

    name: str = "tokens"
    axes: tuple[Axis, ...] = ()
    first: int = 1
    step: int = 1
    levels: tuple[int, ...] = ()
    channels: int = 0
    ordered: str = ""

    def __post_init__(self) -> None:
        if bool(self.levels) == bool(self.channels):
            raise UsageError(
                f"stream {self.name!r} needs either code levels or latent channels",
                allowed="levels=(codes, ...) for ids, channels=width for latents",
            )

    @property
    def discrete(self) -> bool:
        return bool(self.levels)

    @property
    def end(self) -> int | None:
        """The id that ends and pads an open axis, which is the last one; None without one."""
        return self.levels[0] - 1 if any(axis.open for axis in self.axes) else None

    @property
    def dtype(self) -> str:
        """The smallest type that holds a value: what shards store."""
        if not self.levels:
            return "float16"
        largest = max(self.levels) - 1
        return "uint8" if largest < 2**8 else "uint16" if largest < 2**16 else "uint32"

    @property
    def trailing(self) -> int:
        """Length of the axis behind the grid: levels or channels; 0 when there is none."""
        return self.channels or (len(self.levels) if len(self.levels) > 1 else 0)

    @property
    def bits(self) -> float:
        """Bits at one position: log2 of the codes, or 16 for each latent channel."""
        return sum(math.log2(n) for n in self.levels) if self.levels else 16.0 * self.channels


@dataclass(frozen=True)
class TokenizerSpec:
    """Everything a reader of tokens must know; `hash` is its fingerprint."""

    modality: str
    channels: int
    length: LengthRule
    streams: tuple[StreamSpec, ...]
    name: str = ""
    family: str = ""
    version: int = 0
    size: tuple[int, int] | None = None
    multiple: int = 1
    joints: int = 0
    value_range: tuple[float, float] | None = None
    fps: float | None = None
    causal: bool = False
    streaming: bool = False
    precision: str = "float32"
    weights_sha256: str = ""
    encoding: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layout(self) -> str:
        return LAYOUTS[self.modality]

    @property
    def discrete(self) -> bool:
        return all(stream.discrete for stream in self.streams)

    @property
    def compression(self) -> tuple[int, int, int]:
        """Input frames, rows and columns for one position of the first stream."""
        stream = self.streams[0]
        strides = {axis.name: axis.stride for axis in stream.axes if not axis.extent}
        time = max(1, self.length.step // max(1, stream.step))
        return time, strides.get("h", 1), strides.get("w", 1)

    @property
    def hierarchical(self) -> bool:
        """Whether the streams refine each other, so that the first ones decode alone."""
        refining = [stream.ordered == "stream" for stream in self.streams[1:]]
        return bool(refining) and all(refining)

    def stream(self, name: str) -> StreamSpec:
        for stream in self.streams:
            if stream.name == name:
                return stream
        names = ", ".join(stream.name for stream in self.streams)
        raise UsageError(f"{self.name} has no stream {name!r}", allowed=names)

    def extents(self, shape: Iterable[int]) -> tuple[int, ...]:
        """The input's size without batch and channels: (T, H, W), (T, J) or (T,)."""
        kept = [n for axis, n in zip(self.layout, shape, strict=True) if axis not in "BCD"]
        return tuple(kept)

    def padded(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """`size` after padding: time by the length rule, rows and columns to the multiple."""
        frames = self.length.padded(size[0])
        if self.layout != "BCTHW":
            return (frames, *size[1:])
        return (frames, *(math.ceil(n / self.multiple) * self.multiple for n in size[1:]))

    def grid(self, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Positions along each axis of each stream for an input of `size`."""
        padded = self.padded(size)
        names = [axis for axis in self.layout if axis not in "BCD"]
        extents = dict(zip(names, padded, strict=True))
        steps = self.length.steps(size[0])
        return {
            stream.name: (
                stream.first + steps * stream.step,
                *(axis.positions(extents) for axis in stream.axes),
            )
            for stream in self.streams
        }

    def bits(self, size: tuple[int, ...]) -> float:
        """Bits that the tokens of an input of `size` carry."""
        if any(stream.end is not None for stream in self.streams):
            raise UsageError(
                f"the size of an input does not tell how many tokens {self.name} makes of it",
                hint="encode it and count the ids before the end id",
            )
        grids = self.grid(size)
        return sum(stream.bits * math.prod(grids[stream.name]) for stream in self.streams)

    @cached_property
    def hash(self) -> str:
        """64 hex digits over everything that decides ids; the name is not part of it."""
        known = {key: value for key, value in self.to_json().items() if key != "name"}
        text = json.dumps(known, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> TokenizerSpec:
        """The spec that `to_json` wrote."""
        fields = dict(known)
        streams = []
        for stream in fields["streams"]:
            axes = tuple(Axis(**axis) for axis in stream["axes"])
            streams.append(
                StreamSpec(**{**stream, "axes": axes, "levels": tuple(stream["levels"])})
            )
        fields["streams"] = tuple(streams)
        fields["length"] = LengthRule(**fields["length"])
        for key in ("size", "value_range"):
            fields[key] = tuple(fields[key]) if fields[key] else None
        return cls(**fields)


def hash_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 over names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}\n".encode())
        if value.numel():
            digest.update(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
