"""From a recipe to everything a run needs: the model fitted to the data, batches, facts.

What the data decide is read from them: the grid and codes of the tokenizer's tokens, the names of
the classes. A model is bound to the tokenizer, so that it refuses the tokens of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from catalogs.catalog import Catalog
from catalogs.chosen import choose
from catalogs.errors import NotFoundError, UsageError, nearest
from catalogs.licence import Policy
from tokenize_jobs.plan import table_of
from tokenize_jobs.training.batches import CLASSES, Asked, TokenBatches, open_feed
from tokenize_jobs.training.recipe import Data, Recipe
from zoo.adapters.diffusers import licence_of
from zoo.adapters.diffusers_lora import Config as LoraConfig
from zoo.adapters.diffusers_lora import DiffusersLora
from zoo.card import Facts
from zoo.config import config_from_json, config_to_json
from zoo.generator import Batch, Condition, Generator, Space
from zoo.hub import load, load_tokenizer
from zoo.registry import generators
from zoo.spec import TokenizerSpec

__all__ = ["ASKED", "Prepared", "prepare"]

VALIDATION_BATCHES = 4
DIFFUSERS = "diffusers:"
ASKED = "asked by "
"""Before a condition's name, the fact of a card that tells which column it was learned from."""


@dataclass(frozen=True)
class Prepared:
    """What a run of a recipe begins with."""

    model: Generator
    batches: TokenBatches
    validation: tuple[Batch, ...]
    facts: Facts


def prepare(recipe: Recipe, texts: Path | None = None) -> Prepared:
    """Open the data of a recipe and build its model; `texts` keeps embeddings of captions."""
    data = recipe.data
    if data.validation and data.validation == data.split:
        raise UsageError(f"split {data.split!r} is both trained and validated on")
    spec = load_tokenizer(data.tokenizer).spec
    table = table_of(spec, {}).name
    catalog = Catalog.open(data.catalog)
    if table not in catalog.tables():
        raise NotFoundError(
            f"{data.catalog} holds no tokens of {data.tokenizer} as it is now ({table})",
            hint=f"clipmill tokenize {data.catalog} --tokenizer {data.tokenizer}",
        )
    whole = open_feed(data, table, split="", batch=1)
    asked, size = _asked(data, spec, whole, catalog, table)
    space = Space.of(spec, size, asked.stream, levels=data.levels)
    # Weights are drawn before data are read, so they follow from the seed alone.
    torch.manual_seed(recipe.run.seed)
    if recipe.model.preset.startswith(DIFFUSERS):
        model = _fine_tuned(recipe, space)
    else:
        model = _model(recipe, space, _conditions(data, whole.class_names))
    model.bind(spec, size, data.tokenizer)
    if isinstance(model, DiffusersLora) and whole.index.captions is not None:
        model.keep_texts(sorted(set(whole.index.captions.flatten().to_pylist())), texts)
    batches = TokenBatches(model, data, asked, table, batch=recipe.run.batch, seed=recipe.run.seed)
    return Prepared(
        model, batches, _validation(model, recipe, asked, table), _facts(recipe, catalog, batches)
    )


def _asked(
    data: Data, spec: TokenizerSpec, feed: Any, catalog: Catalog, table: str
) -> tuple[Asked, tuple[int, ...]]:
    """How batches become the model's, and the size of media that make the largest grid."""
    stream = spec.stream(data.stream) if data.stream else spec.streams[0]
    grids = [grid[stream.name] for grid in feed.index.grids]
    if len({grid[1:] for grid in grids}) > 1:
        raise UsageError(
            f"windows have grids of {sorted(set(grids))}",
            allowed="grids that differ in time alone",
            hint='choose one size with windows: "transform_hash = ..."',
        )
    grid = max(grids)
    asked = Asked.of(catalog, table, stream.name, grid, data.conditions)
    return replace(asked, levels=data.levels), _media_size(spec, stream, grid)


def _media_size(spec: TokenizerSpec, stream: Any, grid: tuple[int, ...]) -> tuple[int, ...]:
    """The size that the tokenizer turns into this grid."""
    steps = (grid[0] - stream.first) // max(1, stream.step)
    frames = spec.length.first + steps * spec.length.step
    if spec.layout == "BTJC":
        return (frames, spec.joints)
    if spec.layout != "BCTHW":
        return (frames,)
    extents = {
        axis.name: places * axis.stride
        for axis, places in zip(stream.axes, grid[1:], strict=True)
        if not axis.extent
    }
    rows, columns = spec.size or (spec.multiple, spec.multiple)
    return (frames, extents.get("h", rows), extents.get("w", columns))


