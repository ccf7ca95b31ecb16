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
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.errors import ConflictError, FormatError, NotFoundError, UsageError
from catalogs.files import DataFile, plain_rows, read_data_file
from catalogs.schema import FORMAT_VERSION, TABLES, Column, TableSpec, as_table, spec_of
from catalogs.storage import Storage
from catalogs.tables import DeltaLog
from catalogs.transaction import Rows, Transaction

if TYPE_CHECKING:
    from catalogs.diff import TableDiff
    from catalogs.maintenance import Compaction
    from catalogs.query import Result

__all__ = ["Catalog", "Rows", "Snapshot", "Transaction", "too_new"]

OPENING_TRIES = 5

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
    own transactions move it along with them. Threads and processes each open their own.
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
            raise too_new(path, found)
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
        older = Catalog(self.storage, version=version)
        older.snapshot = older._load_snapshot(version)
        return older

    def newest(self) -> Catalog:
        """Another view of this catalog, at its newest version."""
        other = Catalog(self.storage)
        other._logs = self._logs
        return other

    def history(self) -> pa.Table:
        """All commits, oldest first."""
        log = self.log("commits")
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
        if version == 0:
            return self._before_all()
        history = self.history()
        found = history.filter(pc.equal(history.column("version"), version))
        if not found.num_rows:
            raise NotFoundError(f"the catalog has no version {version}", allowed=allowed)
        return _snapshot(found)

    def _newest_commit(self) -> Snapshot:
        for _ in range(OPENING_TRIES):
            log = self.log("commits")
            try:
                latest = log.latest()
                files = log.files(latest) if latest is not None else ()
                if not files:
                    return self._before_all(-1 if latest is None else latest)
                last = max(files, key=lambda item: item.path)
                return _snapshot(read_data_file(self.storage, "commits", last), latest)
            except NotFoundError:
                self._logs.pop("commits", None)
        raise ConflictError(
            f"{self.storage.root} was vacuumed {OPENING_TRIES} times while it was being opened",
            hint="try again",
        )

    def _before_all(self, log_version: int = -1) -> Snapshot:
        """Version 0: created, and nothing in it."""
        born = datetime.fromisoformat(self.about["created"])
        return Snapshot(0, born, "created", {}, 0, log_version)

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
            self._columns[table, version] = self.log(table).columns(version)
        return self._columns[table, version]

    def spec(self, table: str) -> TableSpec:
        """A table's specification, with the columns that its owner declared."""
        return as_table(table, self.columns(table))

    def files(self, table: str) -> tuple[DataFile, ...]:
        """The Parquet files that hold a table at this version."""
        if table not in self.snapshot.tables:
            return ()
        version = self.snapshot.tables[table]
        if (table, version) not in self._files:
            self._files[table, version] = self.log(table).files(version)
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

    def diff(self, a: int, b: int, table: str = "clips") -> TableDiff:
        """Rows of a table that were gained, lost or changed between two versions."""
        from catalogs.diff import diff_versions

        return diff_versions(self, a, b, table)

    def log(self, table: str) -> DeltaLog:
        """The Delta log of a table, for transactions and maintenance."""
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

    def compact(self, *, vacuum: bool = False) -> Compaction:
        """Merge small files; with `vacuum`, delete what the newest version does not need."""
        from catalogs.maintenance import compact

        return compact(self, vacuum=vacuum)


def too_new(path: str | Path, found: int) -> FormatError:
    """The refusal of a catalog that a later clipmill wrote."""
    return FormatError(
        f"{path} has format {found}, this clipmill reads up to {FORMAT_VERSION}",
        hint="pip install --upgrade clipmill",
    )


def _snapshot(commits: pa.Table, log_version: int | None = None) -> Snapshot:
    """The newest of some rows of `commits`."""
    row = plain_rows(commits.sort_by("version").slice(commits.num_rows - 1))[0]
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
