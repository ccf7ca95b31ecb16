"""The verbs that every generator answers: forward (its losses), sample, nll, save.

A generator makes what a tokenizer stores: a grid of ids, or of latent vectors; or features and
pixels themselves. Which, is its `Space`. What it can be asked for is its tuple of `Condition`s: a
class, a text, a vector, a track with a value for each position in time. A family subclasses
`Generator` and writes `losses` and `draw`; the base class owns the checks, the seeds, dropping of
conditions in training, guidance's unconditional half, and the bond to the tokenizer whose tokens it
learned: it refuses those of another.

    model = zoo.create("motion/autoregressive.tiny")
    model.losses(Batch(ids, conditions=model.given(text=["a person walks"])))
    model.sample(4, model.given(text=["a person jumps"] * 4), Decoding(top_k=20), seed=1)

What is known already stays: `known` with a mask holds the first frames, a region, both ends. So
prediction, continuation, in-betweening and infilling are one argument, not four methods.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from zoo.config import config_to_json
from zoo.errors import InputError, SpecMismatchError, UsageError, nearest
from zoo.layers.text import text_bytes, word_ids
from zoo.spec import TokenizerSpec

if TYPE_CHECKING:
    from zoo.tokenizer import Tokenizer
    from zoo.tokens import Tokens

__all__ = [
    "Batch",
    "Condition",
    "Conditions",
    "Decoding",
    "Generator",
    "Known",
    "Samples",
    "Source",
    "Space",
]

Kind = Literal["class", "words", "text", "embeddings", "vector", "track"]


@dataclass(frozen=True, slots=True)
class Space:
    """What is generated: at each position of a grid, an id of every level, or a vector.

    `grid` is the largest size, time first; anything shorter in time is made as well. Without a
    tokenizer the values are features or pixels.
    """

    modality: str
    grid: tuple[int, ...]
    levels: tuple[int, ...] = ()
    channels: int = 0

    def __post_init__(self) -> None:
        if bool(self.levels) == bool(self.channels):
            raise UsageError(
                "a space needs either code levels or channels",
                allowed="levels=(codes, ...) for ids, channels=width for values",
            )

    @property
    def discrete(self) -> bool:
        return bool(self.levels)

    @property
    def positions(self) -> int:
        return math.prod(self.grid)

    def shape(self, batch: int, frames: int = 0) -> tuple[int, ...]:
        """Of a batch: (B, *grid), and levels or channels where there are several."""
        grid = (frames or self.grid[0], *self.grid[1:])
        trailing = self.channels or (len(self.levels) if len(self.levels) > 1 else 0)
        return (batch, *grid, *((trailing,) if trailing else ()))

    @classmethod
    def of(
        cls, spec: TokenizerSpec, size: tuple[int, ...], stream: str = "", levels: int = 0
    ) -> Self:
        """The space of a tokenizer's stream for media of `size`.

        `levels` takes only the first so many where these decode alone.
        """
        chosen = spec.stream(stream) if stream else spec.streams[0]
        if levels and (chosen.ordered != "level" or levels > len(chosen.levels)):
            raise UsageError(
                f"{levels} levels of {spec.name} do not decode alone",
                allowed=f"1 to {len(chosen.levels)}"
                if chosen.ordered == "level"
                else "all of them",
            )
        grid = spec.grid(size)[chosen.name]
        return cls(spec.modality, grid, chosen.levels[: levels or None], chosen.channels)


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing a generator can be asked for.

    `size` is the number of classes, or the width of embeddings, a vector or a track. `words` are
    texts as hashed words, read by the generator's own encoder; `text` is letter by letter, for an
    encoder that came with the weights; `embeddings` come from an encoder outside, (B, length,
    size), rows of zeros being padding. Classes may have `names`.
    """

    name: str
    kind: Kind
    size: int = 0
    names: tuple[str, ...] = ()

    def number(self, value: Any) -> int:
        """The number of a class, given as one or by its name."""
        if isinstance(value, str) and value in self.names:
            return self.names.index(value)
        if isinstance(value, str) and not value.isdecimal():
            raise InputError(
                f"no class of {self.name} is called {value!r}",
                allowed=", ".join(self.names) or f"0 to {self.size - 1}",
                hint=nearest(value, self.names),
            )
        return int(value)


