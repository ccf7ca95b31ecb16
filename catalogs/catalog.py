"""A catalog: one folder or prefix that holds tables, and the commits that make them visible.

    cat = Catalog.create("corpus")
    with cat.transaction("first import") as txn:
        txn.append("sources", sources)
        txn.append("clips", clips)
    cat.sql("select count(*) from clips where duration_s > 3").fetchone()

How a transaction stays whole: its Parquet files are written first, seen by nobody. Then each
table's log gets a version that builds on the version of the newest catalog commit, and at last
one row in `commits` names all those versions together. Readers only ever pin a row of `commits`.
A writer that dies before that row leaves stray versions in some logs; the next writer to touch
such a table undoes them while it commits. Each of these steps is a compare-and-swap, so a slow
writer that wakes up late loses the race and starts over instead of doing harm.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.errors import ConflictError, FormatError, NotFoundError, UsageError
from catalogs.rewrite import last_per_key, rewritten_to, rewritten_without, without_existing
from catalogs.schema import FORMAT_VERSION, TABLES, Column, TableSpec, spec_of
from catalogs.storage import Storage
from catalogs.tables import DataFile, DeltaLog, LostRaceError, write_data_file

if TYPE_CHECKING:
    from catalogs.query import Result

__all__ = ["Catalog", "Rows", "Snapshot", "Transaction"]

Rows: TypeAlias = "pa.Table | Sequence[Mapping[str, Any]]"
"""What can be written: an Arrow table or a list of dicts."""

COMMIT_PATIENCE_S = 120.0
FOLD_COMMITS_EVERY = 64
"""Rows of `commits` are folded into one file this often, so that opening reads a short list."""

_COMMITS = TABLES["commits"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A catalog version and the version of every table in it.

    `oldest` is the oldest version that was not vacuumed; `log_version` is the version of the
    `commits` log that was read, which the next commit builds on.
    """

    version: int
    created: datetime
    message: str
    tables: Mapping[str, int]
    oldest: int
    log_version: int = -1


