"""Views of the grid: which clips, in which order, as what a page's address says.

A view is asked for by ranges of numeric columns, values of text columns, a condition in SQL, a text
that captions should be about or a clip to be like, and an order. It is found once and kept, as an
array of places (`clip_table`), so that any page of it is a slice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from catalogs.errors import QueryError, UsageError, nearest
from catalogs.query import Session, sql_name, sql_text
from clipmill.web.clip_table import ClipTable, Places, as_arrow, as_numpy, mentioned
from clipmill.web.state import MEMORY, QUESTION_S, Edition, stopped_after

__all__ = ["Asked", "View", "clip_table", "find_view"]

MOST_FOUND = 1_000
"""Clips that a search by text or likeness brings at most."""
MISSING = "\\N"
"""Stands for NULL among the values of a text column."""
_PLAIN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
_UNKNOWN = re.compile(r'(?:column|Column)(?: with name)? "?([\w.]+)"? (?:not found|does not exist)')


@dataclass(frozen=True)
class Asked:
    """What a view is asked to show.

    `ranges` are `column:low:high` with either end empty; `values` are `column:value`.
    """

    ranges: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    where: str = ""
    text: str = ""
    like: str = ""
    sort: str = ""
    """A column, with `-` before it for the largest first."""


@dataclass(frozen=True)
class View:
    """The clips that were asked for, and the condition that they meet as SQL."""

    places: Places
    condition: str

    def page(self, start: int, count: int) -> Places:
        return self.places[start : start + count]


def clip_table(edition: Edition) -> ClipTable:
    """The clips of an edition; read when they are first asked for."""

    def read() -> ClipTable:
        return ClipTable(Session(edition.catalog.at(edition.version), memory=MEMORY))

    return edition.kept("clip table", read)


def find_view(edition: Edition, asked: Asked) -> View:
    """The view, found now or kept from before."""
    table = clip_table(edition)
    return edition.views.get(asked, lambda: _found(edition, table, asked))


def _found(edition: Edition, table: ClipTable, asked: Asked) -> View:
    condition = _condition(table, asked)
    if asked.text or asked.like:
        return _search(edition, table, asked, condition)
    if not condition and not asked.sort:
        return View(np.arange(len(table), dtype=np.int32), "")
    return View(_filtered(edition, table, condition, asked.sort), condition)


def _condition(table: ClipTable, asked: Asked) -> str:
    parts = [_range(table, text) for text in asked.ranges]
    parts += _values(table, asked.values)
    if asked.where.strip():
        parts.append(f"(\n{asked.where.strip()}\n)" if parts else asked.where.strip())
    return " and ".join(parts)


def _range(table: ClipTable, text: str) -> str:
    name, low, high = _parts(text, 3)
    column = _column(table, name)
    limits = [_number(text, end) if end else None for end in (low, high)]
    match limits:
        case [None, None]:
            raise UsageError(f"the range {text!r} has no end", allowed="column:low:high")
        case [None, most]:
            return f"{column} <= {most}"
        case [least, None]:
            return f"{column} >= {least}"
        case [least, most]:
            return f"{column} between {least} and {most}"
    raise AssertionError(limits)


def _values(table: ClipTable, texts: Sequence[str]) -> list[str]:
    """A condition for each column of which some values are wanted."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        name, value = _parts(text, 2)
        wanted.setdefault(name, []).append(value)
    parts = []
    for name, values in wanted.items():
        column = _column(table, name)
        known = [sql_text(value) for value in values if value != MISSING]
        choices = [f"{column}::varchar in ({', '.join(known)})"] if known else []
        if MISSING in values:
            choices.append(f"{column} is null")
        parts.append(choices[0] if len(choices) == 1 else f"({' or '.join(choices)})")
    return parts


def _column(table: ClipTable, name: str) -> str:
    """A column in SQL, quoted unless it certainly is no word of SQL."""
    known = table.known(name)
    return known if _PLAIN.fullmatch(known) else sql_name(known)


def _parts(text: str, count: int) -> list[str]:
    parts = text.split(":", count - 1)
    if len(parts) != count:
        raise UsageError(f"{text!r} is no filter", allowed="column:low:high, or column:value")
    return parts


def _number(text: str, end: str) -> str:
    try:
        value = float(end)
    except ValueError as error:
        raise UsageError(f"{end!r} in {text!r} is not a number") from error
    if not np.isfinite(value):
        raise UsageError(f"{end!r} in {text!r} is not a finite number")
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _filtered(edition: Edition, table: ClipTable, condition: str, sort: str) -> Places:
    order, key = "", sort.removeprefix("-")
    if key:
        direction = "desc" if sort.startswith("-") else "asc"
        order = f" order by {sql_name(table.known(key))} {direction} nulls last, place"
    names = dict.fromkeys([*mentioned(condition, table.columns), *([key] if key else [])])
    # Named so only where it must be: the session makes the wide view when it reads that name.
    alias = " clips" if "clips" in condition.lower() else ""
    where = f" where (\n{condition}\n)" if condition else ""
    table.load(list(names))
    with (
        edition.session() as session,
        table.relation(session, list(names)) as relation,
        _explained(table),
    ):
        rows = session.sql(f"select place from {relation}{alias}{where}{order}").arrow()
    places = as_numpy(rows["place"])
    # A condition is trusted to be one expression only as far as it cannot do harm otherwise.
    if places.dtype != np.int32 or (
        places.size and not 0 <= places.min() <= places.max() < len(table)
    ):
        raise QueryError("this is not a condition", allowed="one condition over the columns")
    return places if order else np.sort(places)


@contextmanager
def _explained(table: ClipTable) -> Iterator[None]:
    """Turn DuckDB's words about an unknown column into ours, with the nearest name."""
    try:
        yield
    except QueryError as error:
        if found := _UNKNOWN.search(error.problem):
            name = found.group(1)
            near = nearest(name, table.columns)
            raise QueryError(f"there is no column {name!r}", hint=near) from error
        raise


def _search(edition: Edition, table: ClipTable, asked: Asked, condition: str) -> View:
    """Best first, by the words of captions and by every embedding that can judge."""
    from curation.search import Searcher

    def ready() -> Searcher:
        return Searcher(edition.catalog.at(edition.version))

    with edition.searching, _explained(table):
        searcher = edition.kept("searcher", ready)
        with stopped_after(QUESTION_S, searcher.session):
            hits = searcher.search(
                asked.text or None,
                like=asked.like or None,
                where=condition or None,
                limit=MOST_FOUND,
            )
    places = np.array([table.place_of(hit.clip_id) for hit in hits], np.int32)
    if asked.sort:
        places = places[_sorted(table, places, asked.sort)]
    return View(places, condition)


def _sorted(table: ClipTable, places: Places, sort: str) -> Places:
    """The order of a few clips by a column, the largest first after `-`."""
    key = table.known(sort.removeprefix("-"))
    values = table.table([key]).select([key]).take(as_arrow(places))
    direction = "descending" if sort.startswith("-") else "ascending"
    return as_numpy(pc.sort_indices(values, sort_keys=[(key, direction)]))