@dataclass(frozen=True)
class Conditions:
    """What a batch is asked for, by the condition's name.

    `hidden` marks the examples (B,) that must not see it; a condition that is missing is hidden
    from all.
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    hidden: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Conditions:
        return self._each(lambda value: value.to(device))

    def select(self, index: Any) -> Conditions:
        """Those of some examples: an index, a slice or a mask along the batch."""
        return self._each(lambda value: value[index])

    def none(self) -> Conditions:
        """The same batch, asked for nothing."""
        return replace(self, hidden={n: self._all(v) for n, v in self.values.items()})

    def without(self, *names: str) -> Conditions:
        """The same batch, not asked for these."""
        hidden = {n: self._all(self.values[n]) for n in names if n in self.values}
        return replace(self, hidden={**self.hidden, **hidden})

    def dropped(self, share: float) -> Conditions:
        """For training: each condition hidden from a share of the examples, each on its own."""
        if not share:
            return self
        hidden = dict(self.hidden)
        for name, value in self.values.items():
            lost = torch.rand(len(value), device=value.device) < share
            hidden[name] = lost | hidden[name] if name in hidden else lost
        return replace(self, hidden=hidden)

    def joined(self, other: Conditions) -> Conditions:
        """Two batches one after the other, as guidance asks for both halves at once."""
        hidden = {}
        for name, value in self.values.items():
            halves = [
                part.hidden.get(name, torch.zeros(len(value), dtype=torch.bool).to(value.device))
                for part in (self, other)
            ]
            hidden[name] = torch.cat(halves)
        values = {n: torch.cat([v, other.values[n]]) for n, v in self.values.items()}
        return Conditions(values, hidden)

    def seen(self, name: str) -> Tensor | None:
        """(B,) True where the condition is given; None where it is missing for all."""
        if name not in self.values:
            return None
        hidden = self.hidden.get(name)
        return self._all(self.values[name]) if hidden is None else ~hidden

    @staticmethod
    def _all(value: Tensor) -> Tensor:
        return torch.ones(len(value), dtype=torch.bool, device=value.device)

    def _each(self, change: Any) -> Conditions:
        return Conditions(
            {name: change(value) for name, value in self.values.items()},
            {name: change(value) for name, value in self.hidden.items()},
        )


@dataclass(frozen=True)
class Batch:
    """Examples to learn from: `x` in the generator's space, `lengths` (B,) where some are shorter
    in time than the rest."""

    x: Tensor
    conditions: Conditions = field(default_factory=Conditions)
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> Batch:
        lengths = None if self.lengths is None else self.lengths.to(device)
        return Batch(self.x.to(device), self.conditions.to(device), lengths)

    def select(self, index: Any) -> Batch:
        lengths = None if self.lengths is None else self.lengths[index]
        return Batch(self.x[index], self.conditions.select(index), lengths)

    def split(self, parts: int) -> list[Batch]:
        """Equal parts, in order."""
        share = len(self) // parts
        return [self.select(slice(i * share, (i + 1) * share)) for i in range(parts)]

    def valid(self) -> Tensor:
        """(B, *grid) True at positions in time that count."""
        return valid_positions(self.lengths, self.x.shape[:2], self.x.device)


def valid_positions(
    lengths: Tensor | None, size: Sequence[int], device: torch.device | str
) -> Tensor:
    """(B, T) True up to each example's length."""
    batch, frames = size
    if lengths is None:
        return torch.ones(batch, frames, dtype=torch.bool, device=device)
    return torch.arange(frames, device=device) < lengths.to(device)[:, None]


@dataclass(frozen=True)
class Samples:
    """What was drawn; `lengths` (B,) where the generator itself decides how long each one is."""

    x: Tensor
    lengths: Tensor | None = None


