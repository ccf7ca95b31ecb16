"""Selecting: a recipe's verdicts on every clip, recorded for good.

    result = select(catalog, load_recipe("web-video"), "train-2026")

One transaction writes the clips that are kept (`selections`), every verdict (`decisions`) and a row
in `runs`. A selection's id is the hash of its recipe, its name and the versions of the tables that
it read: making it again on unchanged data changes nothing, making another one under the same name
leaves the older one readable, for `diff`.

Verdicts are written in ranges of clip ids, each sorted, so that memory stays bounded and the
verdicts on one clip lie in one file, in a row group or two.
"""

from __future__ import annotations

import json
import math
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from catalogs.errors import ClipmillError, UsageError
from catalogs.excluded import excluded_versions
from catalogs.funnel import SECONDS_PER_HOUR, Funnel, count_funnel
from catalogs.ids import settings_hash
from catalogs.judge import DEFAULT_LIMITS, Judgement, Limits
from catalogs.ledger import Selection, selections
from catalogs.query import SOURCE_COLUMNS, source_column, sql_text
from catalogs.recipe import NAME_SHAPE, Recipe

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["SelectionResult", "SplitCount", "select"]

ROWS_PER_FILE = 1_000_000
_SAMPLES_PER_RANGE = 200


@dataclass(frozen=True, slots=True)
class SplitCount:
    """How much a split got."""

    split: str | None
    clips: int
    hours: float


@dataclass(frozen=True, slots=True)
class SelectionResult:
    """What `select` made, or found already made (`is_new` is False)."""

    name: str
    selection_id: str
    run_id: str
    is_new: bool
    clips: int
    hours: float
    splits: tuple[SplitCount, ...]
    funnel: Funnel

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class _AlreadyMadeError(ClipmillError):
    """Somebody else recorded the very same selection meanwhile."""


