"""A recipe whose gates are being moved: what each change keeps, gains and loses, at once.

    bench = Workbench(catalog, load_recipe("web-video"))
    change = bench.judge({"motion": "motion_px between 1 and 20"})
    change.funnel, change.gained.clips, change.lost.clips

The columns that the recipe looks at are read once and held in memory. Every change is then judged
by the code of `funnel` and `select` on that table, so its numbers are theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from catalogs.bounds import Bound, bounds_of
from catalogs.charts import Histogram
from catalogs.edges import Edge, edges_of
from catalogs.funnel import SECONDS_PER_HOUR, Funnel, count_funnel
from catalogs.gates import Grammar
from catalogs.histograms import Range, histograms, ranges_of
from catalogs.judge import Judgement, Limits
from catalogs.query import Session, sql_name, sql_text, wide_clips, wide_columns
from catalogs.recipe import Recipe

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Change", "Slider", "Swing", "Workbench"]

LIMITS = Limits(seconds=60.0, memory="2GB")
EXAMPLES = 12
_PLACE = ("clip_id", "source_id", "kind", "start_s", "end_s", "duration_s")
_HELD, _BEFORE = "__held", "__kept_as_loaded"


@dataclass(frozen=True, slots=True)
class Slider:
    """A limit that can be moved, and how the values that it is compared with are spread."""

    bound: Bound
    chart: Histogram
    median: float | None
    """None where no value was measured, or all are equal."""


@dataclass(frozen=True, slots=True)
class Swing:
    """Clips that a change brings in or throws out, with a few of them."""

    clips: int
    hours: float
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What some gates do, beside those that the recipe was loaded with."""

    funnel: Funnel
    gained: Swing
    lost: Swing


class _Held(Session):
    """A session whose view `clips` is a table in memory with some columns of it."""

    columns: tuple[str, ...] = ()

    def hold(self, columns: Sequence[str]) -> None:
        """Read columns of the wide view, in the place of those that were held."""
        wide = wide_clips(self, {name.lower() for name in columns})
        names = ", ".join(map(sql_name, columns))
        self.connection.execute(
            f"create or replace table {_HELD} as select {names}, b.clip_id is not null as __before "
            f"from ({wide}) c left join (select clip_id from {_BEFORE}) b using (clip_id)"
        )
        self.columns = tuple(columns)

    def _wide_sql(self, words: set[str] | None) -> str:
        return f"select * from {_HELD}"


