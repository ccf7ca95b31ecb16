"""What every quantizer is: one config, one result, three verbs.

A quantizer stands between an encoder and a decoder. It reads channels-last latents
`(B, *grid, dim)` and gives the decoder values of the same shape, made of few ids (or few
numbers). `forward` is for training, `encode` and `decode` for stored tokens, and
`decode(encode(z))` is exactly what `forward(z)` gives the decoder in eval mode.

`Quantizer` owns what must be the same everywhere: shapes and ranges are checked, decisions
are made in float32 whatever the autocast or the dtype of the latents, `encode` changes no
state. A kind implements `_quantize`, `_encode` and `_decode` on float32 latents with one
column of ids per level. Keep the parameters in float32 and use autocast for the rest of the
model: a codebook cast to bfloat16 has lost its digits before it is asked.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Union

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError, nearest

__all__ = [
    "Projection",
    "Quantized",
    "Quantizer",
    "QuantizerConfig",
    "RawQuantized",
    "full_precision",
    "projection",
    "setting",
    "straight_through",
]

_KINDS: dict[str, type[QuantizerConfig]] = {}


def setting(default: Any, *, least: float, most: float | None = None) -> Any:
    """A numeric config field that is refused outside `least` to `most`."""
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Everything that decides which ids a quantizer gives, apart from its weights.

    Goes through JSON unchanged (`to_json`, `from_json`), because the spec hash covers it.
    """

    kind: str = field(init=False, default="")
    dim: int = field(metadata={"least": 1, "most": None})
    """Width of the latents that come in and of the values that go out."""

    def __init_subclass__(cls, kind: str = "") -> None:
        super().__init_subclass__()
        if kind:
            cls.kind = kind
            _KINDS[kind] = cls

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in (item for item in fields(self) if item.init):
            value = _coerced(f"{self.kind}.{item.name}", getattr(self, item.name), hints[item.name])
            object.__setattr__(self, item.name, value)
            if "least" in item.metadata and value is not None:
                self._check_range(item.name, value, item.metadata["least"], item.metadata["most"])

    def _check_range(self, name: str, value: Any, least: float, most: float | None) -> None:
        numbers = value if isinstance(value, tuple) else (value,)
        if any(number < least or (most is not None and number > most) for number in numbers):
            allowed = f"{least} to {most}" if most is not None else f"at least {least}"
            raise UsageError(f"{self.kind}.{name} is {value}", allowed=allowed)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": self.kind}
        for item in fields(self):
            value = getattr(self, item.name)
            data[item.name] = (
                value.to_json() if isinstance(value, QuantizerConfig) else _plain(value)
            )
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> QuantizerConfig:
        """The config that `to_json` wrote; a key or kind that nobody knows is refused."""
        kind = data.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise _unknown("quantizer kind", str(kind), list(_KINDS))
        cls = _KINDS[kind]
        known = [item.name for item in fields(cls) if item.init]
        given = {name: value for name, value in data.items() if name != "kind"}
        for name in given:
            if name not in known:
                raise _unknown(f"setting of quantizer {kind}", name, known)
        if "dim" not in given:
            raise UsageError(f"quantizer {kind} has no dim", hint="give the width of the latents")
        return cls(**given)


def _unknown(what: str, name: str, known: list[str]) -> UsageError:
    return UsageError(
        f"unknown {what}: {name}", allowed=", ".join(sorted(known)), hint=nearest(name, known)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, QuantizerConfig):
        return value.to_json()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _coerced(name: str, value: Any, hint: Any) -> Any:
    """`value` as the type that the field declares, or a refusal.

    Lists become tuples and whole numbers become floats where the field is one, so that equal
    configs have equal JSON.
    """
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        return _coerced(name, value, next(item for item in arguments if item is not type(None)))
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_coerced(name, item, arguments[0]) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is QuantizerConfig and isinstance(value, Mapping):
        return QuantizerConfig.from_json(value)
    plain = hint if isinstance(hint, type) else tuple
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise UsageError(
            f"{name} is {value!r}", allowed=f"a value of type {getattr(hint, '__name__', hint)}"
        )
    return value


@dataclass(frozen=True)
class Quantized:
    """What `forward` gives."""

    values: Tensor
    """`(B, *grid, dim)` in the dtype of the latents: what the decoder reads. Gradients reach
    the latents straight through."""
    ids: Tensor | None
    """int64, `(B, *grid)` for one level and `(B, *grid, L)` for several; None for latents."""
    losses: dict[str, Tensor]
    """Scalars by name (commitment, codebook, entropy, disentangle, kl), unweighted."""


RawQuantized = tuple[Tensor, Tensor | None, dict[str, Tensor]]
"""What a kind's `_quantize` gives: values, ids with one column per level, losses."""


