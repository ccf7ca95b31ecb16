"""`train(recipe, folder)`: a generator from the tokens of a catalog.

One process, or several of Ray Train that share the batch. Running it again continues where it was
stopped; the folder keeps the recipe, and a run is only continued under its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from catalogs.errors import UsageError
from tokenize_jobs.training.media import draw_samples
from tokenize_jobs.training.prepare import Prepared, prepare
from tokenize_jobs.training.recipe import Recipe
from zoo.artefact import read_config, tell
from zoo.card import Facts
from zoo.denoiser import Denoiser
from zoo.generator import Generator
from zoo.hub import load
from zoo.training.distil import distil
from zoo.training.generate import fit_generator
from zoo.training.run import Outcome
from zoo.training.settings import Distillation, GeneratorSettings

__all__ = ["train"]

_RECIPE, _TEXTS = "recipe.yaml", "texts"


def train(recipe: Recipe, folder: str | Path, *, progress: bool = True) -> Outcome:
    """Train the recipe's model in `folder`, from its latest checkpoint if there is one."""
    folder = Path(folder)
    _keep(recipe, folder)
    began = time.monotonic()
    if recipe.workers > 1:
        outcome = _on_ray(recipe, folder)
    else:
        outcome = _fitted(recipe, prepare(recipe, folder / _TEXTS), folder, progress)
    facts = Facts.from_json(read_config(outcome.folder)["facts"])
    cost = {"minutes of the last run": round((time.monotonic() - began) / 60, 2)}
    numbers = {name: round(value, 4) for name, value in outcome.losses.items()}
    tell(outcome.folder, replace(facts, training={**facts.training, **cost, **numbers}))
    return outcome


def _fitted(recipe: Recipe, ready: Prepared, folder: Path, progress: bool) -> Outcome:
    return _way(recipe)(
        ready.model,
        ready.batches,
        recipe.run,
        folder,
        validation=ready.validation,
        draw=draw_samples if recipe.run.sample_every else None,
        device=None if recipe.gpus else "cpu",
        progress=progress,
        facts=ready.facts,
    )


def _way(recipe: Recipe) -> Callable[..., Outcome]:
    """What trains the recipe's model: its own losses, or a teacher."""
    return fit_generator if recipe.distil is None else partial(_distilled, recipe.distil)


def _distilled(
    how: Distillation,
    student: Generator,
    feed: Any,
    settings: GeneratorSettings,
    folder: Path,
    **options: Any,
) -> Outcome:
    teacher = load(how.teacher)
    if not isinstance(teacher, Denoiser) or not isinstance(student, Denoiser):
        raise UsageError(
            f"{how.teacher or 'nothing'} cannot teach {student.name} to take few steps",
            allowed="distil: {teacher: a trained generator that denoises}",
        )
    if teacher.source and student.source:
        teacher.source.check(student.source.spec_hash, student.source.name)
    options.pop("validation", None)
    return distil(teacher, feed, settings, folder, how, student=student, **options)


def _on_ray(recipe: Recipe, folder: Path) -> Outcome:
    from zoo.training.ray import fit_on_ray

    texts = folder.absolute() / _TEXTS
    first = prepare(recipe, texts)
    absolute = replace(recipe, data=replace(recipe.data, catalog=_absolute(recipe.data.catalog)))

    def make() -> tuple[Any, Any]:
        ready = prepare(absolute, texts)
        return ready.model, ready.batches

    return fit_on_ray(
        make,
        recipe.run,
        folder,
        workers=recipe.workers,
        gpu=recipe.gpus,
        train=_way(recipe),
        validation=first.validation,
        facts=first.facts,
        device=None if recipe.gpus else "cpu",
    )


def _absolute(catalog: str) -> str:
    return catalog if "://" in catalog else str(Path(catalog).absolute())


def _keep(recipe: Recipe, folder: Path) -> None:
    """Write the recipe down, or see that it is the one that the run began with."""
    folder.mkdir(parents=True, exist_ok=True)
    path, known = folder / _RECIPE, json.loads(json.dumps(recipe.to_json()))
    if path.exists():
        before = yaml.safe_load(path.read_text())
        changed = [n for n in ("data", "model", "lora", "distil") if before.get(n) != known[n]]
        if changed:
            raise UsageError(
                f"the run in {folder} was begun with another {' and '.join(changed)}",
                hint="use its recipe.yaml to continue it, or another folder to begin anew",
            )
    path.write_text(yaml.safe_dump(known, sort_keys=False))
