"""Delta tables: the only module that opens them.

A table is a folder of Parquet files and a Delta log. We write the Parquet files ourselves (for
their encodings and names) and use the log for what it is good at: an atomic, ordered record of
which files make up each version, on local disks and on object stores alike.

Every commit here is a compare-and-swap: it names the version that it builds on and fails when
somebody else got there first. Because a catalog commit spans several tables, a table's log may
hold versions that never became visible (their writer died in between). `DeltaLog.commit` undoes
such strays in the same commit that adds the next files.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from catalogs.errors import ConflictError, NotFoundError, SchemaError
from catalogs.schema import Column, TableSpec
from catalogs.storage import Storage

__all__ = ["DataFile", "DeltaLog", "LostRaceError", "write_data_file"]

CHECKPOINT_EVERY = 50
ROW_GROUP_ROWS = 122_880
_COMPARE_AND_SWAP = CommitProperties(max_commit_retries=0)


class LostRaceError(ConflictError):
    """Another writer committed first; look again and retry."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table, its size, and the range of values of its pruning columns."""

    path: str
    bytes: int
    rows: int
    smallest: Mapping[str, Any] = field(default_factory=dict)
    largest: Mapping[str, Any] = field(default_factory=dict)
    staged: Path | None = field(default=None, compare=False)

    def constant(self, column: str) -> Any:
        """The one value that `column` has in every row of this file, or None."""
        low = self.smallest.get(column)
        return low if low is not None and low == self.largest.get(column) else None


def write_data_file(
    storage: Storage, spec: TableSpec, rows: pa.Table, name: str | None = None
) -> DataFile:
    """Write rows as one Parquet file, staged: the commit that names it moves it into place."""
    path = name or f"{uuid.uuid4().hex}.parquet"
    staged = storage.staging_file(".parquet")
    float_series = [
        f"{f.name}.list.element" for f in spec.schema if f.type == pa.list_(pa.float32())
    ]
    dictionary = [f.name for f in spec.schema if pa.types.is_string(f.type)]
    pq.write_table(
        rows,
        staged,
        compression="zstd",
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=dictionary,
        use_byte_stream_split=float_series,
    )
    smallest, largest = _ranges(rows, spec.pruned_by)
    return DataFile(path, staged.stat().st_size, rows.num_rows, smallest, largest, staged)


