"""The verbs that every tokenizer answers: encode, decode, encode_stream, save.

A family subclasses `Tokenizer` and writes four methods: `describe` (its spec), `encode_piece`,
`decode_piece` and `forward` (training). The base class owns what all of them would get wrong in
their own way: checks of the input, padding and its undoing, cutting in time, batches, eval mode.

Ids never depend on batch size or chunking, because there is one way to encode. A clip is encoded
alone, in pieces whose shapes follow from the length rule: the first frames, then `pace` steps at a
time, with the state that the family carries from piece to piece. A stream is buffered into the
same pieces. So the network sees the same shapes with the same values in any case, and rounding
cannot move an id.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from zoo.config import config_to_json
from zoo.errors import SpecMismatchError, UsageError
from zoo.inputs import check_input
from zoo.pieces import Cutter
from zoo.spec import TokenizerSpec, hash_tensors
from zoo.tokens import Tokens, join_streams
from zoo.watch import Watch

__all__ = ["Reconstruction", "State", "Tokenizer"]

State = dict[Any, Any]
"""What a family carries from one piece of a clip to the next; the keys are its modules."""


@dataclass(frozen=True)
class Reconstruction:
    """One training step's outcome.

    `output` is what the pixel or motion losses compare with the input; None where the family's own
    objective replaces them (a denoising decoder, a teacher's features). `losses` are unweighted
    scalars by name; `ids` feed the usage meter, by stream.
    """

    output: Tensor | None
    losses: dict[str, Tensor] = field(default_factory=dict)
    ids: dict[str, Tensor] = field(default_factory=dict)


class Tokenizer(nn.Module, ABC):
    """A model that turns media into tokens and back."""

    config_class: ClassVar[type]
    version: ClassVar[int] = 1
    """Raised when a change of the code changes ids."""
    encode_side: ClassVar[tuple[str, ...]] = ("encoder", "quantizer")
    """Submodules and buffers that decide ids: they are hashed into the spec."""
    decode_side: ClassVar[tuple[str, ...]] = ("quantizer.out.",)
    """Beginnings of names of tensors on the encode side that only decoding uses."""
    decode_only: ClassVar[tuple[str, ...]] = ()
    """Fields of the configuration that do not touch ids, besides those named decoder_*."""
    loss_weights: ClassVar[dict[str, float]] = {}
    """Weights of the family's own losses; 1 where a name is missing."""
    trainable: ClassVar[bool] = True
    pace: int = 1
    """Steps of the length rule that are encoded together."""

    name: str = ""

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self._watch: Watch | None = None
        self._described: TokenizerSpec | None = None

    @abstractmethod
    def describe(self) -> TokenizerSpec:
        """The spec but for name, weights, precision and configuration, which the base fills in."""

    @abstractmethod
    def encode_piece(self, x: Tensor, state: State) -> dict[str, Tensor]:
        """Streams of one piece of one clip: (1, positions in time, ...)."""

    @abstractmethod
    def decode_piece(
        self, streams: dict[str, Tensor], state: State, size: tuple[int, ...]
    ) -> Tensor:
        """The frames of one piece of one clip; `size` is the padded size of the piece."""

    @abstractmethod
    def forward(self, x: Tensor) -> Reconstruction:
        """Encode and decode a batch of whole clips with gradients."""

    @classmethod
    def family(cls) -> str:
        """The module that holds the family: `zoo/tokenizers/causal_cnn.py` is `causal_cnn`."""
        return cls.__module__.rsplit(".", 1)[-1]

    @property
    def spec(self) -> TokenizerSpec:
        """The contract, with the hash of the weights as they are now."""
        self._watched()
        return self._spec()

    def _spec(self) -> TokenizerSpec:
        if self._described is None:
            tensors = list(self._encoding_tensors())
            floats = [t.dtype for _, t in tensors if t.is_floating_point()]
            self._described = replace(
                self.describe(),
                name=self.name or self.family(),
                family=self.family(),
                version=self.version,
                precision=str(floats[0]).removeprefix("torch.") if floats else "float32",
                weights_sha256=hash_tensors(tensors),
                encoding=self._encoding_config(),
            )
        return self._described

    @torch.no_grad()
    def encode(self, x: Tensor, *, fps: float | None = None) -> Tokens:
        """Tokens of a batch of clips of one size, in the layout and value range of the spec."""
        spec, cutter = self._ready()
        check_input(x, spec, fps)
        streams = []
        for clip in self._placed(x, spec).split(1):
            state: State = {}
            parts = [self.encode_piece(piece, state) for piece in cutter.pieces(clip)]
            streams.append(join_streams(parts, 1, spec))
        return Tokens(join_streams(streams, 0, spec), spec.extents(x.shape), spec)

    @torch.no_grad()
    def encode_stream(
        self, chunks: Iterable[Tensor], *, fps: float | None = None
    ) -> Iterator[Tokens]:
        """Tokens of one long clip, given in chunks of any length, as soon as they are certain.

        Joined by `Tokens.join`, they are the very tokens that `encode` gives for the whole clip.
        """
        spec, cutter = self._ready()
        if not spec.streaming:
            raise UsageError(
                f"{spec.name} looks at a whole clip at once and cannot encode a stream",
                hint="cut the clip into windows, or choose one of zoo.list_models(streaming=True)",
            )
        state: State = {}
        size: tuple[int, ...] = ()
        for piece, frames in cutter.buffered(self._checked(chunks, spec, fps)):
            size = (frames, *spec.extents(piece.shape)[1:])
            yield Tokens(self.encode_piece(piece, state), size, spec)

    @torch.no_grad()
    def decode(self, tokens: Tokens) -> Tensor:
        """Media of the size that was encoded, inside the value range."""
        _, cutter = self._ready()
        self.check_tokens(tokens)
        placed = tokens.to(self.device)
        return torch.cat(
            [self._decode_clip(placed.select(slice(i, i + 1)), cutter) for i in range(len(tokens))]
        )

    def check_tokens(self, tokens: Tokens) -> None:
        """Raise SpecMismatchError unless this very tokenizer made `tokens`."""
        spec = self.spec
        if tokens.spec_hash != spec.hash:
            raise SpecMismatchError(
                f"these tokens were made by {tokens.spec.name} with spec {tokens.spec_hash[:12]}, "
                f"not by {spec.name} with spec {spec.hash[:12]}",
                hint="load the tokenizer that made them, or encode the clips again",
            )

    def tokens(self, streams: Mapping[str, Tensor], size: tuple[int, ...]) -> Tokens:
        """Stored arrays as tokens of this tokenizer, after a check of their shapes."""
        spec = self.spec
        grids = spec.grid(size)
        for stream in spec.streams:
            if stream.name not in streams:
                if stream.ordered == "stream":
                    continue
                raise SpecMismatchError(f"stream {stream.name!r} is missing")
            given = tuple(streams[stream.name].shape[1:])
            wanted = grids[stream.name] + ((stream.trailing,) if stream.trailing else ())
            fits = len(given) == len(wanted) and all(
                b in (0, a) or (stream.ordered and 0 < a < b)
                for a, b in zip(given, wanted, strict=True)
            )
            if not fits:
                raise SpecMismatchError(
                    f"stream {stream.name!r} has shape {given} for a clip of {size}",
                    allowed=f"{wanted}",
                )
        return Tokens(dict(streams), size, spec)

    def example_shape(self, batch: int = 2) -> tuple[int, ...]:
        """A small valid input shape for tests, sanity checks and cost estimates."""
        spec = self.spec
        frames = spec.length.first
        if spec.length.first != spec.length.step:
            frames += spec.length.step
        if spec.layout == "BCTHW":
            return (batch, spec.channels, frames, *(spec.size or (spec.multiple * 4,) * 2))
        if spec.layout == "BTJC":
            return (batch, frames, spec.joints, spec.channels)
        return (batch, frames, spec.channels)

    def save(self, folder: str | Path) -> Path:
        """Write `model.safetensors`, `config.json` and a card to `folder`."""
        from zoo.artefact import save

        return save(self, Path(folder))

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Save and upload as one commit; returns the address of the repository."""
        from zoo.hub import push

        return push(self, repo, **options)

    @property
    def device(self) -> torch.device:
        """Where the weights are; tokens come back there."""
        for module in self.modules():
            for tensor in itertools.chain(module._parameters.values(), module._buffers.values()):
                if tensor is not None:
                    return tensor.device
        return torch.device("cpu")

    def _decode_clip(self, clip: Tokens, cutter: Cutter) -> Tensor:
        spec, state = clip.spec, State()
        padded = spec.padded(clip.size)
        present = [stream for stream in spec.streams if stream.name in clip.streams]
        used = dict.fromkeys(clip.streams, 0)
        parts = []
        for first, steps in cutter.schedule(padded[0]):
            piece = {}
            for stream in present:
                count = first * stream.first + steps * stream.step
                piece[stream.name] = clip.streams[stream.name].narrow(1, used[stream.name], count)
                used[stream.name] += count
            parts.append(
                self.decode_piece(piece, state, (cutter.frames(first, steps), *padded[1:]))
            )
        whole = cutter.crop(torch.cat(parts, dim=cutter.time), clip.size)
        return whole.clamp(*spec.value_range) if spec.value_range else whole

    def _checked(
        self, chunks: Iterable[Tensor], spec: TokenizerSpec, fps: float | None
    ) -> Iterator[Tensor]:
        for chunk in chunks:
            check_input(chunk, spec, fps)
            yield self._placed(chunk, spec)

    def _placed(self, x: Tensor, spec: TokenizerSpec) -> Tensor:
        return x.to(device=self.device, dtype=getattr(torch, spec.precision))

    def _ready(self) -> tuple[TokenizerSpec, Cutter]:
        if self._watched().training:
            self.eval()
        spec = self._spec()
        return spec, Cutter(spec, self.pace)

    def _watched(self) -> Watch:
        """Forgets the spec when what it was made of is no longer there."""
        if self._watch is None or not self._watch.unchanged:
            parts = [getattr(self, side, None) for side in self.encode_side]
            below = [part.modules() for part in parts if isinstance(part, nn.Module)]
            self._watch = Watch(self.modules(), itertools.chain([self], *below))
            self._described = None
        return self._watch

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Moves and casts put other data into the same parameters, which no version tells."""
        self._described = None
        return super()._apply(fn, recurse)

    def _encoding_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What `state_dict` has of the encode side; that one takes as long as a short clip."""
        for side in self.encode_side:
            part = getattr(self, side, None)
            if isinstance(part, nn.Module):
                for path, module in part.named_modules(prefix=side, remove_duplicate=False):
                    for name, tensor in _state_of(module):
                        if not f"{path}.{name}".startswith(self.decode_side):
                            yield f"{path}.{name}", tensor
            elif isinstance(part, Tensor) and not side.startswith(self.decode_side):
                yield side, part

    def _encoding_config(self) -> dict[str, Any]:
        return {
            key: value
            for key, value in config_to_json(self.config).items()
            if not key.startswith("decoder_") and key not in self.decode_only
        }


def _state_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters and stored buffers of a module itself."""
    for name, tensor in itertools.chain(module._parameters.items(), module._buffers.items()):
        if tensor is not None and name not in module._non_persistent_buffers_set:
            yield name, tensor
