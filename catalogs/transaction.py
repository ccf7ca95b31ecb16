"""Several writes that become visible together, or not at all.

A transaction collects changes and works them out when it commits, on whatever the newest catalog
holds by then; if another writer is faster it starts over from there. `catalogs.catalog` explains
why nobody ever sees half of it.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from catalogs.errors import ConflictError, NotFoundError, UsageError
from catalogs.files import DataFile, read_data_file, write_data_file
from catalogs.rewrite import (
    in_columns,
    last_per_key,
    rewritten_to,
    rewritten_without,
    without_existing,
)
from catalogs.schema import TABLES, Column, TableSpec, as_table, spec_of
from catalogs.tables import LostRaceError, StaleFilesError, widened

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Rows", "Transaction"]

Rows: TypeAlias = "pa.Table | Sequence[Mapping[str, Any]]"
"""What can be written: an Arrow table or a list of dicts."""

COMMIT_PATIENCE_S = 120.0
COMMITTED_AT_ONCE = 4
"""Tables."""
FOLD_EVERY = 32
"""So many files of `commits` of one size are folded into one: opening reads a short list."""

_COMMITS = TABLES["commits"]

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
        self._checks: list[Callable[[Catalog], None]] = []
        self._converted: dict[str, tuple[Column, ...]] = {}
        self._forgets = False
        self.author = f"{socket.gethostname()}:{os.getpid()}"
        """Who commits, as `commits` records it; a copy that is given away names nobody."""

    def append(self, table: str, rows: Rows, columns: Sequence[Column] = ()) -> None:
        """Add rows. `columns` declares an owner's columns when the table does not exist yet."""
        spec, data = self._prepared(table, rows, columns)
        if not data.num_rows:
            self._declare(spec)
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
            self._declare(spec)
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
            self._declare(spec)
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
        spec = self._spec(table, ())
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

    def convert(
        self, table: str, columns: tuple[Column, ...], how: Callable[[pa.Table], pa.Table]
    ) -> None:
        """Rewrite a whole table in other columns (migration). Nothing else may touch it here."""
        self._converted[table] = columns

        def change(head: Catalog, final: TableSpec, files: list[DataFile]) -> list[DataFile]:
            rows = (read_data_file(head.storage, table, item) for item in files)
            return [write_data_file(head.storage, final, final.conform(how(r))) for r in rows]

        self._record(as_table(table, columns), 0, change)

    def require(self, check: Callable[[Catalog], None]) -> None:
        """Have `check` look at the newest catalog just before the commit; it raises to stop it."""
        self._checks.append(check)

    def forget_older(self) -> None:
        """Declare every version before this commit unreadable, so that it can be vacuumed."""
        self._forgets = True

    def commit(self, message: str) -> None:
        """Make everything visible in one step, retrying while other writers win the race."""
        if not self._changes and not self._forgets:
            return
        try:
            self._commit_patiently(message)
        finally:
            self.discard()
        self._catalog.refresh()

    def discard(self) -> None:
        """Throw away what is still staged: all of it, or after a commit what it did not need."""
        for item in self._staged:
            item.discard()

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
        head = self._catalog.newest()
        base = head.snapshot
        for check in self._checks:
            check(head)
        versions = dict(base.tables)
        groups = self._by_table()
        if self._forgets:
            groups = {name: [] for name in base.tables} | groups
        # Each table has a log of its own, and what a commit costs is mostly waiting for the disk.
        with ThreadPoolExecutor(COMMITTED_AT_ONCE) as pool:
            committed = pool.map(lambda name: self._commit_table(head, name, groups[name]), groups)
            versions.update(zip(groups, committed, strict=True))
        version = base.version + 1
        row = {
            "version": version,
            "created": datetime.now(UTC),
            "message": message,
            "author": self.author,
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
        log = head.log(name)
        base = head.snapshot.tables.get(name)
        if log.latest() is None:
            log.create(group[0][0])
        before = head.files(name)
        files = list(before)
        old = () if base is None else head.columns(name)
        final = as_table(name, self._columns_after(name, old, group))
        if name not in self._converted and len(final.columns) > len(old):
            files = rewritten_to(head, final, files)
        for _, change in group:
            files = change(head, final, files)
            self._staged += files
        kept = {item.path for item in files}
        known = {item.path for item in before}
        return log.commit(
            base or 0,
            [item for item in files if item.path not in known],
            [item for item in before if item.path not in kept],
            columns=None if final.columns == old else final.columns,
        )

    def _columns_after(
        self, name: str, old: tuple[Column, ...], group: list[tuple[TableSpec, Change]]
    ) -> tuple[Column, ...]:
        if name in self._converted:
            return self._converted[name]
        columns = old
        for spec, _ in group:
            columns = widened(spec, columns)
        return columns

    def _commit_row(self, head: Catalog, base: int, row: dict[str, Any]) -> None:
        log = head.log("commits")
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

    def _declare(self, spec: TableSpec) -> None:
        """Let a table have its columns even if nobody had a row for it yet."""
        if spec.columns != self._stored_columns(spec.name):
            self._record(spec, 0, lambda head, final, files: files)

    def _stored_columns(self, table: str) -> tuple[Column, ...]:
        """The columns that a table has, none if it does not exist."""
        catalog = self._catalog
        try:
            return catalog.columns(table) if table in catalog.snapshot.tables else ()
        except NotFoundError:
            newest = catalog.newest()
            return newest.columns(table) if table in newest.snapshot.tables else ()

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
        return as_table(table, widened(spec_of(table, columns), self._stored_columns(table)))

    def _record(self, spec: TableSpec, rows: int, change: Change) -> None:
        self._changes.append((spec, change))
        self._rows_added[spec.name] = self._rows_added.get(spec.name, 0) + rows


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