class Quantizer(nn.Module):
    """Latents to values through ids or few numbers. See the module for the contract."""

    levels: tuple[int, ...] = ()
    """Codebook size of every level; empty for continuous latents."""
    channels: int = 0
    """Numbers kept a position by continuous kinds; 0 for discrete ones."""
    nested: bool = False
    """Whether decoding with only the first levels is meaningful."""
    scales: tuple[tuple[int, ...], ...] = ()
    """Grid of every level where they differ (coarse to fine): ids are then one flat sequence
    `(B, *lead, positions of all scales)`. Empty where every level has the grid of the latents."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim

    def forward(self, z: Tensor) -> Quantized:
        self._check_latents(z)
        with full_precision(z):
            values, ids, losses = self._quantize(z.float())
        return Quantized(values.to(z.dtype), None if ids is None else self._public(ids), losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Ids (or float32 latents) of `z`, as in eval mode; changes no state."""
        self._check_latents(z)
        with full_precision(z):
            return self._public(self._encode(z.float()))

    def decode(self, ids: Tensor, levels: int | None = None) -> Tensor:
        """Float32 values of ids or latents; `levels` keeps only the first of a nested kind."""
        columns = self._columns(ids, levels)
        with full_precision(ids):
            return self._decode(columns)

    def _quantize(self, z: Tensor) -> RawQuantized:
        raise NotImplementedError

    def _encode(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def _decode(self, columns: Tensor) -> Tensor:
        raise NotImplementedError

    def _check_latents(self, z: Tensor) -> None:
        if z.ndim < 2 or z.shape[-1] != self.dim or not z.is_floating_point():
            raise UsageError(
                f"latents of shape {tuple(z.shape)} and type {z.dtype}",
                allowed=f"floating point (B, *grid, {self.dim}), channels last",
                hint="move the channels to the end: z.movedim(1, -1)",
            )

    def _public(self, columns: Tensor) -> Tensor:
        return columns.squeeze(-1) if len(self.levels) == 1 else columns

    def _columns(self, ids: Tensor, levels: int | None) -> Tensor:
        """Ids with one checked column per level that is to be decoded."""
        self._check_integer(ids)
        columns = ids.unsqueeze(-1) if len(self.levels) == 1 else ids
        given = columns.shape[-1]
        kept = self._kept_levels(given if levels is None else levels)
        if kept > given:
            raise UsageError(f"{kept} levels of ids that hold {given}", allowed=f"1 to {given}")
        columns = columns[..., :kept]
        self._check_range([columns[..., level] for level in range(kept)])
        return columns.long()

    def _kept_levels(self, wanted: int) -> int:
        count = len(self.levels)
        least = 1 if self.nested else count
        if not least <= wanted <= count:
            raise UsageError(
                f"{wanted} levels for {self.config.kind}, which has {count}",
                allowed=f"{least} to {count}" if self.nested else f"{count}: it is not nested",
                hint="ids of several levels end in the level axis: (B, *grid, levels)",
            )
        return wanted

    def _check_integer(self, ids: Tensor) -> None:
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool or ids.ndim < 2:
            raise UsageError(
                f"ids of shape {tuple(ids.shape)} and type {ids.dtype}",
                allowed="integers, (B, *grid) or (B, *grid, levels)",
            )

    def _check_range(self, ids_by_level: list[Tensor]) -> None:
        for level, (ids, size) in enumerate(zip(ids_by_level, self.levels, strict=False)):
            if not ids.numel():
                continue
            low, high = (int(bound) for bound in ids.aminmax())
            if low < 0 or high >= size:
                raise UsageError(
                    f"id {low if low < 0 else high} at level {level} has no code",
                    allowed=f"0 to {size - 1}",
                    hint="these ids come from another tokenizer: compare their spec hash",
                )


def full_precision(like: Tensor) -> torch.autocast:
    """Autocast switched off on the device of `like`."""
    return torch.autocast(like.device.type, enabled=False)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor) -> Tensor:
        return target.view_as(target)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(source: Tensor, target: Tensor) -> Tensor:
    """Exactly `target`, with the gradient handed to `source`.

    `source + (target - source).detach()` is off by a rounding; here forward and decode agree
    to the last bit.
    """
    return _StraightThrough.apply(source, target.detach())


class Projection(nn.Linear):
    """A linear layer that works in float32 whatever its own dtype."""

    def forward(self, z: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.float()
        return functional.linear(z, self.weight.float(), bias)


def projection(width_in: int, width_out: int) -> nn.Module:
    """A `Projection`, or nothing where the widths agree."""
    return nn.Identity() if width_in == width_out else Projection(width_in, width_out)
