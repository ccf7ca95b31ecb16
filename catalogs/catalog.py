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

import itertools
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
import pyarrow.compute as pc

from catalogs.errors import ConflictError, FormatError, NotFoundError, UsageError
from catalogs.files import DataFile, read_data_file, write_data_file
from catalogs.rewrite import (
    in_columns,
    last_per_key,
    rewritten_to,
    rewritten_without,
    without_existing,
)
from catalogs.schema import FORMAT_VERSION, TABLES, Column, TableSpec, spec_of
from catalogs.storage import Storage
from catalogs.tables import DeltaLog, LostRaceError, StaleFilesError, widened

if TYPE_CHECKING:
    from catalogs.query import Result

__all__ = ["Catalog", "Rows", "Snapshot", "Transaction"]

Rows: TypeAlias = "pa.Table | Sequence[Mapping[str, Any]]"
"""What can be written: an Arrow table or a list of dicts."""

COMMIT_PATIENCE_S = 120.0
OPENING_TRIES = 5
FOLD_EVERY = 32
"""So many files of `commits` of one size are folded into one: opening reads a short list."""

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
        tables = [read_data_file(self.storage, "commits", item) for item in log.files(latest)]
        return pa.concat_tables([_COMMITS.schema.empty_table(), *tables]).sort_by("version")

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
        allowed = f"versions {newest.oldest} to {newest.version}"
        if version < newest.oldest:
            raise NotFoundError(f"version {version} was vacuumed", allowed=allowed)
        history = self.history()
        found = history.filter(pc.equal(history.column("version"), version))
        if not found.num_rows:
            raise NotFoundError(f"the catalog has no version {version}", allowed=allowed)
        return _snapshot(found)

    def _newest_commit(self) -> Snapshot:
        for _ in range(OPENING_TRIES):
            log = self._log("commits")
            try:
                latest = log.latest()
                files = log.files(latest) if latest is not None else ()
                if not files:
                    born = datetime.fromisoformat(self.about["created"])
                    return Snapshot(0, born, "created", {}, 0, -1 if latest is None else latest)
                last = max(files, key=lambda item: item.path)
                return _snapshot(read_data_file(self.storage, "commits", last), latest)
            except NotFoundError:
                self._logs.pop("commits", None)
        raise ConflictError(
            f"{self.storage.root} was vacuumed {OPENING_TRIES} times while it was being opened",
            hint="try again",
        )

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
        return _as_table(table, self.columns(table))

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

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def transaction(self, message: str = "") -> Iterator[Transaction]:
        """Several writes that become visible together, or not at all."""
        txn = Transaction(self)
        try:
            yield txn
        except BaseException:
            txn.discard()
            raise
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


Change = Callable[["Catalog", TableSpec, list[DataFile]], list[DataFile]]
"""Given the newest committed state, the table's final columns and its files: the files after."""