@dataclass(frozen=True)
class Known:
    """Part of what is to be made: `x` holds there, where `mask` (B, *grid) is True."""

    x: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to draw. `steps` 0 is the family's own number; `guidance` 1 asks with the conditions
    alone, more pushes away from what would come without them."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0
    steps: int = 0

    def __post_init__(self) -> None:
        limits = {
            "temperature": (self.temperature >= 0, "0 (the likeliest) or more"),
            "top_k": (self.top_k >= 0, "0 (all codes) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "guidance": (math.isfinite(self.guidance), "a number; 1 for none"),
            "steps": (self.steps >= 0, "0 (the model's own) or more"),
        }
        for name, (fits, allowed) in limits.items():
            if not fits:
                raise UsageError(f"{name} is {getattr(self, name)}", allowed=allowed)


@dataclass(frozen=True)
class Source:
    """The tokenizer whose tokens a generator learned: where it is, and what its tokens must be."""

    name: str
    spec_hash: str
    weights_sha256: str
    size: tuple[int, ...]
    address: str = ""
    stream: str = ""

    @classmethod
    def of(cls, spec: TokenizerSpec, size: tuple[int, ...], **options: str) -> Self:
        return cls(spec.name, spec.hash, spec.weights_sha256, tuple(size), **options)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Self:
        return cls(**{**known, "size": tuple(known["size"])})

    def check(self, spec_hash: str, name: str = "") -> None:
        """Raise SpecMismatchError for tokens of another tokenizer."""
        if spec_hash != self.spec_hash:
            raise SpecMismatchError(
                f"these tokens have spec {spec_hash[:12]}{name and f' ({name})'}, the generator "
                f"learned those of {self.name} with spec {self.spec_hash[:12]}",
                hint="tokenize with that tokenizer, or train a generator on these tokens",
            )


class Generator(nn.Module, ABC):
    """A model that makes ids, latents, features or pixels, asked or unasked.

    `config` has at least the fields `space`, `conditions` and `drop` (the share of examples that
    lose a condition in training, for guidance).
    """

    config_class: ClassVar[type]
    version: ClassVar[int] = 1
    """Raised when a change of the code changes what trained weights give."""
    loss_weights: ClassVar[dict[str, float]] = {}
    """Weights of the family's losses; 1 where a name is missing."""
    default_steps: ClassVar[int] = 0
    """Steps of the sampler when none are asked for; 0 where the family has no such number."""
    default_guidance: float = 1.0
    """Guidance with which samples should be drawn when none is asked for."""
    fps: float | None = None
    """Frames a second of pixels that it makes itself."""
    header: Mapping[str, str] = {}
    """What the weights file tells programs that know nothing of clipmill."""
    exact_nll: ClassVar[bool] = False
    """Whether `nll` is the likelihood itself, not a bound from above."""
    lesson_steps: ClassVar[int] = 150
    """Steps of training in which a tiny preset learns the test grammar."""

    name: str = ""
    source: Source | None = None

    def __init__(self, config: Any):
        super().__init__()
        self.config = config

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Unweighted scalars by name; conditions were dropped already."""

    @abstractmethod
    def draw(
        self,
        x: Tensor,
        conditions: Conditions,
        decoding: Decoding,
        dice: torch.Generator,
        known: Known | None,
        lengths: Tensor | None,
    ) -> Samples:
        """Samples of the shape of `x`, which is empty; `known` positions hold."""

    def nll(self, batch: Batch, seed: int = 0) -> Tensor:
        """(B,) nats for each valid position and level: exact, or a bound from above."""
        raise UsageError(f"{self.name or self.family()} gives no likelihood of tokens")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses, with conditions dropped as the configuration says."""
        self.check(batch)
        return self.losses(replace(batch, conditions=batch.conditions.dropped(self.config.drop)))

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum of the losses."""
        return self.total(self(batch))

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Losses added up with the family's weights."""
        weighted = [self.loss_weights.get(name, 1.0) * value for name, value in losses.items()]
        return torch.stack(weighted).sum()

    @torch.no_grad()
    def sample(
        self,
        count: int,
        conditions: Conditions | None = None,
        decoding: Decoding | None = None,
        *,
        seed: int = 0,
        frames: int = 0,
        known: Known | None = None,
        lengths: Tensor | None = None,
    ) -> Samples:
        """`count` examples of `frames` positions in time; the same ones for the same seed."""
        self.eval()
        shape = self.space.shape(count, self._checked_frames(frames))
        kind = torch.long if self.space.discrete else torch.float32
        conditions = (conditions or Conditions()).to(self.device)
        self._check_conditions(conditions, count)
        if known is not None:
            known = self._checked_known(known, shape)
        dice = torch.Generator(self.device).manual_seed(seed)
        empty = torch.zeros(shape, dtype=kind, device=self.device)
        chosen = decoding or Decoding(guidance=self.default_guidance)
        made = self.draw(empty, conditions, chosen, dice, known, lengths)
        return made if known is None else replace(made, x=self.held(made.x, known))

    def held(self, x: Tensor, known: Known) -> Tensor:
        """`x` with what is known put where it belongs."""
        mask = known.mask if x.dim() == known.mask.dim() else known.mask.unsqueeze(-1)
        return torch.where(mask, known.x, x)

    def given(self, **asked: Any) -> Conditions:
        """Conditions from plain values: `given(text=["a person walks"], label=[3])`.

        None in a list hides the condition from that example.
        """
        known = {condition.name: condition for condition in self.config.conditions}
        values, hidden = {}, {}
        for name, value in asked.items():
            if name not in known:
                raise UsageError(
                    f"{self.name or self.family()} cannot be asked for {name!r}",
                    allowed=", ".join(known) or "nothing: it makes what it likes",
                    hint=nearest(name, known),
                )
            values[name], hidden[name] = _as_tensor(known[name], value)
        return Conditions(values, hidden)

    def check(self, batch: Batch) -> None:
        """Refuse examples that do not fit the space or the conditions."""
        wanted, given = self.space.shape(len(batch), batch.x.shape[1]), tuple(batch.x.shape)
        if given != wanted or given[1] > self.space.grid[0]:
            raise InputError(
                f"examples are {given[1:]}",
                allowed=f"{self.space.shape(1)[1:]}, or shorter in time",
            )
        if batch.x.is_floating_point() == self.space.discrete:
            kind = "whole numbers" if self.space.discrete else "floats"
            raise InputError(f"examples are {batch.x.dtype}", allowed=kind)
        self._check_conditions(batch.conditions, len(batch))

    def bind(self, spec: TokenizerSpec, size: tuple[int, ...], address: str = "") -> Self:
        """Remember the tokenizer whose tokens are learned; refuse one that does not fit."""
        first = len(self.space.levels)
        alone = spec.streams[0].ordered == "level" and first <= len(spec.streams[0].levels)
        space = Space.of(spec, size, levels=first if alone else 0)
        fits = (space.modality, space.grid[1:], space.levels, space.channels)
        mine = self.space
        if fits != (mine.modality, mine.grid[1:], mine.levels, mine.channels):
            raise SpecMismatchError(
                f"{spec.name} makes {space} of media of {size}",
                allowed=f"{self.space}",
                hint="choose another tokenizer or size, or a configuration with that space",
            )
        self.source = Source.of(spec, size, address=address)
        return self

    def check_tokens(self, tokens: Tokens) -> None:
        """Raise SpecMismatchError unless the tokenizer of this generator made `tokens`."""
        if self.source is None:
            raise SpecMismatchError(
                f"{self.name or self.family()} was trained on no tokenizer's tokens"
            )
        self.source.check(tokens.spec_hash, tokens.spec.name)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that turns samples into media, as it was when this was trained."""
        from zoo.hub import load_tokenizer

        if self.source is None:
            raise UsageError(f"{self.name or self.family()} makes no tokens")
        found = load_tokenizer(self.source.address or self.source.name)
        self.source.check(found.spec.hash, found.spec.name)
        return found

    @classmethod
    def family(cls) -> str:
        """The module that holds the family."""
        return cls.__module__.rsplit(".", 1)[-1]

    @property
    def trunk(self) -> nn.Module:
        """The network whose blocks may be computed again instead of kept."""
        return self

    @property
    def space(self) -> Space:
        space: Space = self.config.space
        return space

    @property
    def device(self) -> torch.device:
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def config_json(self) -> dict[str, Any]:
        return config_to_json(self.config)

    def save(self, folder: str | Path) -> Path:
        """Write `model.safetensors`, `config.json` and a card to `folder`."""
        from zoo.artefact import save

        return save(self, Path(folder))

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Save and upload as one commit; returns the address of the repository."""
        from zoo.hub import push

        return push(self, repo, **options)

    def _checked_frames(self, frames: int) -> int:
        most = self.space.grid[0]
        if not 0 <= frames <= most:
            raise UsageError(
                f"{frames} positions in time were asked for",
                allowed=f"1 to {most}",
                hint="longer media are made window by window: zoo.samplers.extend",
            )
        return frames or most

    def _checked_known(self, known: Known, shape: tuple[int, ...]) -> Known:
        grid = shape[: 1 + len(self.space.grid)]
        if tuple(known.x.shape) != shape or tuple(known.mask.shape) != grid:
            raise InputError(
                f"what is known is {tuple(known.x.shape)}, its mask {tuple(known.mask.shape)}",
                allowed=f"{shape} and {grid}",
            )
        return Known(known.x.to(self.device), known.mask.to(self.device))

    def _check_conditions(self, conditions: Conditions, count: int) -> None:
        names = [condition.name for condition in self.config.conditions]
        for name, value in conditions.values.items():
            if name not in names:
                raise UsageError(
                    f"{self.name or self.family()} cannot be asked for {name!r}",
                    allowed=", ".join(names) or "nothing: it makes what it likes",
                )
            if len(value) != count:
                raise InputError(f"{name} is given for {len(value)} of {count} examples")


def _as_tensor(condition: Condition, value: Any) -> tuple[Tensor, Tensor]:
    """A condition's tensor, and where it is hidden."""
    if isinstance(value, Tensor):
        _check_size(condition, value)
        return value, torch.zeros(len(value), dtype=torch.bool)
    items = list(value) if isinstance(value, list | tuple) else [value]
    hidden = torch.tensor([item is None for item in items])
    if condition.kind == "words":
        return word_ids(["" if item is None else str(item) for item in items]), hidden
    if condition.kind == "text":
        return text_bytes(["" if item is None else str(item) for item in items]), hidden
    if condition.kind == "class":
        made = torch.tensor([0 if item is None else condition.number(item) for item in items])
    else:
        shape = next((torch.as_tensor(item).shape for item in items if item is not None), ())
        made = torch.stack(
            [torch.zeros(shape) if i is None else torch.as_tensor(i).float() for i in items]
        )
    _check_size(condition, made)
    return made, hidden


def _check_size(condition: Condition, value: Tensor) -> None:
    if condition.kind == "class":
        if value.numel() and not 0 <= int(value.min()) <= int(value.max()) < condition.size:
            raise InputError(
                f"{condition.name} is {int(value.min())} to {int(value.max())}",
                allowed=f"0 to {condition.size - 1}",
            )
        return
    axes = {"words": 2, "text": 2, "embeddings": 3, "vector": 2, "track": 3}[condition.kind]
    width = condition.size if condition.kind in ("words", "text") else value.shape[-1]
    if value.dim() != axes or width != condition.size:
        raise InputError(
            f"{condition.name} has shape {tuple(value.shape)}",
            allowed={
                "words": "(B, words) ids of zoo.layers.text.word_ids",
                "text": "(B, bytes) of zoo.layers.text.text_bytes",
                "embeddings": f"(B, length, {condition.size})",
                "vector": f"(B, {condition.size})",
                "track": f"(B, T, {condition.size})",
            }[condition.kind],
        )
