"""Every model by name: `create` builds one, `list_models` finds them.

A family is a module of `zoo/tokenizers` or `zoo/generators` that ends with `PRESETS`; it is found
by being there. A preset is a name, a configuration, and where it comes from: the paper, its
published numbers, the systems that it makes work. Each family has `_tiny` presets, which the tests
train and run; a full-size preset names the tiny one that stands for it.

    list_models("video/*", discrete=True)
    create("video/causal_cnn_fsq_488.k32768")
    list_models("motion/*", kind="generator")
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType
from typing import Any, Literal

import torch

import zoo.generators
import zoo.tokenizers
from zoo.config import config_to_json
from zoo.errors import NotFoundError, UsageError, nearest
from zoo.generator import Generator
from zoo.spec import TokenizerSpec
from zoo.tokenizer import Tokenizer

__all__ = ["Preset", "create", "families", "generators", "list_models", "preset", "presets"]

Kind = Literal["tokenizer", "generator"]


@dataclass(frozen=True)
class Preset:
    """One named configuration of a family.

    `published` holds the paper's own numbers, keyed by what and how they were measured. `serves`
    are ids of published systems that this preset, or its `tiny` stand-in, makes work.
    """

    name: str
    family: type[Tokenizer] | type[Generator]
    config: Any
    paper: str
    tiny: str = ""
    published: Mapping[str, float | str] = field(default_factory=dict)
    serves: tuple[str, ...] = ()

    @property
    def is_tiny(self) -> bool:
        return not self.tiny

    def build(self) -> Tokenizer | Generator:
        """The model with fresh weights, in eval mode."""
        model = self.family(self.config)
        model.name = self.name
        return model.eval()

    def build_json(self) -> dict[str, Any]:
        """The configuration as an artefact records it."""
        return config_to_json(self.config)

    @cached_property
    def spec(self) -> TokenizerSpec:
        """What a tokenizer takes and gives, without allocating its weights."""
        with torch.device("meta"):
            model = self.build()
        if isinstance(model, Generator):
            raise UsageError(f"{self.name} is a generator: it has a space, not a spec")
        return model.describe()


@cache
def families() -> Mapping[str, type[Tokenizer] | type[Generator]]:
    """Every family by the name of its module; one without presets adapts models made elsewhere."""
    from zoo.adapters.diffusers_lora import DiffusersLora

    every = [*presets().values(), *generators().values()]
    found = [*(entry.family for entry in every), DiffusersLora]
    return dict(sorted((family.family(), family) for family in found))


@cache
def presets() -> Mapping[str, Preset]:
    """Every preset of a tokenizer by its name."""
    return _found(zoo.tokenizers)


@cache
def generators() -> Mapping[str, Preset]:
    """Every preset of a generator by its name."""
    return _found(zoo.generators)


def preset(name: str) -> Preset:
    """The preset called `name`."""
    known = presets() if name in presets() else {**presets(), **generators()}
    if name not in known:
        raise NotFoundError(
            f"no model is called {name!r}",
            hint=nearest(name, known) or "zoo.list_models() names them all",
        )
    return known[name]


def create(name: str) -> Any:
    """A tokenizer or generator with fresh weights; `load` gives trained ones."""
    return preset(name).build()


def list_models(
    pattern: str = "*",
    *,
    kind: Kind = "tokenizer",
    modality: str | None = None,
    discrete: bool | None = None,
    streaming: bool | None = None,
    ordered: bool | None = None,
    serves: str | None = None,
) -> list[str]:
    """Names of the presets that match a wildcard and every capability asked for."""
    return [
        name
        for name, entry in (presets() if kind == "tokenizer" else generators()).items()
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
    if issubclass(entry.family, Generator):
        space = entry.config.space
        return (
            modality in (None, space.modality)
            and discrete in (None, space.discrete)
            and not streaming
            and not ordered
        )
    spec = entry.spec
    return (
        modality in (None, spec.modality)
        and discrete in (None, spec.discrete)
        and streaming in (None, spec.streaming)
        and ordered in (None, any(stream.ordered for stream in spec.streams))
    )


def _found(package: ModuleType) -> Mapping[str, Preset]:
    """The presets of all modules of a package."""
    found: dict[str, Preset] = {}
    for name in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for entry in importlib.import_module(name.name).PRESETS:
            if entry.name in found:
                raise ValueError(f"two presets are called {entry.name!r}")
            found[entry.name] = entry
    return dict(sorted(found.items()))