class Transaction:
    """Writes collected by `Catalog.transaction`.

    `append` adds rows as they are; `insert` adds those whose key is new; `upsert` replaces rows
    with the same key; `delete` removes rows by key. They act in the order in which they were
    called, on what the newest catalog holds when the commit happens. Nothing is visible before.
    """

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._changes: list[tuple[TableSpec, Change]] = []
        self._rows_added: dict[str, int] = {}
        self._staged: list[DataFile] = []
        self._forgets = False

    def append(self, table: str, rows: Rows, columns: Sequence[Column] = ()) -> None:
        """Add rows. `columns` declares an owner's columns when the table does not exist yet."""
        spec, data = self._prepared(table, rows, columns)
        if not data.num_rows:
            return
        written = self._write(spec, data)
        self._record(
            spec,
            data.num_rows,
            lambda head, final, files: [*files, in_columns(head, written, spec, final)],
        )

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

        def change(head: Catalog, final: TableSpec, files: list[DataFile]) -> list[DataFile]:
            fresh = without_existing(head, final, data, files, since)
            if not fresh.num_rows:
                return files
            return [*files, self._write(final, final.conform(fresh))]

        self._record(spec, data.num_rows, change)

    def upsert(self, table: str, rows: Rows, columns: Sequence[Column] = ()) -> None:
        """Add rows; rows with the same key that are already there are replaced."""
        spec, data = self._prepared(table, rows, columns)
        if not data.num_rows:
            return
        data = last_per_key(data, spec.key)
        keys = data.select(list(spec.key))
        written = self._write(spec, data)

        def change(head: Catalog, final: TableSpec, files: list[DataFile]) -> list[DataFile]:
            kept = rewritten_without(head, final, files, keys)
            return [*kept, in_columns(head, written, spec, final)]

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
        self._record(
            spec, 0, lambda head, final, files: rewritten_without(head, final, files, keys)
        )

    def replace_files(self, table: str, adds: list[DataFile], removes: list[DataFile]) -> None:
        """Swap files that hold the same rows (compaction).

        The commit raises `StaleFilesError` when one of `removes` is no longer there.
        """
        gone = {item.path for item in removes}
        spec = self._catalog.spec(table)

        def change(head: Catalog, final: TableSpec, files: list[DataFile]) -> list[DataFile]:
            if gone - {item.path for item in files} or final.schema.names != spec.schema.names:
                raise StaleFilesError(f"files of {table!r} were replaced meanwhile")
            return [*(item for item in files if item.path not in gone), *adds]

        self._staged += adds
        self._record(spec, 0, change)

    def forget_older(self) -> None:
        """Declare every version before this commit unreadable, so that it can be vacuumed."""
        self._forgets = True

    def commit(self, message: str) -> None:
        """Make everything visible in one step, retrying while other writers win the race."""
        if not self._changes and not self._forgets:
            return
        try:
            self._commit_patiently(message)
        except BaseException:
            self.discard()
            raise
        self._catalog.refresh()

    def discard(self) -> None:
        """Throw away what was staged."""
        for item in self._staged:
            if item.staged is not None:
                item.staged.unlink(missing_ok=True)

    def _commit_patiently(self, message: str) -> None:
        deadline = time.monotonic() + COMMIT_PATIENCE_S
        for attempt in itertools.count(1):
            try:
                with self._catalog.storage.queue("commit"):
                    self._commit_once(message)
                return
            except LostRaceError as error:
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
        groups = self._by_table()
        if self._forgets:
            groups = {name: [] for name in base.tables} | groups
        for name, group in groups.items():
            versions[name] = self._commit_table(head, name, group)
        version = base.version + 1
        row = {
            "version": version,
            "created": datetime.now(UTC),
            "message": message,
            "author": f"{socket.gethostname()}:{os.getpid()}",
            "tables": list(versions.items()),
            "rows_added": list(self._rows_added.items()),
            "oldest": version if self._forgets else base.oldest,
        }
        self._commit_row(head, base.log_version, row)

    def _by_table(self) -> dict[str, list[tuple[TableSpec, Change]]]:
        groups: dict[str, list[tuple[TableSpec, Change]]] = {}
        for spec, change in self._changes:
            groups.setdefault(spec.name, []).append((spec, change))
        return groups

    def _commit_table(self, head: Catalog, name: str, group: list[tuple[TableSpec, Change]]) -> int:
        log = head._log(name)
        base = head.snapshot.tables.get(name)
        if log.latest() is None:
            log.create(group[-1][0])
        before = head.files(name)
        old = columns = group[0][0].columns if base is None else head.columns(name)
        for spec, _ in group:
            columns = widened(spec, columns)
        final = _as_table(name, columns)
        files = list(before)
        if len(columns) > len(old) and files:
            files = rewritten_to(head, final, files)
        for _, change in group:
            files = change(head, final, files)
        kept = {item.path for item in files}
        known = {item.path for item in before}
        return log.commit(
            base or 0,
            [item for item in files if item.path not in known],
            [item for item in before if item.path not in kept],
            columns=columns if base is None or len(columns) > len(old) else None,
        )

    def _commit_row(self, head: Catalog, base: int, row: dict[str, Any]) -> None:
        log = head._log("commits")
        if base < 0:
            base = log.create(_COMMITS)
        rows = pa.Table.from_pylist([row], schema=_COMMITS.schema)
        folded = _worth_folding(log.files(base))
        if folded:
            older = [read_data_file(head.storage, "commits", item) for item in folded]
            rows = pa.concat_tables([*older, rows])
        name = f"{row['version']:012d}-{uuid.uuid4().hex}.parquet"
        written = write_data_file(head.storage, _COMMITS, rows, name)
        log.commit(base, [written], folded, undo_strays=False)

    def _write(self, spec: TableSpec, rows: pa.Table) -> DataFile:
        item = write_data_file(self._catalog.storage, spec, rows)
        self._staged.append(item)
        return item

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
        """The columns to write: those the table has, and after them what is declared anew."""
        if table not in self._catalog.snapshot.tables:
            return spec_of(table, columns)
        spec = spec_of(table, columns)
        return _as_table(table, widened(spec, self._catalog.columns(table)))

    def _record(self, spec: TableSpec, rows: int, change: Change) -> None:
        self._changes.append((spec, change))
        self._rows_added[spec.name] = self._rows_added.get(spec.name, 0) + rows


def _as_table(name: str, columns: Sequence[Column]) -> TableSpec:
    """The specification of a table that has exactly these columns, in this order."""
    base = spec_of(name)
    return TableSpec(name, base.meaning, tuple(columns), base.key, base.pruned_by)


def _worth_folding(files: Sequence[DataFile]) -> list[DataFile]:
    """The newest files of `commits`, when so many of about the same size have gathered.

    Files are folded only with their like, so that a row is rewritten a few times in the life of
    a catalog and not once every few commits.
    """
    newest_first = sorted(files, key=lambda item: item.path, reverse=True)
    folded: list[DataFile] = []
    size = 1
    while len(tier := [f for f in newest_first[len(folded) :] if f.rows <= size]) >= FOLD_EVERY:
        folded += tier
        size = sum(item.rows for item in folded) + 1
    return folded


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


def _snapshot(commits: pa.Table, log_version: int | None = None) -> Snapshot:
    """The newest of some rows of `commits`."""
    row = commits.sort_by("version").slice(commits.num_rows - 1).to_pylist()[0]
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
