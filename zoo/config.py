"""Configurations as JSON and back: frozen dataclasses of numbers, names, tuples and each other.

A configuration decides the architecture, so it is part of an artefact and of the spec hash. Unknown
keys are refused with the nearest name: a misspelt option must not silently train another model.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from zoo.errors import UsageError, nearest
from zoo.layers.quantizers import QuantizerConfig

__all__ = ["config_from_json", "config_to_json"]

T = TypeVar("T")


def config_to_json(config: Any) -> dict[str, Any]:
    """Plain values by field name."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def config_from_json(cls: type[T], known: Mapping[str, Any]) -> T:
    """The configuration of class `cls` that `config_to_json` wrote."""
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in known:
        if key not in fields:
            raise UsageError(
                f"{cls.__qualname__} has no option {key!r}",
                allowed=", ".join(fields),
                hint=nearest(key, fields),
            )
    hints = typing.get_type_hints(cls)
    return cls(**{key: _typed(value, hints[key]) for key, value in known.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, QuantizerConfig):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        return config_to_json(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _typed(value: Any, hint: Any) -> Any:
    """A plain value as the type that the field declares."""
    inner = typing.get_args(hint)
    if isinstance(value, list):
        hints = inner[:1] * len(value) if Ellipsis in inner else inner
        return tuple(
            _typed(item, hints[i] if i < len(hints) else None) for i, item in enumerate(value)
        )
    if isinstance(value, Mapping):
        for option in (hint, *inner):
            if dataclasses.is_dataclass(option) and not issubclass(option, QuantizerConfig):  # type: ignore[arg-type]
                return config_from_json(option, value)  # type: ignore[arg-type]
        return QuantizerConfig.from_json(value)
    return value
