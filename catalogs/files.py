"""Parquet files of a catalog: how they are encoded, written batch by batch, and read back.

Files are written to a private staging path first; the commit that names a file moves it into
place, so nobody meets a file that is half written. Encodings are chosen here and nowhere else:
zstd, dictionaries for text, split byte streams for series of floats, and row groups small enough
that a reader holds one in memory whatever the rows carry. The binary columns of a direct table are
neither compressed nor divided into pages: each row group holds their values in one piece.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalogs.errors import NotFoundError
from catalogs.schema import TableSpec
from catalogs.storage import Storage

__all__ = [
    "DataFile",
    "DataFileWriter",
    "plain_rows",
    "read_data_file",
    "rows_per_group",
    "write_data_file",
]

ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 64 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table, its size, and the range of values of its pruning columns.

    `staged` is where the file waits on this machine until a commit moves it into the table.
    """

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

    def discard(self) -> None:
        """Delete the file if it is still staged."""
        if self.staged is not None:
            self.staged.unlink(missing_ok=True)


class DataFileWriter:
    """One Parquet file, written batch by batch with a bounded amount of memory."""

    def __init__(self, storage: Storage, spec: TableSpec, name: str | None = None):
        self._spec = spec
        self._path = name or f"{uuid.uuid4().hex}.parquet"
        self._staged = storage.staging_file(".parquet")
        self._writer = pq.ParquetWriter(self._staged, spec.schema, **_encodings(spec))
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_bytes = 0
        self._ranges = _Ranges(spec.pruned_by)
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        """Add rows that already have the table's schema."""
        self.rows += rows.num_rows
        self._ranges.add(rows)
        self._pending.append(rows)
        self._pending_rows += rows.num_rows
        self._pending_bytes += rows.nbytes
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    @property
    def bytes_so_far(self) -> int:
        """Size on disk of the row groups that are written."""
        return self._staged.stat().st_size

    def _flush(self) -> None:
        if not self._pending_rows:
            return
        rows = pa.concat_tables(self._pending)
        self._writer.write_table(rows, row_group_size=rows_per_group(rows))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def close(self) -> DataFile:
        """Finish the file; it stays staged until a commit names it."""
        self._flush()
        self._writer.close()
        size = self._staged.stat().st_size
        smallest, largest = self._ranges.smallest, self._ranges.largest
        return DataFile(self._path, size, self.rows, smallest, largest, self._staged)

    def abandon(self) -> None:
        """Throw the unfinished file away."""
        self._writer.close()
        self._staged.unlink(missing_ok=True)


class _Ranges:
    """Smallest and largest value per column; a column that holds NULL has no range."""

    def __init__(self, columns: Iterable[str]):
        self._columns = set(columns)
        self.smallest: dict[str, Any] = {}
        self.largest: dict[str, Any] = {}

    def add(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        for name in sorted(self._columns):
            column = rows.column(name)
            if column.null_count:
                self._columns.discard(name)
                self.smallest.pop(name, None)
                self.largest.pop(name, None)
                continue
            ends = pc.min_max(column).as_py()
            self.smallest[name] = min(self.smallest.get(name, ends["min"]), ends["min"])
            self.largest[name] = max(self.largest.get(name, ends["max"]), ends["max"])


def rows_per_group(rows: pa.Table) -> int:
    """How many of these rows a row group takes."""
    share = min(1.0, ROW_GROUP_BYTES / max(1, rows.nbytes))
    return max(1, min(ROW_GROUP_ROWS, int(rows.num_rows * share)))


def write_data_file(
    storage: Storage, spec: TableSpec, rows: pa.Table, name: str | None = None
) -> DataFile:
    """Write rows as one Parquet file, staged: the commit that names it moves it into place."""
    writer = DataFileWriter(storage, spec, name)
    writer.write(rows)
    return writer.close()


def read_data_file(
    storage: Storage, table: str, item: DataFile, columns: list[str] | None = None
) -> pa.Table:
    """The rows of a file, staged or in place.

    One thread reads, and has let go of the file on return: a thread of Arrow's pool that still
    holds Python's bytes when the interpreter ends takes the process down with it.
    """
    path = f"{table}/{item.path}"
    source: Any
    if item.staged is not None and item.staged.exists():
        source = item.staged
    elif storage.is_local:
        source = storage.uri(path)
    else:
        source = pa.BufferReader(storage.read(path))
    try:
        with pq.ParquetFile(source, pre_buffer=False) as file:
            return file.read(columns, use_threads=False)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{storage.uri(path)} does not exist",
            hint="it may have been vacuumed; read a newer version of the catalog",
        ) from error


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts, like `to_pylist`, which would load pandas to make a time of day.

    That takes longer than all else that opening a catalog does.
    """
    moments = [item.name for item in table.schema if pa.types.is_timestamp(item.type)]
    for name in moments:
        ticks = table.column(name).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        table = table.set_column(table.column_names.index(name), name, ticks)
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in moments:
            if row[name] is not None:
                row[name] = _EPOCH + timedelta(microseconds=row[name])
    return rows


def _encodings(spec: TableSpec) -> dict[str, Any]:
    schema = spec.schema
    series = [f"{item.name}.list.element" for item in schema if item.type == pa.list_(pa.float32())]
    encodings: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": [item.name for item in schema if pa.types.is_string(item.type)],
        "use_byte_stream_split": series,
    }
    return encodings | _direct(schema) if spec.direct else encodings


def _direct(schema: pa.Schema) -> dict[str, Any]:
    """One page per row group, and binary columns as they are, without statistics of their bytes."""
    binary = {item.name for item in schema if pa.types.is_binary(item.type)}
    leaves = {item.name: _leaf(item) for item in schema}
    return {
        "compression": {
            leaf: "none" if name in binary else "zstd" for name, leaf in leaves.items()
        },
        "write_statistics": [leaf for name, leaf in leaves.items() if name not in binary],
        "data_page_size": ROW_GROUP_BYTES * 8,
        "max_rows_per_page": ROW_GROUP_ROWS,
    }


def _leaf(item: pa.Field) -> str:
    """A column's name inside the Parquet file."""
    return f"{item.name}.list.element" if pa.types.is_list(item.type) else item.name