def _conditions(data: Data, names: list[str]) -> tuple[Condition, ...]:
    return tuple(
        Condition(name, "class", len(names), tuple(names))
        if column.startswith(CLASSES)
        else Condition(name, "words")
        for name, column in data.conditions.items()
    )


def _model(recipe: Recipe, space: Space, conditions: tuple[Condition, ...]) -> Generator:
    """The preset's model with the data's space and conditions."""
    if recipe.lora is not None:
        raise UsageError(
            f"{recipe.model.preset} is trained as a whole, without lora",
            allowed=f"lora for a pretrained generator: model: {DIFFUSERS}ORG/NAME",
        )
    known = generators()
    name = recipe.model.preset
    if name not in known:
        raise NotFoundError(
            f"no generator is called {name!r}",
            hint=nearest(name, known) or 'zoo.list_models(kind="generator") names them all',
        )
    preset = known[name]
    changed = _merged(config_to_json(preset.config), recipe.model.change)
    config: Any = replace(
        config_from_json(preset.family.config_class, changed), space=space, conditions=conditions
    )
    model = preset.family(config)
    assert isinstance(model, Generator)
    model.name = name
    return model


def _fine_tuned(recipe: Recipe, space: Space) -> Generator:
    """Low-rank layers in a pretrained generator, for the data's space."""
    preset, lora = recipe.model.preset, recipe.lora
    if lora is None or recipe.model.change:
        raise UsageError(
            f"{preset} is pretrained: low-rank layers learn beside its frozen weights",
            allowed="lora, and nothing under change",
            hint="lora: {rank: 16}",
        )
    unknown = set(recipe.data.conditions) - {"text"}
    if unknown:
        raise UsageError(f"{preset} cannot be asked for {min(unknown)!r}", allowed="text")
    if recipe.run.shard != "none":
        raise UsageError("a frozen base is not divided among processes", allowed="shard: none")
    config = LoraConfig(
        base=preset,
        space=space,
        drop=lora.drop,
        rank=lora.rank,
        alpha=lora.alpha or float(lora.rank),
        targets=tuple(lora.targets),
        precision=lora.precision,
    )
    model = DiffusersLora.of(load(preset, dtype=lora.precision), config)
    model.name = preset
    return model


def _merged(known: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(known)
    for name, value in change.items():
        inner = made.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        made[name] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return made


def _validation(model: Generator, recipe: Recipe, asked: Asked, table: str) -> tuple[Batch, ...]:
    """The same few batches each time, of a split that is not trained on."""
    data = recipe.data
    if not data.validation:
        return ()
    names = next((c.names for c in model.config.conditions if c.kind == "class"), ())
    feed = open_feed(data, table, split=data.validation, class_names=names, batch=recipe.run.batch)
    taken = zip(range(VALIDATION_BATCHES), feed, strict=False)
    return tuple(asked.batch(model, made) for _, made in taken)


def _facts(recipe: Recipe, catalog: Catalog, batches: TokenBatches) -> Facts:
    """Where the data came from, what their licences say, how the model is trained."""
    data, run = recipe.data, recipe.run
    lora = recipe.lora.to_json() if recipe.lora else {}
    policy = Policy.of("redistribute", "derive")
    chosen = {"selection": data.selection or None, "where": data.where or None}
    with choose(catalog, **chosen, policy=policy) as clips:
        licences = clips.sql(
            "select coalesce(license, '(none)'), count(distinct k.clip_id) from chosen k "
            "left join sources using (source_id) group by 1 order by 2 desc, 1"
        ).rows()
        forbids = tuple(str(refusal) for refusal in clips.verdict.refusals)
    what = data.selection or data.where or "all clips"
    base = licence_of(recipe.model.preset.removeprefix(DIFFUSERS))
    return Facts(
        limits=(f"layers for a base under the licence {base.name}",) if base else (),
        data=(
            f"catalog {catalog.about['id']}, version {catalog.version}: {what}",
            f"{len(batches.feed.index)} windows of {data.tokenizer}",
            *(f"{count} clips under {licence}" for licence, count in licences),
        ),
        training={
            "preset": recipe.model.preset,
            **{f"changed {name}": str(value) for name, value in recipe.model.change.items()},
            **{f"lora {name}": str(value) for name, value in lora.items()},
            "steps": run.steps,
            "batch": run.batch,
            "learning rate": run.learning_rate,
            "precision": run.precision,
            "seed": run.seed,
            **{f"{ASKED}{name}": column for name, column in data.conditions.items()},
        },
        forbids=forbids,
    )
