"""The funnel: how many clips and hours go into and come out of every step of a recipe.

Each gate is counted in order (after the gates before it) and alone (over all clips), with what
fails there only and what fails because nothing was measured. All of it is one pass over the clips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from catalogs.judge import DEFAULT_LIMITS, Judgement, Limits
from catalogs.ledger import find_selection
from catalogs.recipe import Recipe

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Funnel", "Step", "count_funnel", "funnel"]

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Step:
    """One gate, or a stage after the gates, for which nothing is counted alone."""

    stage: str
    gate: str
    predicate: str
    clips_in: int
    hours_in: float
    clips_out: int
    hours_out: float
    alone_failed_clips: int | None = None
    """Clips of the whole corpus that fail this gate, whatever the others say."""
    alone_failed_hours: float | None = None
    only_failed_clips: int | None = None
    """Clips that fail this gate and no other: what it would bring back if it were dropped."""
    only_failed_hours: float | None = None
    null_clips: int | None = None
    """Clips that fail because the predicate is NULL: something was not measured."""


@dataclass(frozen=True, slots=True)
class Funnel:
    """A recipe's steps over one cutting of one catalog version."""

    recipe: str
    recipe_hash: str
    catalog_version: int
    cutting: str | None
    clips: int
    hours: float
    kept_clips: int
    kept_hours: float
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Funnel:
        return cls(**{**values, "steps": tuple(Step(**step) for step in values["steps"])})


def funnel(
    catalog: Catalog,
    recipe: Recipe | str,
    set_gates: Mapping[str, str] | None = None,
    *,
    cutting: str | None = None,
    operators: Mapping[str, Sequence[str]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Funnel:
    """The funnel of a recipe, or of a selection by its name. Nothing is written.

    A selection's funnel is the one that was recorded with it. `set_gates` asks what would happen
    with other gates: it is then counted on the present clips of the selection's cutting.
    """
    if isinstance(recipe, str):
        selection = find_selection(catalog, recipe)
        if not set_gates:
            return Funnel.from_dict(json.loads(selection.counts)["funnel"])
        recipe, cutting = selection.recipe, cutting or selection.cutting
    with Judgement(
        catalog, recipe.with_gates(set_gates), cutting=cutting, operators=operators, limits=limits
    ) as judgement:
        if judgement.stages:
            judgement.materialise()
            return count_funnel(judgement)
        with judgement.blaming():
            return count_funnel(judgement, judgement.source)


def count_funnel(judgement: Judgement, source: str = "from judged") -> Funnel:
    """Count a judgement, from its tables; without stages also straight from its `source`."""
    row = judgement.row(_counting_sql(judgement, source))
    pairs = [(row[k], row[k + 1] / SECONDS_PER_HOUR) for k in range(0, len(row), 2)]
    steps, (clips, hours) = _gate_steps(judgement, pairs)
    for stage in judgement.stages:
        size, seconds = judgement.row(
            "select count(*), coalesce(sum(duration_s), 0) from survivors "
            f"where ({stage.reached}) and ({stage.passed})"
        )
        after = (size, seconds / SECONDS_PER_HOUR)
        steps.append(Step(stage.stage, stage.gate, stage.predicate, clips, hours, *after))
        clips, hours = after
    return Funnel(
        recipe=judgement.recipe.name,
        recipe_hash=judgement.recipe.hash,
        catalog_version=judgement.session.catalog.version,
        cutting=judgement.session.cutting,
        clips=pairs[0][0],
        hours=pairs[0][1],
        kept_clips=clips,
        kept_hours=hours,
        steps=tuple(steps),
    )


def _counting_sql(judgement: Judgement, source: str) -> str:
    """SQL of one row: clips and seconds of everything, then four such pairs for each gate.

    They are: passed this gate and all before it, failed it, failed it and no other, NULL. Clips
    with the same verdicts are counted together first: these are few groups of many clips.
    """
    numbers = range(len(judgement.gates))
    flags = ["count(*) as clips", "coalesce(sum(duration_s), 0) as seconds"]
    for i, verdict in zip(numbers, judgement.names, strict=True):
        flags += [f"coalesce({verdict}, false) as p{i}", f"{verdict} is null as n{i}"]
    fails = " + ".join(f"(not p{i})::int" for i in numbers) or "0"
    tests = ["true"]
    for i in numbers:
        so_far = " and ".join(f"p{k}" for k in range(i + 1))
        tests += [so_far, f"not p{i}", f"not p{i} and fails = 1", f"n{i}"]
    pairs = ", ".join(
        f"coalesce(sum(clips) filter ({test}), 0)::bigint, "
        f"coalesce(sum(seconds) filter ({test}), 0)"
        for test in tests
    )
    rows = f"select {', '.join(flags)} from ({source}) group by all"
    return f"select {pairs} from (select *, {fails} as fails from ({rows}))"


def _gate_steps(
    judgement: Judgement, pairs: list[tuple[int, float]]
) -> tuple[list[Step], tuple[int, float]]:
    before, steps = pairs[0], []
    for i, gate in enumerate(judgement.gates):
        after, alone, only, null = pairs[1 + 4 * i : 5 + 4 * i]
        steps.append(
            Step("gate", gate.name, gate.predicate, *before, *after, *alone, *only, null[0])
        )
        before = after
    return steps, before