def select(
    catalog: Catalog,
    recipe: Recipe,
    name: str,
    *,
    set_gates: Mapping[str, str] | None = None,
    cutting: str | None = None,
    operators: Mapping[str, Sequence[str]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> SelectionResult:
    """Judge every clip by a recipe and record the outcome under a name.

    The clips are those of `cutting`, else of the cutting that the recipe's `segment` names if it
    is there, else of the newest one. `operators` maps known operators to their columns, for errors
    that tell an operator that has not run from a column that nobody knows.
    """
    if not NAME_SHAPE.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a selection",
            allowed="up to 64 small letters, digits, '_', '.' and '-'",
        )
    with Judgement(
        catalog,
        recipe.with_gates(set_gates),
        cutting=cutting,
        operators=operators,
        limits=limits,
    ) as judgement:
        selection_id = _selection_id(judgement, name)
        known = selections(catalog)
        made = [item for item in known if item.selection_id == selection_id]
        if made and next(item for item in known if item.name == name) is made[0]:
            return _result(made[0], is_new=False)
        writer = _Writer(judgement, name, selection_id)
        if made:
            return writer.renew(made[0])
        try:
            return writer.record()
        except _AlreadyMadeError:
            catalog.refresh()
            (made_now,) = [i for i in selections(catalog) if i.selection_id == selection_id]
            return _result(made_now, is_new=False)


def _selection_id(judgement: Judgement, name: str) -> str:
    """Hash of what decides the outcome: recipe, name, cutting, and the tables that are read."""
    tables = {"clips"}
    from_sources = {source_column(column) for column in SOURCE_COLUMNS}
    for column in judgement.used_columns:
        if column in from_sources:
            tables.add("sources")
        elif column in judgement.session.operators:
            tables.add(judgement.session.operators[column][0])
    tables |= set(judgement.used_tables)
    catalog = judgement.session.catalog
    settings = {
        "recipe": judgement.recipe.hash,
        "name": name,
        "cutting": judgement.session.cutting,
        "catalog": catalog.about.get("id"),
        "versions": {table: catalog.snapshot.tables.get(table) for table in sorted(tables)},
    }
    if others := excluded_versions(judgement.recipe.exclude):
        settings["excluded"] = others
    return settings_hash(settings, 32)


class _Writer:
    """Writes one judgement to its catalog."""

    def __init__(self, judgement: Judgement, name: str, selection_id: str):
        self._judgement = judgement
        self._catalog = judgement.session.catalog
        self._name = name
        self._selection_id = selection_id
        self._run_id = uuid.uuid4().hex
        self._started = datetime.now(UTC)

    def record(self) -> SelectionResult:
        """Evaluate, and write everything in one transaction."""
        judgement = self._judgement
        judgement.materialise()
        flow = count_funnel(judgement)
        if not flow.clips:
            raise UsageError(
                f"the catalog has no clips in cutting {flow.cutting}",
                hint="clipmill curate FOLDER --catalog CATALOG makes some",
            )
        with self._catalog.transaction(f"select {self._name}") as txn:
            txn.require(self._check_not_made)
            for where in self._ranges(flow.clips):
                if judgement.gates or judgement.stages:
                    txn.append("decisions", judgement.arrow(self._decisions(where)))
                txn.append("selections", judgement.arrow(self._kept(where)))
            counts = {
                "clips": flow.kept_clips,
                "hours": flow.kept_hours,
                "splits": [asdict(item) for item in self._split_counts()],
                "funnel": flow.to_dict(),
            }
            run = self._run(json.dumps(counts))
            txn.append("runs", [run])
        return self._written(run)

    def renew(self, made: Selection) -> SelectionResult:
        """Make an older selection the newest of its name again; its rows are all there."""
        run = self._run(made.counts)
        self._catalog.append("runs", [run])
        return self._written(run)

    def _written(self, run: Mapping[str, Any]) -> SelectionResult:
        found = next(i for i in selections(self._catalog) if i.selection_id == self._selection_id)
        return _result(found, is_new=True)

    def _check_not_made(self, head: Catalog) -> None:
        if any(item.selection_id == self._selection_id for item in selections(head)):
            raise _AlreadyMadeError(f"selection {self._name!r} was made meanwhile")

    def _decisions(self, where: str) -> str:
        ledger = self._judgement.ledger(where)
        return f"select {sql_text(self._selection_id)} as selection_id, * from ({ledger})"

    def _kept(self, where: str) -> str:
        created = sql_text(self._started.isoformat())
        return (
            f"select {sql_text(self._name)} as selection, "
            f"{sql_text(self._selection_id)} as selection_id, clip_id, source_id, "
            f"{self._judgement.split} as split, duration_s, {created}::timestamptz as created, "
            f"{sql_text(self._run_id)} as run_id from survivors clips "
            f"where {self._judgement.kept} and {where} order by clip_id"
        )

    def _split_counts(self) -> list[SplitCount]:
        rows = self._judgement.rows(
            f"select {self._judgement.split} as split, count(*), sum(duration_s) "
            f"from survivors clips where {self._judgement.kept} group by 1 order by 2 desc"
        )
        return [SplitCount(split, clips, s / SECONDS_PER_HOUR) for split, clips, s in rows]

    def _ranges(self, clips: int) -> Iterator[str]:
        """SQL conditions that divide the clips by id into about equal, file-sized parts."""
        verdicts = max(1, len(self._judgement.gates) + len(self._judgement.stages))
        parts = math.ceil(clips * verdicts / ROWS_PER_FILE)
        borders: list[str] = []
        if parts > 1:
            sample = f"select clip_id from judged using sample {parts * _SAMPLES_PER_RANGE} rows"
            ids = sorted(row[0] for row in self._judgement.rows(sample))
            borders = [ids[len(ids) * part // parts] for part in range(1, parts)]
        for low, high in zip([None, *borders], [*borders, None], strict=True):
            tests = [f"clip_id >= {sql_text(low)}"] if low else []
            tests += [f"clip_id < {sql_text(high)}"] if high else []
            yield " and ".join(tests) or "true"

    def _run(self, counts: str) -> dict[str, Any]:
        recipe = self._judgement.recipe
        finished = datetime.now(UTC)
        settings = {"selection_id": self._selection_id, "cutting": self._judgement.session.cutting}
        packages = ("duckdb", "pyarrow", "deltalake")
        return {
            "run_id": self._run_id,
            "verb": "select",
            "name": self._name,
            "status": "done",
            "started": self._started,
            "finished": finished,
            "catalog_version": self._catalog.version,
            "recipe": recipe.to_yaml(),
            "recipe_hash": recipe.hash,
            "settings": json.dumps(settings),
            "versions": json.dumps({name: metadata.version(name) for name in packages}),
            "hosts": json.dumps([socket.gethostname()]),
            "counts": counts,
            "timings": json.dumps({"select": (finished - self._started).total_seconds()}),
        }


def _result(made: Selection, *, is_new: bool) -> SelectionResult:
    counts = json.loads(made.counts)
    return SelectionResult(
        name=made.name,
        selection_id=made.selection_id,
        run_id=made.run_id,
        is_new=is_new,
        clips=counts["clips"],
        hours=counts["hours"],
        splits=tuple(SplitCount(**item) for item in counts["splits"]),
        funnel=Funnel.from_dict(counts["funnel"]),
    )
