"""Every model by name: `create` builds one, `list_models` finds them.

A family is a module of `zoo/tokenizers` (or `zoo/generators`) that ends with `PRESETS`; it is found
by being there. A preset is a name, a configuration, and where it comes from: the paper, its
published numbers, the systems that it makes work. Each family has `_tiny` presets, which the tests
train and run; a full-size preset names the tiny one that stands for it.

    list_models("video/*", discrete=True)
    create("video/causal_cnn_fsq_488.k32768")
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import torch

import zoo.tokenizers
from zoo.errors import NotFoundError, nearest
from zoo.spec import TokenizerSpec
from zoo.tokenizer import Tokenizer

__all__ = ["Preset", "create", "families", "list_models", "preset", "presets"]


@dataclass(frozen=True)
class Preset:
    """One named configuration of a family.

    `published` holds the paper's own numbers, keyed by what and how they were measured. `serves`
    are ids of published systems that this preset, or its `tiny` stand-in, makes work.
    """

    name: str
    family: type[Tokenizer]
    config: Any
    paper: str
    tiny: str = ""
    published: Mapping[str, float | str] = field(default_factory=dict)
    serves: tuple[str, ...] = ()

    @property
    def is_tiny(self) -> bool:
        return not self.tiny

    def build(self) -> Tokenizer:
        """The model with fresh weights, in eval mode."""
        model = self.family(self.config)
        model.name = self.name
        return model.eval()

    @cached_property
    def spec(self) -> TokenizerSpec:
        """What the model takes and gives, without allocating its weights."""
        with torch.device("meta"):
            return self.build().describe()


@cache
def families() -> Mapping[str, type[Tokenizer]]:
    """Every family by the name of its module."""
    found = {preset.family.family(): preset.family for preset in presets().values()}
    return dict(sorted(found.items()))


@cache
def presets() -> Mapping[str, Preset]:
    """Every preset by its name."""
    found: dict[str, Preset] = {}
    for module in _modules():
        for entry in module.PRESETS:
            if entry.name in found:
                raise ValueError(f"two presets are called {entry.name!r}")
            found[entry.name] = entry
    return dict(sorted(found.items()))


def preset(name: str) -> Preset:
    """The preset called `name`."""
    known = presets()
    if name not in known:
        raise NotFoundError(
            f"no model is called {name!r}",
            hint=nearest(name, known) or "zoo.list_models() names them all",
        )
    return known[name]


def create(name: str) -> Tokenizer:
    """A model with fresh weights; `load` gives trained ones."""
    return preset(name).build()


def list_models(
    pattern: str = "*",
    *,
    modality: str | None = None,
    discrete: bool | None = None,
    streaming: bool | None = None,
    ordered: bool | None = None,
    serves: str | None = None,
) -> list[str]:
    """Names of the presets that match a wildcard and every capability asked for."""
    return [
        name
        for name, entry in presets().items()
        if fnmatch.fnmatchcase(name, pattern)
        and (serves is None or serves in entry.serves)
        and _capable(entry, modality, discrete, streaming, ordered)
    ]


def _capable(
    entry: Preset,
    modality: str | None,
    discrete: bool | None,
    streaming: bool | None,
    ordered: bool | None,
) -> bool:
    if modality is discrete is streaming is ordered is None:
        return True
    spec = entry.spec
    return (
        modality in (None, spec.modality)
        and discrete in (None, spec.discrete)
        and streaming in (None, spec.streaming)
        and ordered in (None, any(stream.ordered for stream in spec.streams))
    )


def _modules() -> Iterator[Any]:
    for found in pkgutil.iter_modules(zoo.tokenizers.__path__):
        yield importlib.import_module(f"zoo.tokenizers.{found.name}")
