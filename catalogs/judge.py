"""A recipe evaluated on a snapshot: every gate for every clip, then exclusion, duplicates, balance.

A `Judgement` opens a locked connection, checks the recipe against the columns that are there, and
offers the verdicts as SQL. Nothing is written: `catalogs.select` records a judgement, `funnel` and
`why` only look at one. Big corpora are handled set-wise inside DuckDB, in two temporary tables:

- `judged`: every clip with the measurements that decide and a verdict per gate (true, false, NULL);
- `survivors`: the clips that pass all gates, with what excludes them, the twin that is kept in
  their place, their group of splits, and their rank in their group of the balance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from catalogs.deadline import deadline
from catalogs.duplicates import Groups, check_searched, duplicate_pairs, grouped, losers
from catalogs.duplicates import searches as searches_of
from catalogs.errors import GateError, QueryError
from catalogs.excluded import Excluded, excluded_clips
from catalogs.gates import Expression, Gate, Grammar
from catalogs.query import Session, resolve_cutting, sql_name, sql_text, wide_columns
from catalogs.recipe import Recipe
from catalogs.splits import split_sql

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from catalogs.files import DataFile

__all__ = ["DEFAULT_LIMITS", "Judgement", "Limits", "Stage", "time_limit"]

_CLIPS = "select clip_id, source_id, start_s, end_s from clips"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one judgement may use."""

    seconds: float = 1800.0
    memory: str = "3GB"
    threads: int | None = None


DEFAULT_LIMITS = Limits()


@contextmanager
def time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Stop whatever runs on a connection when the time is up."""
    try:
        with deadline(connection, seconds):
            yield
    except duckdb.InterruptException as error:
        raise GateError(
            f"the gates were stopped after {seconds:g} s", hint="simplify them or allow more time"
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise GateError(f"the gates need too much memory: {error}") from error


@dataclass(frozen=True, slots=True)
class Stage:
    """A step after the gates, as SQL over `survivors`."""

    stage: str
    gate: str
    predicate: str
    reached: str
    """Which survivors the step looks at."""
    passed: str
    value: str
    reason: str


class _ClipSession(Session):
    """A session on one clip alone, or on all: it reads no other clip's rows from any table."""

    def __init__(self, catalog: Catalog, clip_id: str | None, **options: Any):
        self._clip_id = clip_id
        super().__init__(catalog, **options)

    def scan(self, table: str, files: Iterable[DataFile] | None = None) -> str:
        body = super().scan(table, files)
        if self._clip_id is None or not (table == "clips" or table.startswith("scores/")):
            return body
        return f"select * from (from ({body}) where clip_id = {sql_text(self._clip_id)})"


