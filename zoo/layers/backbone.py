"""The transformer of all generators: blocks with exchangeable mixers, conditions in three places.

A block mixes positions, reads the context, and ends with a gated MLP. How positions are mixed is
named by the layer (`zoo/layers/mixers.py`): all with all, along one axis, in windows, in a state
that is carried along. A vector of the conditions scales, shifts and gates; a context (words, other
embeddings) is attended to, or stands before the sequence as a prefix; a track is added to the
positions of its time.

    backbone = Backbone(BackboneConfig(256, depth=8, heads=4), context=True)
    backbone(x, View(positions, causal=True), given)            # (B, N, dim)
    backbone(next_x, View(next_positions, causal=True), given, state)   # goes on where it was
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.generator import Condition, Conditions
from zoo.layers.attention import Attention, SwiGLU
from zoo.layers.mixers import MIXERS, View
from zoo.layers.text import WordReader
from zoo.tokenizer import State

__all__ = ["Backbone", "BackboneConfig", "Conditioner", "Given", "View"]


@dataclass(frozen=True)
class BackboneConfig:
    """Size and kind of a backbone.

    `mixers` are repeated over the depth. `shared_heads` is the number of heads of keys and values
    where queries share them; `reads` says whether a context is attended to or stands in front.
    """

    dim: int = 256
    depth: int = 6
    heads: int = 4
    shared_heads: int = 0
    mixers: tuple[str, ...] = ("full",)
    reads: Literal["cross", "prefix"] = "cross"
    window: int = 0
    reader_depth: int = 1

    def layers(self) -> Iterable[str]:
        """The mixer of each layer."""
        return [self.mixers[i % len(self.mixers)] for i in range(self.depth)]


@dataclass(frozen=True)
class Given:
    """Conditions as the backbone uses them.

    `vector` is (B, dim) or, where positions differ, (B, N, dim); `context` (B, M, dim) with its
    mask of what is no padding; `track` (B, T, dim).
    """

    vector: Tensor | None = None
    context: Tensor | None = None
    context_mask: Tensor | None = None
    track: Tensor | None = None

    def plus(self, vector: Tensor) -> Given:
        """The same with something added to the vector: (B, dim), or (B, N, dim)."""
        if self.vector is None:
            return replace(self, vector=vector)
        own = self.vector.unsqueeze(1) if vector.dim() == 3 > self.vector.dim() else self.vector
        return replace(self, vector=own + vector)


class Conditioner(nn.Module):
    """Conditions of a batch to a vector, a context and a track.

    What is hidden or missing becomes something learned, so that a model can be asked with any part
    of its conditions.
    """

    def __init__(self, conditions: tuple[Condition, ...], config: BackboneConfig):
        super().__init__()
        self.conditions = conditions
        dim = config.dim
        self.inputs, self.missing = nn.ModuleDict(), nn.ParameterDict()
        for condition in conditions:
            self.inputs[condition.name] = _input(condition, config)
            self.missing[condition.name] = nn.Parameter(torch.randn(dim) * 0.02)
        self.has_vector = any(c.kind in ("class", "vector", "words") for c in conditions)
        self.has_context = any(c.kind in ("words", "embeddings") for c in conditions)

    def forward(self, conditions: Conditions, batch: int) -> Given:
        given = Given()
        contexts: list[tuple[Tensor, Tensor]] = []
        for condition in self.conditions:
            name = condition.name
            nothing = self.missing[name].expand(batch, -1)
            seen = conditions.seen(name)
            if seen is None:
                seen, made = torch.zeros(batch, dtype=torch.bool, device=nothing.device), None
            else:
                made = self.inputs[name](self._value(condition, conditions))
            if condition.kind in ("class", "vector"):
                given = given.plus(_either(seen, made, nothing))
            elif condition.kind == "track":
                track = _either(seen, made, nothing.unsqueeze(1))
                given = replace(given, track=track if given.track is None else given.track + track)
            else:
                words = self._words(seen, made, nothing, conditions.values.get(name))
                contexts.append(words)
                if condition.kind == "words":
                    mask = words[1].unsqueeze(-1)
                    given = given.plus((words[0] * mask).sum(1) / mask.sum(1))
        if contexts:
            given = replace(
                given,
                context=torch.cat([values for values, _ in contexts], dim=1),
                context_mask=torch.cat([mask for _, mask in contexts], dim=1),
            )
        return given

    def _value(self, condition: Condition, conditions: Conditions) -> Tensor:
        value = conditions.values[condition.name]
        return value if condition.kind in ("class", "words") else value.to(self._precision)

    @property
    def _precision(self) -> torch.dtype:
        return next(iter(self.missing.values())).dtype

    @staticmethod
    def _words(
        seen: Tensor, made: Tensor | None, nothing: Tensor, value: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """A context that begins with a learned position: all that is left of a hidden text."""
        first, true = nothing.unsqueeze(1), torch.ones_like(seen).unsqueeze(1)
        if made is None or value is None:
            return first, true
        there = value.ne(0) if value.dim() == 2 else value.ne(0).any(-1)
        mask = there & seen.unsqueeze(1)
        return torch.cat([first, made], dim=1), torch.cat([true, mask], dim=1)


def _input(condition: Condition, config: BackboneConfig) -> nn.Module:
    if condition.kind == "class":
        return nn.Embedding(condition.size, config.dim)
    if condition.kind == "words":
        return WordReader(config.dim, config.reader_depth, config.heads)
    return nn.Linear(condition.size, config.dim)


def _either(seen: Tensor, made: Tensor | None, nothing: Tensor) -> Tensor:
    if made is None:
        return nothing
    return torch.where(seen.view(-1, *[1] * (made.dim() - 1)), made, nothing)


class Block(nn.Module):
    """One layer: mix, read, think."""

    def __init__(self, config: BackboneConfig, mixer: str, *, context: bool, modulated: bool):
        super().__init__()
        dim = config.dim
        self.norm1, self.mixer = nn.RMSNorm(dim), MIXERS[mixer](config)
        self.norm2, self.mlp = nn.RMSNorm(dim), SwiGLU(dim)
        reads = context and config.reads == "cross"
        self.norm3 = nn.RMSNorm(dim) if reads else None
        self.cross = Attention(dim, config.heads, dim) if reads else None
        self.modulation = nn.Linear(dim, 6 * dim) if modulated else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, view: View, given: Given, state: State | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self._modulated(given.vector)
        x = x + (1 + gate1) * self.mixer(self.norm1(x) * (1 + scale1) + shift1, view, state)
        if self.cross is not None and self.norm3 is not None:
            mask = given.context_mask
            mask = None if mask is None else mask[:, None, None, :]
            x = x + self.cross(self.norm3(x), given.context, mask=mask)
        return x + (1 + gate2) * self.mlp(self.norm2(x) * (1 + scale2) + shift2)

    def _modulated(self, vector: Tensor | None) -> tuple[Tensor | float, ...]:
        if self.modulation is None or vector is None:
            return (0.0,) * 6
        made = self.modulation(functional.silu(vector))
        return (made if made.dim() == 3 else made.unsqueeze(1)).chunk(6, dim=-1)


class Backbone(nn.Module):
    """Blocks over `x (B, N, dim)`, which keep their place in a `state` if there is one."""

    def __init__(self, config: BackboneConfig, *, context: bool = False, modulated: bool = False):
        super().__init__()
        unknown = [name for name in config.mixers if name not in MIXERS]
        if unknown:
            raise UsageError(f"no mixer is called {unknown[0]!r}", allowed=", ".join(MIXERS))
        self.config = config
        self.prefixed = context and config.reads == "prefix"
        if self.prefixed and set(config.mixers) != {"full"}:
            raise UsageError(
                f"{', '.join(config.mixers)} cannot have a prefix before the grid",
                allowed='mixers ("full",), or reads="cross"',
            )
        self.blocks = nn.ModuleList(
            Block(config, name, context=context, modulated=modulated) for name in config.layers()
        )
        self.norm = nn.RMSNorm(config.dim)

    def forward(
        self, x: Tensor, view: View, given: Given | None = None, state: State | None = None
    ) -> Tensor:
        given = given or Given()
        if given.track is not None:
            x = x + given.track[:, view.positions[:, 0].clamp(0, given.track.shape[1] - 1)]
        count = x.shape[1]
        if self.prefixed and given.context is not None and given.context_mask is not None:
            x, view = self._with_prefix(x, view, given.context, given.context_mask, state)
        for block in self.blocks:
            x = block(x, view, given, state)
        return self.norm(x[:, -count:])

    def _with_prefix(
        self, x: Tensor, view: View, context: Tensor, seen: Tensor, state: State | None
    ) -> tuple[Tensor, View]:
        """The context in front of the first piece, and masks that hide its padding from all."""
        done = 0 if state is None else state.get(self, 0)
        count, before = x.shape[1], context.shape[1]
        if state is not None:
            state[self] = done + count
        own = view.seen(count, done)
        mask = torch.cat(
            [seen.unsqueeze(1).expand(-1, count, -1), own.expand(len(x), -1, -1)], dim=2
        )
        if done:
            return x, replace(view, mask=mask, causal=False, valid=None)
        blind = torch.zeros(len(x), before, count, dtype=torch.bool, device=x.device)
        top = torch.cat([seen.unsqueeze(1).expand(-1, before, -1), blind], dim=2)
        front = view.positions.new_zeros(before, view.positions.shape[1])
        front[:, 0] = torch.arange(-before, 0, device=x.device)
        positions = torch.cat([front, view.positions])
        x = torch.cat([context, x], dim=1)
        mask = torch.cat([top, mask], dim=1)
        return x, replace(view, positions=positions, mask=mask, causal=False, valid=None)