class Workbench:
    """One recipe on one version of a catalog. Its methods may be called from several threads."""

    def __init__(
        self,
        catalog: Catalog,
        recipe: Recipe,
        *,
        cutting: str | None = None,
        operators: Mapping[str, Sequence[str]] | None = None,
        limits: Limits = LIMITS,
    ):
        self.recipe = recipe
        self._catalog = catalog
        self._operators = operators
        self._limits = limits
        self._lock = threading.Lock()
        with Judgement(
            catalog, recipe, cutting=cutting, operators=operators, limits=limits
        ) as loaded:
            used, chosen = loaded.used_columns, loaded.session.cutting
        self._session = _Held(catalog, cutting=chosen, memory=limits.memory)
        self._grammar = Grammar(wide_columns(self._session), operators)
        self._remember_nothing()
        self._session.hold(list(dict.fromkeys((*_PLACE, *used))))
        self._remember(self._judgement(recipe))

    @property
    def cutting(self) -> str | None:
        """The cutting whose clips are judged."""
        return self._session.cutting

    def with_gates(self, gates: Mapping[str, str]) -> Recipe:
        """The recipe with some gates changed or added; an empty predicate removes its gate."""
        return self.recipe.with_gates(gates)

    def judge(self, gates: Mapping[str, str]) -> Change:
        """What the recipe does with some gates changed, beside the recipe as it was loaded."""
        with self._lock:
            self._hold_what(gates.values())
            judgement = self._judgement(self.with_gates(gates))
            if judgement.stages:
                judgement.materialise()
                found = count_funnel(judgement)
            else:
                with judgement.blaming():
                    found = count_funnel(judgement, judgement.source)
            return Change(found, *self._swings(judgement))

    def sliders(self, predicate: str) -> list[Slider]:
        """The limits of a gate with the values that they are compared with."""
        with self._lock:
            self._hold_what([predicate])
            return [self._slider(bound) for bound in bounds_of(predicate)]

    def edges(self, predicate: str, count: int) -> list[Edge]:
        """The clips nearest to each limit of a gate, on either side."""
        with self._lock:
            self._hold_what([predicate])
            return edges_of(self._session.sql, predicate, count)

    def clips(self, clip_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Where clips are: by id, their place in the source and its address."""
        ids = ", ".join(map(sql_text, clip_ids)) or "NULL"
        with self._lock:
            rows = self._session.sql(
                f"select {', '.join(_PLACE)} from clips where clip_id in ({ids})"
            ).dicts()
            sources = ", ".join(sql_text(row["source_id"]) for row in rows) or "NULL"
            uris = dict(
                self._session.sql(
                    f"select source_id, uri from sources where source_id in ({sources})"
                ).rows()
            )
        return {row["clip_id"]: {**row, "uri": uris.get(row["source_id"])} for row in rows}

    # -- the table in memory -----------------------------------------------------------------

    def _judgement(self, recipe: Recipe) -> Judgement:
        return Judgement(
            self._catalog,
            recipe,
            operators=self._operators,
            limits=self._limits,
            session=self._session,
        )

    def _hold_what(self, predicates: Sequence[str] | Any) -> None:
        """Read what changed gates look at and the recipe did not."""
        asked = {
            column
            for predicate in predicates
            if predicate.strip()
            for column in self._grammar.expression(predicate, "the gate").columns
        }
        if missing := sorted(asked - set(self._session.columns)):
            self._session.hold([*self._session.columns, *missing])

    def _remember_nothing(self) -> None:
        self._session.connection.execute(f"create table {_BEFORE} (clip_id varchar)")

    def _remember(self, judgement: Judgement) -> None:
        """Note which clips the recipe keeps as it was loaded."""
        if judgement.stages:
            judgement.materialise()
        now = self._now(judgement)
        connection = self._session.connection
        connection.execute(f"insert into {_BEFORE} select clip_id from clips where {now}")
        connection.execute(
            f"update {_HELD} set __before = true where clip_id in (select clip_id from {_BEFORE})"
        )

    @staticmethod
    def _now(judgement: Judgement) -> str:
        """SQL over the clips held: the clip is kept."""
        if judgement.stages:
            return f"clip_id in (select clip_id from survivors where {judgement.kept})"
        passed = [f"coalesce((\n{gate.predicate}\n), false)" for gate in judgement.gates]
        return " and ".join(passed) or "true"

    def _swings(self, judgement: Judgement) -> Iterator[Swing]:
        """What is gained, and what is lost."""
        sides = ("__now and not __before", "__before and not __now")
        clips = (
            f"(select clip_id, duration_s, __before, {self._now(judgement)} as __now from clips)"
        )
        counts = ", ".join(
            f"count(*) filter ({side}), coalesce(sum(duration_s) filter ({side}), 0)"
            for side in sides
        )
        numbers = judgement.row(f"select {counts} from {clips}")
        for side, count, seconds in zip(sides, numbers[::2], numbers[1::2], strict=True):
            shown = f"select clip_id from {clips} where {side} order by clip_id limit {EXAMPLES}"
            ids = judgement.rows(shown) if count else []
            yield Swing(count, seconds / SECONDS_PER_HOUR, tuple(row[0] for row in ids))

    def _slider(self, bound: Bound) -> Slider:
        ask = self._session.sql
        relation = f"(select ({bound.value})::double as value from clips)"
        found = ranges_of(ask, relation, ["value"])
        if not found:
            room = abs(bound.limit) or 1.0
            nothing = Histogram(bound.limit - room, bound.limit + room, ())
            return Slider(bound, nothing, None)
        reached = _reaching(found[0], bound.limit)
        return Slider(bound, histograms(ask, relation, [reached])["value"], reached.median)


def _reaching(found: Range, limit: float) -> Range:
    """A range that the limit lies in, too."""
    return replace(found, low=min(found.low, limit), high=max(found.high, limit))
