"""Comparing two outcomes: which clips were gained and lost, and which gate did it.

Either side is a recorded selection, or a recipe that is judged now, at any catalog version. A lost
clip is explained by the gates of the second side that refuse it, a gained one by the gates of the
first that refused it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import pyarrow as pa

from catalogs.funnel import SECONDS_PER_HOUR
from catalogs.judge import DEFAULT_LIMITS, Judgement, Limits
from catalogs.ledger import Selection, find_selection, ledger_files
from catalogs.query import Session, sql_text
from catalogs.recipe import Recipe

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Changed", "ChangedClip", "Diff", "Outcome", "diff"]

NOT_JUDGED = "(not in the corpus)"
"""Stands for a gate where the other side did not look at the clip at all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One side: what it is called, what it was judged on, and what it keeps."""

    name: str
    catalog_version: int
    clips: int
    hours: float


@dataclass(frozen=True, slots=True)
class ChangedClip:
    """A clip that one side keeps, and the gates by which the other refuses it."""

    clip_id: str
    source_id: str
    duration_s: float
    gates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """Clips on one side only. A clip that two gates refuse counts for both in `by_gate`."""

    clips: int
    hours: float
    by_gate: Mapping[str, int]
    examples: tuple[ChangedClip, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """From `a` to `b`."""

    a: Outcome
    b: Outcome
    in_both: int
    gained: Changed
    lost: Changed

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def diff(
    catalog: Catalog,
    a: Recipe | str,
    b: Recipe | str,
    *,
    a_version: int | None = None,
    b_version: int | None = None,
    examples: int = 20,
    operators: Mapping[str, Sequence[str]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Diff:
    """Compare two selections (by name or id) or recipes.

    With a version, a side is its recipe judged on the catalog as it was then. To see what new
    data or new scores changed, give the same recipe twice with two versions.
    """
    sides = [
        _side(catalog, what, version, operators, limits)
        for what, version in ((a, a_version), (b, b_version))
    ]
    try:
        with duckdb.connect() as connection:
            for name, side in zip("ab", sides, strict=True):
                connection.register(f"kept_{name}", side.kept())
            outcomes = [
                Outcome(side.name, side.catalog_version, *_size(connection, f"kept_{name}"))
                for name, side in zip("ab", sides, strict=True)
            ]
            gained = _changed(connection, "kept_b", "kept_a", sides[0], examples)
            lost = _changed(connection, "kept_a", "kept_b", sides[1], examples)
    finally:
        for side in sides:
            side.close()
    before, after = outcomes
    return Diff(before, after, before.clips - lost.clips, gained, lost)


class _Side(Protocol):
    name: str
    catalog_version: int

    def kept(self) -> pa.Table:
        """clip_id, source_id and duration_s of the clips it keeps."""

    def refusals(self, clips: pa.Table) -> pa.Table:
        """clip_id and gate, for each gate that refuses one of `clips`."""

    def close(self) -> None: ...


class _Recorded:
    """A selection, as it stands in the ledger."""

    def __init__(self, catalog: Catalog, made: Selection):
        self.name = made.name
        self.catalog_version = made.catalog_version
        self._made = made
        self._session = Session(catalog, cutting="-")

    def kept(self) -> pa.Table:
        return self._rows("selections", "clip_id, source_id, duration_s", "true")

    def refusals(self, clips: pa.Table) -> pa.Table:
        self._session.connection.register("asked", clips)
        return self._rows(
            "decisions", "clip_id, gate", "not passed and clip_id in (select clip_id from asked)"
        )

    def _rows(self, table: str, columns: str, where: str) -> pa.Table:
        files = ledger_files(self._session.catalog, table, self._made.selection_id)
        return self._session.connection.sql(
            f"select {columns} from ({self._session.scan(table, files)}) "
            f"where selection_id = {sql_text(self._made.selection_id)} and {where}"
        ).to_arrow_table()

    def close(self) -> None:
        self._session.connection.close()


class _Live:
    """A recipe, judged now."""

    def __init__(self, name: str, judgement: Judgement):
        self.name = name
        self.catalog_version = judgement.session.catalog.version
        self._judgement = judgement
        judgement.materialise()

    def kept(self) -> pa.Table:
        return self._judgement.arrow(
            f"select clip_id, source_id, duration_s from survivors where {self._judgement.kept}"
        )

    def refusals(self, clips: pa.Table) -> pa.Table:
        self._judgement.session.connection.register("asked", clips)
        ledger = self._judgement.ledger("clip_id in (select clip_id from asked)")
        return self._judgement.arrow(f"select clip_id, gate from ({ledger}) where not passed")

    def close(self) -> None:
        self._judgement.session.connection.close()


def _side(
    catalog: Catalog,
    what: Recipe | str,
    version: int | None,
    operators: Mapping[str, Sequence[str]] | None,
    limits: Limits,
) -> _Side:
    if isinstance(what, Recipe):
        name, recipe, cutting = what.name, what, None
    else:
        made = find_selection(catalog, what)
        if version is None:
            return _Recorded(catalog, made)
        name, recipe, cutting = made.name, made.recipe, made.cutting
    then = catalog if version is None else catalog.at(version)
    judgement = Judgement(then, recipe, cutting=cutting, operators=operators, limits=limits)
    return _Live(name, judgement)


def _size(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[int, float]:
    row = connection.execute(f"select count(*), coalesce(sum(duration_s), 0) from {table}")
    clips, seconds = row.fetchone() or (0, 0.0)
    return clips, seconds / SECONDS_PER_HOUR


def _changed(
    connection: duckdb.DuckDBPyConnection, kept: str, others: str, refuser: _Side, examples: int
) -> Changed:
    """What is in `kept` and not in `others`, with the gates of the side that refuses it."""
    connection.execute(
        f"create or replace temp table changed as from {kept} anti join {others} using (clip_id)"
    )
    clips = connection.sql("select clip_id from changed").to_arrow_table()
    connection.register("refusals", refuser.refusals(clips))
    explained = (
        f"select clip_id, coalesce(gate, {sql_text(NOT_JUDGED)}) as gate "
        "from changed left join refusals using (clip_id)"
    )
    by_gate = connection.execute(
        f"select gate, count(*) from ({explained}) group by gate order by 2 desc, 1"
    ).fetchall()
    rows = connection.execute(
        "select clip_id, any_value(source_id), any_value(duration_s), list(gate order by gate) "
        f"from changed join ({explained}) using (clip_id) "
        "group by clip_id order by clip_id limit ?",
        [examples],
    ).fetchall()
    return Changed(
        *_size(connection, "changed"),
        dict(by_gate),
        tuple(ChangedClip(clip, source, s, tuple(gates)) for clip, source, s, gates in rows),
    )
