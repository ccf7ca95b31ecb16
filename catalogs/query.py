"""SQL over a catalog: DuckDB views on exactly the files of one snapshot.

Every table is a view under its name (`scores/exposure` is `scores_exposure`), and two more are
made for people:

- `clips`: one wide row per clip of one cutting: its span, its source's columns, and the newest
  version of every operator's columns;
- `clips_all`: the spans of every cutting, as stored.

The wide view joins only what a query mentions, so it costs what a hand-written join would. The
functions of `catalogs.unpack` read packed tokens as lists. The connection is locked: it reads
files below the catalog and nothing else, and runs only statements that read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from catalogs.errors import NotFoundError, QueryError, nearest
from catalogs.files import DataFile
from catalogs.result import Result
from catalogs.schema import TABLES, Column, spec_of, view_name
from catalogs.unpack import MACROS

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Result", "Session", "sql_name", "sql_text"]

Params = Sequence[Any] | Mapping[str, Any] | None

_WORD = re.compile(r"[a-z_][a-z0-9_]*")
_EXPLAIN = re.compile(r"^\s*explain\s+(analyze\s+)?", re.IGNORECASE)
_READING = ("SELECT", "EXPLAIN", "RELATION")
_LISTING = {"show", "information_schema", "duckdb_views", "duckdb_columns", "duckdb_tables"}
_SHARED = {"created", "run_id", "op_version"}


def sql_text(value: str) -> str:
    """A SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_name(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class Session:
    """A locked connection on one snapshot. `cutting` picks the cutting of the view `clips`."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        cutting: str | None = None,
        memory: str | None = None,
        threads: int | None = None,
    ):
        self.catalog = catalog
        self._cutting = cutting
        self.connection = self._connect(memory, threads)
        self._made: set[str] = set()
        self._wide = ""
        names = {*catalog.tables(), *TABLES} - {"commits"}
        self._tables = {view_name(table): table for table in sorted(names)}

    @cached_property
    def cutting(self) -> str | None:
        """The cutting that the view `clips` shows; None while there is none."""
        return self._cutting or newest_cutting(self.catalog)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def _connect(self, memory: str | None, threads: int | None) -> duckdb.DuckDBPyConnection:
        config: dict[str, Any] = {"autoinstall_known_extensions": False}
        if memory:
            config["memory_limit"] = memory
        if threads:
            config["threads"] = threads
        connection = duckdb.connect(config=config)
        storage = self.catalog.storage
        connection.execute("set global TimeZone = 'UTC'")
        connection.execute("set enable_progress_bar = false")
        connection.execute(f"set temp_directory = {sql_text(str(storage.spill_folder()))}")
        if not storage.is_local:
            from obstore.fsspec import FsspecStore

            connection.register_filesystem(FsspecStore(storage.root.split("://")[0]))
        connection.execute(f"set allowed_directories = [{sql_text(storage.root + '/')}]")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        return connection

    def sql(self, query: str, params: Params = None) -> Result:
        """Ask in SQL. `?` and `$name` in the query are filled from `params`."""
        self._refuse_writes(query)
        self.prepare(query)
        try:
            relation = self.connection.sql(query, params=params)
        except duckdb.Error as error:
            raise self._explained(error) from error
        if relation is None:
            raise QueryError("the query returns nothing", allowed="statements that read")
        return Result(
            relation,
            prepare=lambda: self.prepare(query),
            stream=lambda: self.connection.cursor().sql(query, params=params),
        )

    def prepare(self, query: str) -> None:
        """Make the views that a query mentions."""
        lowered = query.lower()
        words = set(_WORD.findall(lowered))
        words |= {name.lower() for name in self._odd_names if name.lower() in lowered}
        wanted = set(self._tables) | {"clips", "clips_all"}
        if not words & _LISTING:
            wanted &= words
        for name in sorted(words & MACROS.keys() - self._made):
            self.connection.execute(f"create macro {name}(b) as {MACROS[name]}")
            self._made.add(name)
        for name in sorted(wanted - {"clips", "clips_all"}):
            self._view(name, lambda name=name: self.scan(self._tables[name]))
        if "clips_all" in wanted:
            self._view("clips_all", lambda: self.scan("clips"))
        if "clips" in wanted:
            every = bool(words & _LISTING) or self._asks_for_all(query)
            wide = self._wide_sql(None if every else words)
            if wide != self._wide:
                self.connection.execute(f"create or replace view clips as {wide}")
                self._wide = wide

    def _wide_sql(self, words: set[str] | None) -> str:
        """SQL of the view `clips`; with `words`, of what a query with these words can ask for."""
        return wide_clips(self, words)

    def scan(self, table: str, files: Iterable[DataFile] | None = None) -> str:
        """SQL that reads a table's files, or an empty table of its columns.

        Columns that a table of ours gained since the catalog was written are there and NULL.
        """
        uris = self.catalog.uris(table, files)
        stored = self.catalog.columns(table)
        names = {column.name for column in stored}
        columns = [*stored, *(c for c in spec_of(table).columns if c.name not in names)]
        if not uris:
            return f"select * from {self._empty(table, columns)}"
        body = f"select * from read_parquet([{', '.join(map(sql_text, uris))}])"
        if len(columns) > len(stored):
            body += f" union all by name select * from {self._empty(table, columns)}"
        return body

    def _empty(self, table: str, columns: Sequence[Column]) -> str:
        name = f"__empty_{view_name(table)}"
        if name not in self._made:
            self.keep(name, pa.schema([column.field() for column in columns]).empty_table())
            self._made.add(name)
        return name

    def keep(self, name: str, rows: pa.Table) -> None:
        """Rows as a table of this session, which streams on cursors of their own see too."""
        self.connection.register("__rows", rows)
        self.connection.execute(f"create or replace table {name} as from __rows")
        self.connection.unregister("__rows")

    def _view(self, name: str, body: Any) -> None:
        if name not in self._made:
            self.connection.execute(f"create or replace view {sql_name(name)} as {body()}")
            self._made.add(name)

    def _refuse_writes(self, query: str) -> None:
        try:
            statements = self.connection.extract_statements(query)
        except duckdb.Error as error:
            raise self._explained(error) from error
        if len(statements) != 1:
            raise QueryError(f"{len(statements)} statements were given", allowed="one statement")
        kind = statements[0].type.name
        if kind not in _READING:
            raise QueryError(
                f"{kind} is not a statement that reads",
                allowed="select, describe, summarize, show, explain",
            )

    def _explained(self, error: duckdb.Error) -> QueryError:
        text = str(error)
        missing = re.search(r"Table with name \"?([\w/@.]+)\"? does not exist", text)
        if missing:
            known = sorted({*self._tables, "clips", "clips_all"})
            return QueryError(
                f"there is no table {missing.group(1)!r} in this catalog",
                allowed=", ".join(known),
                hint=nearest(missing.group(1), known),
            )
        return QueryError(text, hint="clipmill schema CATALOG lists the columns")

    @cached_property
    def operators(self) -> dict[str, tuple[str, str]]:
        """Operator columns of the wide view: name there, the table and the name in it.

        A column whose name is taken already is called after its operator: `motion_frames`.
        """
        taken = {*_CLIP_COLUMNS, *map(source_column, SOURCE_COLUMNS)}
        columns: dict[str, tuple[str, str]] = {}
        for table in self.catalog.tables():
            if not table.startswith("scores/"):
                continue
            for column in self.catalog.columns(table):
                if column.name == "clip_id" or column.name in _SHARED:
                    continue
                name = column.name
                if name in taken:
                    name = f"{view_name(table.removeprefix('scores/'))}_{name}"
                taken.add(name)
                columns[name] = (table, column.name)
        return columns

    @cached_property
    def _odd_names(self) -> list[str]:
        """Operator columns that are not plain words."""
        return [name for name in self.operators if not _WORD.fullmatch(name.lower())]

    def _asks_for_all(self, query: str) -> bool:
        """Whether a query may want columns that it does not name (`*`, natural join)."""
        words = set(_WORD.findall(query.lower()))
        if "select" not in words or words & {"describe", "summarize", "columns", "natural"}:
            return True
        if "*" not in query:
            return False
        select = _EXPLAIN.sub("", query)
        found = self.connection.execute("select json_serialize_sql(?)", [select]).fetchall()
        tree = json.loads(found[0][0])
        return bool(tree["error"]) or _has_star(tree)


def newest_cutting(catalog: Catalog) -> str | None:
    """The cutting that was written last, from the files' value ranges alone."""
    files = [item for item in catalog.files("clips") if item.largest.get("created") is not None]
    if not files:
        return None
    last = max(files, key=lambda item: item.largest["created"])
    if (cutting := last.constant("cutting")) is not None:
        return str(cutting)
    uri = sql_text(catalog.uris("clips", [last])[0])
    with Session(catalog, cutting="-") as session:
        query = f"select cutting from read_parquet({uri}) order by created desc limit 1"
        rows = session.connection.execute(query).fetchall()
    return str(rows[0][0]) if rows else None


def resolve_cutting(catalog: Catalog, cutting: str) -> str:
    """A cutting by its hash or a unique beginning of it."""
    with Session(catalog, cutting="-") as session:
        found = [row[0] for row in session.sql("select distinct cutting from clips_all").rows()]
    matches = [name for name in found if name.startswith(cutting)]
    if len(matches) == 1:
        return str(matches[0])
    raise NotFoundError(
        f"{'several cuttings begin' if matches else 'no cutting begins'} with {cutting!r}",
        allowed=", ".join(sorted(found)) or "none yet: run clipmill curate",
    )


SOURCE_COLUMNS = tuple(
    column.name
    for column in TABLES["sources"].columns
    if column.name not in {"source_id", "kind", "created", "run_id"}
)
_CLIP_COLUMNS = tuple(column.name for column in TABLES["clips"].columns)


def source_column(name: str) -> str:
    """What a source's column is called in the wide view: `source_fps` where a clip has `fps`."""
    return f"source_{name}" if name in _CLIP_COLUMNS else name


def wide_columns(session: Session) -> list[str]:
    """Names of all columns of the wide view, in order."""
    return [*_CLIP_COLUMNS, *map(source_column, SOURCE_COLUMNS), *session.operators]


def wide_clips(session: Session, words: set[str] | None) -> str:
    """SQL of the wide view. With `words`, only what a query with these words can ask for."""
    catalog = session.catalog
    source = [n for n in SOURCE_COLUMNS if words is None or source_column(n) in words]
    owned: dict[str, dict[str, str]] = {}
    for name, (table, column) in session.operators.items():
        if words is None or name.lower() in words:
            owned.setdefault(table, {})[name] = column
    select = [f"c.{name}" for name in _CLIP_COLUMNS]
    joins = []
    if source:
        select += [f"s.{name} as {source_column(name)}" for name in source]
        joins.append(f"left join ({session.scan('sources')}) s on s.source_id = c.source_id")
    for number, (table, columns) in enumerate(owned.items()):
        select += [f"o{number}.{sql_name(name)}" for name in columns]
        joins.append(
            f"left join ({_newest_scores(session, table, columns)}) o{number} "
            f"on o{number}.clip_id = c.clip_id"
        )
    base = _clips_of(session, catalog, session.cutting)
    return f"select {', '.join(select)} from ({base}) c {' '.join(joins)}"


def _clips_of(session: Session, catalog: Catalog, cutting: str | None) -> str:
    if cutting is None:
        return session.scan("clips", ())
    files = [
        item
        for item in catalog.files("clips")
        if item.smallest.get("cutting", cutting) <= cutting <= item.largest.get("cutting", cutting)
    ]
    body = session.scan("clips", files)
    if all(item.constant("cutting") == cutting for item in files):
        return body
    return f"{body} where cutting = {sql_text(cutting)}"


def _newest_scores(session: Session, table: str, columns: Mapping[str, str]) -> str:
    """SQL of an operator's columns, each clip once, by the newest version that measured it."""
    names = ", ".join(f"{sql_name(column)} as {sql_name(n)}" for n, column in columns.items())
    versions: dict[int | None, list[DataFile]] = {}
    for item in session.catalog.files(table):
        versions.setdefault(item.constant("op_version"), []).append(item)
    if None in versions:
        return (
            f"select clip_id, {names} from ({session.scan(table)}) qualify "
            "row_number() over (partition by clip_id order by op_version desc, created desc) = 1"
        )
    newer: list[DataFile] = []
    parts = []
    for _, files in sorted(versions.items(), reverse=True):
        part = f"select clip_id, {names} from ({session.scan(table, files)})"
        if newer:
            part += f" anti join ({session.scan(table, newer)}) using (clip_id)"
        parts.append(part)
        newer += files
    return " union all ".join(parts) or f"select clip_id, {names} from ({session.scan(table)})"


def _has_star(node: Any) -> bool:
    if isinstance(node, dict):
        if node.get("class") == "STAR" or node.get("join_type") == "NATURAL":
            return True
        return any(map(_has_star, node.values()))
    return isinstance(node, list) and any(map(_has_star, node))