def _ranges(rows: pa.Table, columns: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    smallest, largest = {}, {}
    for name in columns:
        column = rows.column(name)
        if column.null_count or not rows.num_rows:
            continue
        ends = pc.min_max(column).as_py()
        smallest[name], largest[name] = ends["min"], ends["max"]
    return smallest, largest


class DeltaLog:
    """The log of one table: its versions, the files of each, and the next commit."""

    def __init__(self, storage: Storage, table: str):
        self._storage = storage
        self.table = table
        self.uri = storage.uri(table)
        self._handle: DeltaTable | None = None

    def latest(self) -> int | None:
        """The newest version in the log, committed in the catalog or not; None if no table."""
        try:
            if self._handle is None:
                self._handle = DeltaTable(self.uri)
            else:
                self._handle.update_incremental()
        except TableNotFoundError:
            return None
        return int(self._handle.version())

    def _at(self, version: int) -> DeltaTable:
        if self._handle is not None and self._handle.version() == version:
            return self._handle
        try:
            return DeltaTable(self.uri, version=version)
        except DeltaError as error:
            raise NotFoundError(
                f"version {version} of table {self.table!r} cannot be read: {error}",
                hint="it may have been vacuumed; read a newer version of the catalog",
            ) from error

    def files(self, version: int) -> tuple[DataFile, ...]:
        """The files that make up a version, oldest first."""
        actions = pa.table(self._at(version).get_add_actions(flatten=True)).to_pylist()
        files = [
            DataFile(
                action["path"],
                action["size_bytes"],
                action["num_records"],
                _prefixed(action, "min."),
                _prefixed(action, "max."),
            )
            for action in sorted(actions, key=lambda a: (a["modification_time"], a["path"]))
        ]
        return tuple(files)

    def columns(self, version: int) -> tuple[Column, ...]:
        """The columns of a version with the units and meanings stored with them."""
        return tuple(Column.of(item) for item in _arrow_schema(self._at(version)))

    def create(self, spec: TableSpec) -> int:
        """Start the log (version 0, no rows)."""
        try:
            DeltaTable.create(
                self.uri,
                spec.schema,
                description=spec.meaning,
                configuration={"delta.checkpointInterval": str(CHECKPOINT_EVERY)},
            )
        except DeltaError as error:
            if not DeltaTable.is_deltatable(self.uri):
                raise
            raise LostRaceError(f"table {self.table!r} was created meanwhile") from error
        return 0

    def add_columns(self, spec: TableSpec) -> int:
        """Append the columns of `spec` that the table lacks; returns the new version."""
        handle = self._opened()
        present = {column.name: column.type for column in map(Column.of, _arrow_schema(handle))}
        for column in spec.columns:
            stored = present.get(column.name)
            if stored is not None and not _same_type(stored, column.type):
                raise SchemaError(
                    f"column {column.name!r} of {self.table!r} is {stored} and cannot become "
                    f"{column.type}",
                    hint="give the new measurement a new column name",
                )
        missing = [column.field() for column in spec.columns if column.name not in present]
        if missing:
            from deltalake import Field, Schema

            fields = Schema.from_arrow(pa.schema(missing)).fields
            wanted: list[Field] = list(fields)
            try:
                handle.alter.add_columns(wanted, commit_properties=_COMPARE_AND_SWAP)
            except CommitFailedError as error:
                raise LostRaceError(str(error)) from error
        self._handle = None
        return int(self._opened().version())

    def commit(
        self,
        base: int,
        adds: Iterable[DataFile],
        removes: Iterable[DataFile] = (),
        *,
        undo_strays: bool = True,
    ) -> int:
        """The next version: `base`, less `removes`, plus `adds`.

        Versions after `base` were never made visible and are undone, or with
        `undo_strays=False` mean that the race is lost. Raises `LostRaceError` too when another
        writer commits to this table at the same moment.
        """
        handle = self._opened()
        current = int(handle.version())
        if current != base and not undo_strays:
            raise LostRaceError(f"{self.table!r} moved on to version {current}")
        gains, losses = list(adds), list(removes)
        if current != base or losses:
            gains, losses = self._against(current, base, gains, losses)
        if not gains and not losses:
            return current
        self._publish(gains)
        stamp = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(item.path, data_change=True, deletion_timestamp=stamp, size=item.bytes)
            for item in losses
        ]
        actions += [_add_action(item, stamp + order) for order, item in enumerate(gains)]
        try:
            handle.create_write_transaction(
                actions,
                mode="append",
                schema=handle.schema(),
                commit_properties=_COMPARE_AND_SWAP,
            )
        except CommitFailedError as error:
            raise LostRaceError(str(error)) from error
        return current + 1

    def _against(
        self, current: int, base: int, adds: list[DataFile], removes: list[DataFile]
    ) -> tuple[list[DataFile], list[DataFile]]:
        """What to add to and remove from `current` so that `base`, plus and less these, stands."""
        wanted = {item.path: item for item in self.files(base)}
        for item in removes:
            if wanted.pop(item.path, None) is None:
                raise LostRaceError(f"{item.path} of {self.table!r} was replaced meanwhile")
        wanted |= {item.path: item for item in adds}
        present = {item.path: item for item in self.files(current)}
        gains = [item for path, item in wanted.items() if path not in present]
        losses = [item for path, item in present.items() if path not in wanted]
        return gains, losses

    def _publish(self, files: Iterable[DataFile]) -> None:
        for item in files:
            if item.staged is not None and item.staged.exists():
                self._storage.publish(item.staged, f"{self.table}/{item.path}")

    def checkpoint(self) -> None:
        """Fold the log into one Parquet checkpoint, so that opening stays fast."""
        self._opened().create_checkpoint()

    def _opened(self) -> DeltaTable:
        """The log as `latest` last saw it; commits compare and swap against that."""
        if self._handle is None and self.latest() is None:
            raise NotFoundError(f"there is no table at {self.uri}")
        return self._handle


def _add_action(item: DataFile, stamp_ms: int) -> AddAction:
    stats = {
        "numRecords": item.rows,
        "minValues": {name: _stat(value) for name, value in item.smallest.items()},
        "maxValues": {name: _stat(value) for name, value in item.largest.items()},
        "nullCount": {},
    }
    return AddAction(item.path, item.bytes, {}, stamp_ms, True, json.dumps(stats))


def _stat(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if hasattr(value, "strftime") else value


def _prefixed(action: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in action.items()
        if name.startswith(prefix) and value is not None
    }


def _arrow_schema(handle: DeltaTable) -> pa.Schema:
    return pa.schema(handle.schema().to_arrow())


@lru_cache(maxsize=256)
def _plain(kind: pa.DataType) -> str:
    """A type's name without the nullability and field names that Delta rewrites."""
    if pa.types.is_list(kind):
        return f"list<{_plain(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{_plain(kind.key_type)},{_plain(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ",".join(f"{f.name}:{_plain(f.type)}" for f in kind) + ">"
    return str(kind)


def _same_type(stored: pa.DataType, declared: pa.DataType) -> bool:
    return _plain(stored) == _plain(declared)
