"""Published systems, and what of clipmill makes each of them work.

The ids and titles are kept in `systems.tsv`. Entries name the systems that they serve where they
are declared (`serves` of a preset, an operator, an embedder), so the count here cannot run ahead of
what is there. Whatever serves a system is tested by its own family's tests.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain

from catalogs.errors import NotFoundError, nearest

__all__ = ["Entry", "System", "serving", "system", "systems"]


@dataclass(frozen=True, slots=True)
class System:
    """A published system: what it is in the field's words."""

    id: str
    short: str
    title: str
    lane: str
    lane2: str
    family: str

    @property
    def lanes(self) -> tuple[str, ...]:
        return tuple(lane for lane in (self.lane, self.lane2) if lane)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something of clipmill that makes a system work, and how to begin with it."""

    kind: str
    name: str
    run: str


Served = tuple[tuple[str, ...], Entry]
"""Ids of systems, and what serves them."""


@cache
def systems() -> Mapping[str, System]:
    """Every known system by its id."""
    text = resources.files("clipmill").joinpath("systems.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["id"]: System(**row) for row in rows}


def system(name: str) -> System:
    """The system of this id."""
    known = systems()
    if name not in known:
        raise NotFoundError(
            f"no system is called {name!r}",
            hint=nearest(name, known) or "clipmill systems lists them all",
        )
    return known[name]


@cache
def serving() -> Mapping[str, tuple[Entry, ...]]:
    """What serves each system that is served."""
    found: dict[str, list[Entry]] = {}
    kinds = (
        *(_tokenizers, _generators, _pipelines, _samplers, _distillations),
        *(_operators, _captioners, _embedders, _choices, _copies, _chances, _reductions),
    )
    for served, entry in chain.from_iterable(kind() for kind in kinds):
        for name in served:
            system(name)
            found.setdefault(name, []).append(entry)
    return {name: tuple(entries) for name, entries in found.items()}


def _tokenizers() -> Iterator[Served]:
    from zoo.registry import presets

    for preset in presets().values():
        yield preset.serves, Entry("tokenizer", preset.name, f'zoo.create("{preset.name}")')


def _generators() -> Iterator[Served]:
    from zoo.registry import generators

    for preset in generators().values():
        yield preset.serves, Entry("generator", preset.name, f'zoo.create("{preset.name}")')


def _pipelines() -> Iterator[Served]:
    from zoo.adapters.pipeline_traits import TRAITS

    for name, traits in TRAITS.items():
        yield traits.serves, Entry("pipeline", name, 'zoo.load("diffusers:ORG/NAME")')


def _samplers() -> Iterator[Served]:
    from zoo.samplers import SAMPLERS

    for sampler in SAMPLERS:
        yield sampler.serves, Entry("sampler", sampler.name, f"zoo.samplers.{sampler.name}")


def _distillations() -> Iterator[Served]:
    from zoo.training.distil import METHODS

    for method in METHODS:
        run = f"in a recipe: distil: {{method: {method.name}}}"
        yield method.serves, Entry("distillation", method.name, run)


def _operators() -> Iterator[Served]:
    from curation.operators import names, operator_class

    for name in names():
        yield operator_class(name).serves, Entry("operator", name, f"in a recipe: score: [{name}]")


def _captioners() -> Iterator[Served]:
    from curation.captions.prompts import PROMPTS
    from curation.jobs import captions

    yield captions.SERVES, Entry("captioner", captions.MODEL, "clipmill curate TAKES... -c CATALOG")
    for name, asked in PROMPTS.items():
        run = f"clipmill caption CATALOG --with openai:MODEL --prompt {name}"
        yield asked.serves, Entry("prompt", name, run)


def _embedders() -> Iterator[Served]:
    from curation.embed import BUILT_IN

    for name, kind in BUILT_IN.items():
        yield kind.serves, Entry("embedder", name, f"clipmill embed CATALOG --with {name}")


def _choices() -> Iterator[Served]:
    from curation import choose_frames

    for name, served in choose_frames.SERVES.items():
        yield served, Entry("choice of frames", name, f"curation.choose_frames.{name}")


def _copies() -> Iterator[Served]:
    from curation.dedup.near import SERVES

    yield SERVES, Entry("search for copies", "near", "clipmill dups CATALOG")


def _chances() -> Iterator[Served]:
    from curation.search.chances import SERVES

    yield SERVES, Entry("search", "chances", "curation.search.chances.chances")


def _reductions() -> Iterator[Served]:
    from zoo.reduction import REDUCTIONS

    for reduction in REDUCTIONS.values():
        run = f"zoo.reduction.{reduction.name}"
        yield reduction.serves, Entry("token reduction", reduction.name, run)