class Judgement:
    """A recipe on the clips of one cutting of a catalog. Use it as a context manager.

    `only` narrows it to one clip, which is right only for recipes whose verdicts do not depend on
    other clips. `operators` maps known operators to their columns, for better errors. A `session`
    that is given brings its cutting and stays open.
    """

    def __init__(
        self,
        catalog: Catalog,
        recipe: Recipe,
        *,
        cutting: str | None = None,
        operators: Mapping[str, Sequence[str]] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        only: str | None = None,
        session: Session | None = None,
    ):
        self.recipe = recipe
        self.limits = limits
        self._is_borrowed = session is not None
        if session is None:
            found = self._choose_cutting(catalog, recipe, cutting)
            session = _ClipSession(
                catalog, only, cutting=found, memory=limits.memory, threads=limits.threads
            )
        self.session = session
        self.columns = wide_columns(self.session)
        self._check(Grammar(self.columns, operators))
        self._bind()

    def __enter__(self) -> Judgement:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_borrowed:
            self.session.connection.close()

    # -- checks ------------------------------------------------------------------------------

    @staticmethod
    def _choose_cutting(catalog: Catalog, recipe: Recipe, cutting: str | None) -> str | None:
        """The cutting that was asked for, else the recipe's if it was made, else the newest."""
        if cutting is not None:
            return resolve_cutting(catalog, cutting)
        if recipe.segment is None or "cuttings" not in catalog.tables():
            return None
        with Session(catalog, cutting="-") as session:
            made = session.sql(
                "select cutting from cuttings where asked = ? order by created desc limit 1",
                [recipe.segment.cutting],
            ).rows()
        return str(made[0][0]) if made else None

    def _check(self, grammar: Grammar) -> None:
        """Parse every piece of SQL in the recipe."""
        self.gates = grammar.gates(self.recipe.gates)
        self.keep: Expression | None = None
        self.group_by: Expression | None = None
        if self.recipe.dedup and self.recipe.dedup.keep:
            self.keep = grammar.order(self.recipe.dedup.keep, "dedup keep")
        self.balance_by = [grammar.expression(b.by, "balance by") for b in self.recipe.balance]
        if self.recipe.splits:
            self.group_by = grammar.expression(self.recipe.splits.group_by, "splits group_by")
        if self.recipe.dedup and self.recipe.dedup.near:
            check_searched(self.session, self.recipe.dedup.near)

    def _bind(self) -> None:
        """Let DuckDB resolve types before anything runs, gate by gate for exact errors."""
        self.session.prepare(self.source)
        for gate in self.gates:
            found = self._type(gate.predicate, f"gate {gate.name!r}")
            if found != "BOOLEAN":
                raise GateError(
                    f"gate {gate.name!r} gives {found}, not a yes or no: {gate.predicate}",
                    allowed="a comparison, such as: motion_px between 0.5 and 20",
                )
        for extra in self.balance_by:
            self._type(extra.sql, "balance by")
        if self.group_by is not None:
            self._type(self.group_by.sql, "splits group_by")

    def _type(self, expression: str, what: str) -> str:
        query = f"select (\n{expression}\n) from clips"
        try:
            return str(self.session.connection.sql(query).types[0])
        except duckdb.Error as error:
            raise GateError(f"{what} does not work: {error}") from error

    # -- verdicts ----------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of the columns that hold the gates' verdicts, in order."""
        return [f"__gate{number}" for number in range(len(self.gates))]

    @property
    def all_passed(self) -> str:
        """SQL over the verdicts: the clip passes every gate."""
        return " and ".join(f"coalesce({name}, false)" for name in self.names) or "true"

    @property
    def used_columns(self) -> list[str]:
        """Columns of `clips` that the outcome depends on."""
        used = dict.fromkeys(("clip_id", "source_id", "duration_s"))
        for gate in self.gates:
            used |= dict.fromkeys(gate.columns)
        for extra in (self.keep, *self.balance_by, self.group_by):
            used |= dict.fromkeys(extra.columns if extra else ())
        return list(used)

    @property
    def used_tables(self) -> list[str]:
        """Tables that the outcome depends on, beside `clips` and what holds `used_columns`."""
        tables = ["matches", "searched"] if self._has_twins or self.recipe.exclude else []
        if self.recipe.dedup and self.recipe.dedup.semantic:
            tables.append("neighbours")
        if any(item.catalog is None for item in self.recipe.exclude):
            tables.append("selections")
        return tables

    @property
    def source(self) -> str:
        """SQL of `judged`, the measurements and verdicts of every clip."""
        verdicts = [
            f"(\n{gate.predicate}\n) as {name}"
            for gate, name in zip(self.gates, self.names, strict=True)
        ]
        return f"select {', '.join([*map(sql_name, self.used_columns), *verdicts])} from clips"

    @cached_property
    def _has_twins(self) -> bool:
        """Whether duplicates go; those that are equal do as soon as somebody searched for them."""
        dedup = self.recipe.dedup
        if dedup is None:
            return False
        return bool(dedup.near or dedup.semantic or searches_of(self.session.catalog))

    def materialise(self) -> None:
        """Evaluate everything once, into the tables `judged` and `survivors`."""
        with self.blaming():
            self.execute(f"create or replace temp table judged as {self.source}")
        self._settle()
        kind = "table" if self.stages else "view"
        self.execute(f"create or replace temp {kind} survivors as {self._ranked()}")

    @property
    def _order(self) -> str:
        return f"{self.keep.sql}\n, clip_id" if self.keep else "clip_id"

    def _settle(self) -> None:
        """Find what is excluded, who goes for a twin, and whose splits are one."""
        out = excluded_clips(self.session, self.recipe, _CLIPS) if self.recipe.exclude else {}
        self._keep_excluded(out)
        if not self._has_twins:
            return
        assert self.recipe.dedup is not None
        pairs = duplicate_pairs(self.session, self.recipe.dedup, _CLIPS)
        groups = {clip: name for name, clips in grouped(pairs).items() for clip in clips}
        self.session.keep("__groups", _columns(clip_id=groups.keys(), dup_group=groups.values()))
        rows = self.rows(
            f"select clip_id, row_number() over (order by {self._order}) from judged "
            f"semi join __groups using (clip_id) where {self.all_passed}"
        )
        lost = losers(pairs, {clip: rank for clip, rank in rows if clip not in out})
        reasons = [pair.reason() for pair in lost.values()]
        twins = [pair.other_clip for pair in lost.values()]
        self.session.keep("__twins", _columns(clip_id=lost.keys(), twin=twins, reason=reasons))
        self._keep_split_groups()

    def _keep_excluded(self, out: Mapping[str, Excluded]) -> None:
        names = [item.name for item in out.values()]
        reasons = [item.reason for item in out.values()]
        rows = _columns(clip_id=out.keys(), name=names, reason=reasons)
        self.session.keep("__excluded", rows)

    def _keep_split_groups(self) -> None:
        """Values of `group_by` that duplicates tie together, with one name for each such tie."""
        ties = Groups()
        rows = self.rows(
            f"select distinct dup_group, {self._split_value} as value "
            "from judged clips join __groups using (clip_id) order by 1, 2"
        )
        firsts: dict[str, str] = {}
        for group, value in rows:
            ties.tie(firsts.setdefault(group, value), value)
        members = dict(ties.members())
        self.session.keep("__split_groups", _columns(value=members.keys(), name=members.values()))

    @property
    def _split_value(self) -> str:
        """SQL over `clips`: what splits keep together. Clips without a group go by source."""
        if self.group_by is None:
            return "source_id"
        return f"coalesce((\n{self.group_by.sql}\n)::varchar, source_id)"

    def _ranked(self) -> str:
        """SQL of the survivors, with what the stages look at."""
        body = (
            "select clips.*, x.name as __excluded_by, x.reason as __excluded "
            f"from (select * from judged where {self.all_passed}) clips "
            "left join __excluded x using (clip_id)"
        )
        first = "__excluded_by is null"
        if self._has_twins:
            body = (
                f"select clips.*, t.twin as __twin, t.reason as __twin_reason, "
                f"g.dup_group as __dup_group, s.name as __split_group from ({body}) clips "
                "left join __twins t using (clip_id) left join __groups g using (clip_id) "
                f"left join __split_groups s on s.value = {self._split_value}"
            )
            first += " and __twin is null"
        for number, (by, balance) in enumerate(
            zip(self.balance_by, self.recipe.balance, strict=True)
        ):
            body = (
                f"select *, (\n{by.sql}\n)::varchar as __group{number}, row_number() over "
                f"(partition by (\n{by.sql}\n), {first} order by {self._order}) "
                f"as __rank{number} from ({body}) clips"
            )
            first += f" and __rank{number} <= {balance.cap}"
        return body

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The steps after the gates, in order."""
        stages = []
        reached = "true"
        if self.recipe.exclude:
            exclude = Stage(
                stage="exclude",
                gate="exclude",
                predicate="shows nothing of " + ", ".join(map(str, self.recipe.exclude)),
                reached=reached,
                passed="__excluded_by is null",
                value="__excluded_by",
                reason="__excluded",
            )
            stages.append(exclude)
            reached = exclude.passed
        if self._has_twins:
            order = self.keep.sql if self.keep else "clip_id"
            twins = Stage(
                stage="dedup",
                gate="duplicates",
                predicate=f"no duplicate comes before it by {order}",
                reached=reached,
                passed="__twin is null",
                value="__dup_group",
                reason="__twin_reason",
            )
            stages.append(twins)
            reached = f"({reached}) and ({twins.passed})"
        for number, balance in enumerate(self.recipe.balance):
            rank = f"__rank{number}"
            cap = Stage(
                stage="balance",
                gate=balance.by,
                predicate=f"among the first {balance.cap} of its {balance.by}",
                reached=reached,
                passed=f"{rank} <= {balance.cap}",
                value=f"__group{number}",
                reason=f"'number ' || {rank} || ' of its group, the cap is {balance.cap}'",
            )
            stages.append(cap)
            reached = f"({reached}) and ({cap.passed})"
        return tuple(stages)

    @property
    def kept(self) -> str:
        """SQL condition over `survivors`: the clip is selected."""
        return " and ".join(f"({stage.passed})" for stage in self.stages) or "true"

    @property
    def split(self) -> str:
        """SQL over `survivors clips`: the clip's split. Groups of duplicates are in one."""
        value = self._split_value
        tied = f"coalesce(__split_group, {value})" if self._has_twins else value
        return split_sql(tied, self.recipe.splits)

    def ledger(self, where: str = "true") -> str:
        """SQL of the verdicts in the columns of `decisions`, without the selection's id.

        Gates come first, in the order of clip ids, then the stages, in that order as well.
        """
        parts = []
        if self.gates:
            structs = ", ".join(map(self._verdict, self.gates, self.names))
            parts.append(
                "select clip_id, 'gate' as stage, unnest([" + structs + "], recursive := true) "
                f"from (from judged where {where} order by clip_id)"
            )
        parts += [
            (
                f"select clip_id, {sql_text(item.stage)} as stage, {sql_text(item.gate)} as gate, "
                f"{item.value} as value, {sql_text(item.predicate)} as predicate, "
                f"{item.passed} as passed, "
                f"case when not ({item.passed}) then {item.reason} end as reason "
                f"from survivors where ({item.reached}) and {where} order by clip_id"
            )
            for item in self.stages
        ]
        return " union all ".join(f"({part})" for part in parts)

    def _verdict(self, gate: Gate, verdict: str) -> str:
        predicate = sql_text(gate.predicate)
        reason = (
            f"case when {verdict} then null when {verdict} is null then {self._null_reason(gate)} "
            f"else {sql_text('does not hold: ' + gate.predicate)} end"
        )
        return (
            f"{{'gate': {sql_text(gate.name)}, 'value': {_value(gate.columns)}, "
            f"'predicate': {predicate}, 'passed': coalesce({verdict}, false), 'reason': {reason}}}"
        )

    def _null_reason(self, gate: Gate) -> str:
        cases = [
            f"when {sql_name(name)} is null then {sql_text(self._absence(name))}"
            for name in gate.columns
        ]
        nothing = sql_text(f"gives NULL: {gate.predicate}")
        return f"case {' '.join(cases)} else {nothing} end" if cases else nothing

    def _absence(self, column: str) -> str:
        if column not in self.session.operators:
            return f"{column} is NULL"
        table, _ = self.session.operators[column]
        operator = table.removeprefix("scores/")
        return f"{column} is NULL: operator {operator} has no value for this clip"

    # -- running -----------------------------------------------------------------------------

    def execute(self, sql: str) -> None:
        """Run checked SQL on the locked connection, within the limits."""
        with self._guarded() as connection:
            connection.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self._guarded() as connection:
            return connection.execute(sql).fetchall()

    def row(self, sql: str) -> tuple[Any, ...]:
        """The only row of a query."""
        (row,) = self.rows(sql)
        return row

    def arrow(self, sql: str) -> pa.Table:
        with self._guarded() as connection:
            return connection.sql(sql).to_arrow_table()

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """When evaluation fails on some clip's values, find the gate that does."""
        try:
            yield
        except QueryError:
            for gate in self.gates:
                try:
                    self.row(f"select count((\n{gate.predicate}\n)) from clips")
                except QueryError as error:
                    raise GateError(
                        f"gate {gate.name!r} fails on some clip: {error.problem}",
                        hint="try_cast(x as type) gives NULL where a value does not fit",
                    ) from error
            raise

    @contextmanager
    def _guarded(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self.session.connection
        with time_limit(connection, self.limits.seconds):
            try:
                yield connection
            except (duckdb.InterruptException, duckdb.OutOfMemoryException):
                raise
            except duckdb.Error as error:
                raise QueryError(str(error)) from error


def _columns(**values: Iterable[str]) -> pa.Table:
    return pa.table({name: pa.array(list(items), pa.string()) for name, items in values.items()})


def _value(columns: Sequence[str]) -> str:
    """SQL of the measurements as text: the bare value, or `name=value` for several."""
    if not columns:
        return "null::varchar"
    if len(columns) == 1:
        return f"{sql_name(columns[0])}::varchar"
    named = [
        f"{sql_text(name + '=')} || coalesce({sql_name(name)}::varchar, 'NULL')" for name in columns
    ]
    return f"concat_ws(', ', {', '.join(named)})"
