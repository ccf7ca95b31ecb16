"""A recipe evaluated on a snapshot: every gate for every clip, then duplicates, then balance.

A `Judgement` opens a locked connection, checks the recipe against the columns that are there, and
offers the verdicts as SQL. Nothing is written: `catalogs.select` records a judgement, `funnel` and
`why` only look at one. Big corpora are handled set-wise inside DuckDB, in two temporary tables:

- `judged`: every clip with the measurements that decide and a verdict per gate (true, false, NULL);
- `survivors`: the clips that pass all gates, with their rank in their group of duplicates and in
  their group of the balance.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from catalogs.errors import GateError, QueryError, RecipeError
from catalogs.gates import Expression, Gate, Grammar
from catalogs.query import Session, resolve_cutting, sql_name, sql_text, wide_columns
from catalogs.recipe import Recipe
from catalogs.splits import split_sql

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from catalogs.files import DataFile

__all__ = ["DEFAULT_LIMITS", "Judgement", "Limits", "Stage", "time_limit"]

DUPLICATE_GROUP = "dup_group"
"""The column of `clips` that names the group of near-duplicates; NULL for a clip without any."""


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
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise GateError(
            f"the gates were stopped after {seconds:g} s", hint="simplify them or allow more time"
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise GateError(f"the gates need too much memory: {error}") from error
    finally:
        timer.cancel()
        timer.join()


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
    other clips. `operators` maps known operators to their columns, for better errors.
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
    ):
        self.recipe = recipe
        self.limits = limits
        self.cutting = self._choose_cutting(catalog, recipe, cutting)
        self.session = _ClipSession(
            catalog, only, cutting=self.cutting, memory=limits.memory, threads=limits.threads
        )
        self.columns = wide_columns(self.session)
        self._check(Grammar(self.columns, operators))
        self._bind()

    def __enter__(self) -> Judgement:
        return self

    def __exit__(self, *_: object) -> None:
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
        self.balance_by: Expression | None = None
        self.group_by: Expression | None = None
        if self.recipe.dedup and self.recipe.dedup.keep:
            self.keep = grammar.order(self.recipe.dedup.keep, "dedup keep")
        if self.recipe.balance:
            self.balance_by = grammar.expression(self.recipe.balance.by, "balance by")
        if self.recipe.splits:
            self.group_by = grammar.expression(self.recipe.splits.group_by, "splits group_by")
        if self._has_near and DUPLICATE_GROUP not in self.columns:
            raise RecipeError(
                f"recipe {self.recipe.name!r} drops near-duplicates, and this catalog has no "
                f"column {DUPLICATE_GROUP!r} that says which clips are",
                hint="find duplicates first, or remove `near` from the recipe's `dedup`",
            )

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
        for extra, what in ((self.balance_by, "balance by"), (self.group_by, "splits group_by")):
            if extra is not None:
                self._type(extra.sql, what)

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
        for extra in (self.keep, self.balance_by, self.group_by):
            used |= dict.fromkeys(extra.columns if extra else ())
        if self._has_near:
            used[DUPLICATE_GROUP] = None
        return list(used)

    @property
    def source(self) -> str:
        """SQL of `judged`, the measurements and verdicts of every clip."""
        verdicts = [
            f"(\n{gate.predicate}\n) as {name}"
            for gate, name in zip(self.gates, self.names, strict=True)
        ]
        return f"select {', '.join([*map(sql_name, self.used_columns), *verdicts])} from clips"

    @property
    def _has_near(self) -> bool:
        return self.recipe.dedup is not None and self.recipe.dedup.near is not None

    def materialise(self) -> None:
        """Evaluate everything once, into the tables `judged` and `survivors`."""
        with self.blaming():
            self.execute(f"create or replace temp table judged as {self.source}")
        kind = "table" if self.stages else "view"
        self.execute(f"create or replace temp {kind} survivors as {self._ranked()}")

    def _ranked(self) -> str:
        """SQL of the survivors, with the ranks that the stages look at."""
        body = f"select * from judged where {self.all_passed}"
        order = f"{self.keep.sql}\n, clip_id" if self.keep else "clip_id"
        if self._has_near:
            window = f"(partition by {DUPLICATE_GROUP} order by {order})"
            body = (
                f"select *, case when {DUPLICATE_GROUP} is null then 1 else row_number() over "
                f"{window} end as __copy, first_value(clip_id) over {window} as __best "
                f"from ({body}) clips"
            )
        if self.balance_by is not None:
            first = "__copy = 1" if self._has_near else "true"
            body = (
                f"select *, (\n{self.balance_by.sql}\n)::varchar as __group, row_number() over "
                f"(partition by (\n{self.balance_by.sql}\n), {first} order by {order}) as __rank "
                f"from ({body}) clips"
            )
        return body

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The steps after the gates, in order."""
        stages = []
        reached = "true"
        if self._has_near:
            order = self.keep.sql if self.keep else "clip_id"
            near = Stage(
                stage="dedup",
                gate="near",
                predicate=f"the first of its {DUPLICATE_GROUP} by {order}",
                reached=reached,
                passed="__copy = 1",
                value=f"{DUPLICATE_GROUP}::varchar",
                reason="'near-duplicate of ' || __best",
            )
            stages.append(near)
            reached = near.passed
        if self.recipe.balance is not None:
            by, cap = self.recipe.balance.by, self.recipe.balance.cap
            balance = Stage(
                stage="balance",
                gate=by,
                predicate=f"among the first {cap} of its {by}",
                reached=reached,
                passed=f"__rank <= {cap}",
                value="__group",
                reason=f"'number ' || __rank || ' of its group, the cap is {cap}'",
            )
            stages.append(balance)
        return tuple(stages)

    @property
    def kept(self) -> str:
        """SQL condition over `survivors`: the clip is selected."""
        return " and ".join(f"({stage.passed})" for stage in self.stages) or "true"

    @property
    def split(self) -> str:
        """SQL over `survivors clips`: the clip's split. Clips without a group go by source."""
        group = f"coalesce((\n{self.group_by.sql}\n)::varchar, source_id)" if self.group_by else ""
        return split_sql(group, self.recipe.splits)

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
                f"select clip_id, {sql_text(item.stage)}, {sql_text(item.gate)}, {item.value}, "
                f"{sql_text(item.predicate)}, {item.passed}, "
                f"case when not ({item.passed}) then {item.reason} end "
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