class Catalog:
    """A corpus on disk or in an object store, pinned to one version for reading.

    Opening is lazy: nothing but `catalog.json` is read until a question is asked. A catalog
    object sees the version that was newest when it was opened; `refresh()` moves it on, and its
    own transactions move it along with them.
    """

    def __init__(self, storage: Storage, *, version: int | None = None):
        self.storage = storage
        self._pinned = version
        self._logs: dict[str, DeltaLog] = {}
        self._files: dict[tuple[str, int], tuple[DataFile, ...]] = {}
        self._columns: dict[tuple[str, int], tuple[Column, ...]] = {}

    def __repr__(self) -> str:
        return f"Catalog({self.storage.root!r}, version={self.version})"

    # -- opening ---------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, *, exist_ok: bool = False) -> Catalog:
        """Start an empty catalog at a folder or `s3://` prefix."""
        storage = Storage(path)
        about = {
            "format_version": FORMAT_VERSION,
            "id": uuid.uuid4().hex,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if not storage.create("catalog.json", json.dumps(about, indent=2).encode() + b"\n"):
            if exist_ok:
                return cls.open(path)
            raise UsageError(f"{path} already is a catalog", hint="open it with Catalog.open")
        return cls(storage)

    @classmethod
    def open(cls, path: str | Path, *, version: int | None = None) -> Catalog:
        """Open an existing catalog, at its newest version or at an older one."""
        catalog = cls(Storage(path), version=version)
        found = int(catalog.about["format_version"])
        if found > FORMAT_VERSION:
            raise FormatError(
                f"{path} has format {found}, this clipmill reads up to {FORMAT_VERSION}",
                hint="pip install --upgrade clipmill",
            )
        if found < FORMAT_VERSION:
            raise FormatError(
                f"{path} has format {found}, this clipmill writes format {FORMAT_VERSION}",
                hint=f"clipmill compact {path} --migrate (old versions stay readable)",
            )
        return catalog

    @cached_property
    def about(self) -> dict[str, Any]:
        """The contents of `catalog.json`: format version, id and creation time."""
        try:
            text = self.storage.read("catalog.json")
        except NotFoundError as error:
            raise NotFoundError(
                f"{self.storage.root} is not a catalog (it has no catalog.json)",
                hint="make one with: clipmill curate FOLDER --catalog " + self.storage.root,
            ) from error
        try:
            about: dict[str, Any] = json.loads(text)
            int(about["format_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{self.storage.uri('catalog.json')} is damaged: {error}") from error
        return about

    # -- versions --------------------------------------------------------------------------

    @cached_property
    def snapshot(self) -> Snapshot:
        """The version that this object reads."""
        return self._load_snapshot(self._pinned)

    @property
    def version(self) -> int:
        return self.snapshot.version

    def refresh(self) -> Catalog:
        """Move to the newest version."""
        self._pinned = None
        self.__dict__.pop("snapshot", None)
        return self

    def at(self, moment: int | datetime | str) -> Catalog:
        """This catalog as it was at a version number or at a time."""
        if isinstance(moment, str):
            moment = _parse_moment(moment)
        version = moment if isinstance(moment, int) else self._version_at(moment)
        return Catalog.open(self.storage.root, version=version)

    def history(self) -> pa.Table:
        """All commits, oldest first."""
        log = self._log("commits")
        latest = log.latest()
        if latest is None:
            return _COMMITS.schema.empty_table()
        tables = [self._read_file("commits", item) for item in log.files(latest)]
        return pa.concat_tables(tables or [_COMMITS.schema.empty_table()]).sort_by("version")

    def _version_at(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            moment = moment.astimezone()
        earlier = [row for row in self.history().to_pylist() if row["created"] <= moment]
        if not earlier:
            raise NotFoundError(f"the catalog has no version as old as {moment.isoformat()}")
        return int(earlier[-1]["version"])

    def _load_snapshot(self, version: int | None) -> Snapshot:
        newest = self._newest_commit()
        if version is None or version == newest.version:
            return newest
        if version < newest.oldest:
            raise NotFoundError(
                f"version {version} was vacuumed",
                allowed=f"versions {newest.oldest} to {newest.version}",
            )
        rows = [row for row in self.history().to_pylist() if row["version"] == version]
        if not rows:
            raise NotFoundError(
                f"the catalog has no version {version}",
                allowed=f"versions {newest.oldest} to {newest.version}",
            )
        return _snapshot(rows[0])

    def _newest_commit(self) -> Snapshot:
        log = self._log("commits")
        latest = log.latest()
        files = log.files(latest) if latest is not None else ()
        if not files:
            born = datetime.fromisoformat(self.about["created"])
            return Snapshot(0, born, "created", {}, 0, -1 if latest is None else latest)
        last = max(files, key=lambda item: item.path)
        rows = self._read_file("commits", last)
        return _snapshot(max(rows.to_pylist(), key=lambda row: row["version"]), latest)

    # -- reading ---------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """Names of the tables that hold something at this version, sorted."""
        return sorted(self.snapshot.tables)

    def columns(self, table: str) -> tuple[Column, ...]:
        """The columns of a table with their units and meanings."""
        if table not in self.snapshot.tables:
            return spec_of(table).columns
        version = self.snapshot.tables[table]
        if (table, version) not in self._columns:
            self._columns[table, version] = self._log(table).columns(version)
        return self._columns[table, version]

    def spec(self, table: str) -> TableSpec:
        """A table's specification, with the columns that its owner declared."""
        base = spec_of(table)
        fixed = {column.name for column in base.columns}
        declared = [column for column in self.columns(table) if column.name not in fixed]
        return spec_of(table, declared)

    def files(self, table: str) -> tuple[DataFile, ...]:
        """The Parquet files that hold a table at this version."""
        if table not in self.snapshot.tables:
            return ()
        version = self.snapshot.tables[table]
        if (table, version) not in self._files:
            self._files[table, version] = self._log(table).files(version)
        return self._files[table, version]

    def uris(self, table: str, files: Iterable[DataFile] | None = None) -> list[str]:
        """Full addresses of a table's files."""
        chosen = self.files(table) if files is None else files
        return [self.storage.uri(f"{table}/{item.path}") for item in chosen]

    def rows(self, table: str) -> int:
        """Number of rows, from the log alone."""
        return sum(item.rows for item in self.files(table))

    def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Result:
        """Ask the catalog in SQL. See `catalogs.query` for the views."""
        from catalogs.query import Session

        return Session(self).sql(query, params)

    @property
    def clips(self) -> Result:
        """The wide view: one row per clip of the newest cutting, with every score."""
        return self.sql("select * from clips")

    def diff(self, a: int, b: int, table: str = "clips") -> Any:
        """Rows of a table that were gained, lost or changed between two versions."""
        from catalogs.diff import diff_versions

        return diff_versions(self, a, b, table)

    def _log(self, table: str) -> DeltaLog:
        return self._logs.setdefault(table, DeltaLog(self.storage, table))

    def _read_file(self, table: str, item: DataFile) -> pa.Table:
        return pq.read_table(pa.BufferReader(self.storage.read(f"{table}/{item.path}")))

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def transaction(self, message: str = "") -> Iterator[Transaction]:
        """Several writes that become visible together, or not at all."""
        txn = Transaction(self)
        yield txn
        txn.commit(message)

    def append(self, table: str, rows: Rows, columns: Sequence[Column] = ()) -> int:
        """Add rows to one table; returns the new catalog version."""
        with self.transaction(f"append to {table}") as txn:
            txn.append(table, rows, columns)
        return self.version

    def upsert(self, table: str, rows: Rows, columns: Sequence[Column] = ()) -> int:
        """Add rows, replacing those with the same key; returns the new catalog version."""
        with self.transaction(f"upsert into {table}") as txn:
            txn.upsert(table, rows, columns)
        return self.version

    def compact(self, *, vacuum: bool = False) -> Any:
        """Merge small files; with `vacuum`, delete what the newest version does not need."""
        from catalogs.maintenance import compact

        return compact(self, vacuum=vacuum)


Change = Callable[[Catalog], tuple[list[DataFile], list[DataFile]]]
"""Given the newest committed state: the files to add and the files to remove."""


class Transaction:
    """Writes collected by `Catalog.transaction`.

    `append` adds rows as they are; `insert` adds those whose key is new; `upsert` replaces rows
    with the same key; `delete` removes rows by key. Nothing is visible before `commit`.
    """

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._changes: list[tuple[TableSpec, Change]] = []
        self._rows_added: dict[str, int] = {}
        self.oldest: int | None = None

    def append(self, table: str, rows: Rows, columns: Sequence[Column] = ()) -> None:
        """Add rows. `columns` declares an owner's columns when the table does not exist yet."""
        spec, data = self._prepared(table, rows, columns)
        if not data.num_rows:
            return
        written = [write_data_file(self._catalog.storage, spec, data)]
        self._record(spec, data.num_rows, lambda _: (written, []))

    def insert(
        self, table: str, rows: Rows, columns: Sequence[Column] = (), *, since: int = 0
    ) -> None:
        """Add the rows whose key is not there yet.

        A caller that already looked at catalog version `since` passes it, and only files that
        were committed after it are searched.
        """
        spec, data = self._prepared(table, rows, columns)
        if not data.num_rows:
            return

        def change(head: Catalog) -> tuple[list[DataFile], list[DataFile]]:
            fresh = without_existing(head, spec, data, since)
            if not fresh.num_rows:
                return [], []
            return [write_data_file(head.storage, spec, fresh)], []

        self._record(spec, data.num_rows, change)

    def upsert(self, table: str, rows: Rows, columns: Sequence[Column] = ()) -> None:
        """Add rows; rows with the same key that are already there are replaced."""
        spec, data = self._prepared(table, rows, columns)
        if not data.num_rows:
            return
        data = last_per_key(data, spec.key)
        written = write_data_file(self._catalog.storage, spec, data)

        def change(head: Catalog) -> tuple[list[DataFile], list[DataFile]]:
            adds, removes = rewritten_without(head, spec, data.select(list(spec.key)))
            return [*adds, written], removes

        self._record(spec, data.num_rows, change)

    def delete(self, table: str, keys: pa.Table) -> None:
        """Remove the rows that match `keys`, a table of some or all key columns."""
        spec = self._catalog.spec(table)
        unknown = set(keys.column_names) - set(spec.key)
        if unknown or not keys.column_names:
            raise UsageError(
                f"cannot delete from {table!r} by {sorted(unknown) or 'nothing'}",
                allowed="key columns: " + ", ".join(spec.key),
            )
        self._record(spec, 0, lambda head: rewritten_without(head, spec, keys))

    def replace_files(self, table: str, adds: list[DataFile], removes: list[DataFile]) -> None:
        """Swap files that hold the same rows (compaction)."""
        self._record(self._catalog.spec(table), 0, lambda _: (adds, removes))

    def commit(self, message: str) -> None:
        """Make everything visible in one step, retrying while other writers win the race."""
        if not self._changes and self.oldest is None:
            return
        deadline = time.monotonic() + COMMIT_PATIENCE_S
        attempt = 0
        while True:
            try:
                with self._catalog.storage.queue("commit"):
                    self._commit_once(message)
                self._catalog.refresh()
                return
            except LostRaceError as error:
                attempt += 1
                if time.monotonic() > deadline:
                    raise ConflictError(
                        f"lost the race for the next commit {attempt} times: {error.problem}",
                        hint="run fewer writers at once, or commit larger batches",
                    ) from error
                time.sleep(random.uniform(0, min(1.0, 0.01 * 2 ** min(attempt, 6))))

    def _commit_once(self, message: str) -> None:
        head = Catalog(self._catalog.storage)
        head._logs = self._catalog._logs
        base = head.snapshot
        versions = dict(base.tables)
        for name, group in self._by_table().items():
            versions[name] = self._commit_table(head, name, group, versions.get(name))
        row = {
            "version": base.version + 1,
            "created": datetime.now(UTC),
            "message": message,
            "author": f"{socket.gethostname()}:{os.getpid()}",
            "tables": list(versions.items()),
            "rows_added": list(self._rows_added.items()),
            "oldest": base.oldest if self.oldest is None else self.oldest,
        }
        self._commit_row(head, base.log_version, row)

    def _by_table(self) -> dict[str, list[tuple[TableSpec, Change]]]:
        groups: dict[str, list[tuple[TableSpec, Change]]] = {}
        for spec, change in self._changes:
            groups.setdefault(spec.name, []).append((spec, change))
        return groups

    def _commit_table(
        self,
        head: Catalog,
        name: str,
        group: list[tuple[TableSpec, Change]],
        base: int | None,
    ) -> int:
        log = head._log(name)
        spec = group[-1][0]
        if log.latest() is None:
            log.create(spec)
        base = 0 if base is None else base
        adds: list[DataFile] = []
        removes: list[DataFile] = []
        if [column.name for column in log.columns(base)] != spec.schema.names:
            log.add_columns(spec)
            adds, removes = rewritten_to(head, spec)
        for _, change in group:
            more, fewer = change(head)
            adds += more
            removes += fewer
        return log.commit(base, adds, removes)

    def _commit_row(self, head: Catalog, base: int, row: dict[str, Any]) -> None:
        log = head._log("commits")
        if base < 0:
            base = log.create(_COMMITS)
        rows = pa.Table.from_pylist([row], schema=_COMMITS.schema)
        older = log.files(base)
        folded = older if len(older) >= FOLD_COMMITS_EVERY else ()
        if folded:
            rows = pa.concat_tables([*(head._read_file("commits", item) for item in folded), rows])
        name = f"{row['version']:012d}-{uuid.uuid4().hex}.parquet"
        written = write_data_file(head.storage, _COMMITS, rows, name)
        log.commit(base, [written], folded, undo_strays=False)

    def _prepared(
        self, table: str, rows: Rows, columns: Sequence[Column]
    ) -> tuple[TableSpec, pa.Table]:
        spec = self._spec(table, columns)
        if not isinstance(rows, pa.Table):
            rows = _from_dicts(spec, rows)
        if "created" in spec.schema.names and "created" not in rows.column_names:
            now = pa.scalar(datetime.now(UTC), spec.schema.field("created").type)
            rows = rows.append_column("created", pa.repeat(now, rows.num_rows))
        return spec, spec.conform(rows)

    def _spec(self, table: str, columns: Sequence[Column]) -> TableSpec:
        if table in TABLES:
            return spec_of(table, columns)
        if not columns:
            return self._catalog.spec(table)
        declared = {column.name: column for column in columns}
        if table in self._catalog.snapshot.tables:
            fixed = {column.name for column in spec_of(table).columns}
            stored = [c for c in self._catalog.columns(table) if c.name not in fixed]
            declared = {column.name: column for column in stored} | declared
        return spec_of(table, list(declared.values()))

    def _record(self, spec: TableSpec, rows: int, change: Change) -> None:
        self._changes.append((spec, change))
        self._rows_added[spec.name] = self._rows_added.get(spec.name, 0) + rows


def _from_dicts(spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Dicts as a table of the columns that they mention, unknown names included."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    known = set(spec.schema.names)
    arrays = [
        pa.array(
            [row.get(name) for row in rows], spec.schema.field(name).type if name in known else None
        )
        for name in names
    ]
    return pa.table(dict(zip(names, arrays, strict=True)))


def _snapshot(row: Mapping[str, Any], log_version: int | None = None) -> Snapshot:
    return Snapshot(
        row["version"],
        row["created"],
        row["message"],
        dict(row["tables"]),
        row["oldest"],
        -1 if log_version is None else log_version,
    )


def _parse_moment(text: str) -> int | datetime:
    if text.isdigit():
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is neither a version nor a time",
            allowed="a version number or an ISO time such as 2026-05-01T12:00:00",
        ) from error
