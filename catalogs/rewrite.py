"""Row-level changes on tables whose files never change: which to keep, which to rewrite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalogs.errors import NotFoundError
from catalogs.schema import TableSpec
from catalogs.tables import DataFile, write_data_file

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["last_per_key", "rewritten_to", "rewritten_without", "without_existing"]

_ROW = "__row"


def last_per_key(rows: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """`rows` with only the last row of each key, in their order."""
    numbered = _numbered(rows.select(list(key)))
    kept = numbered.group_by(list(key)).aggregate([(_ROW, "max")]).column(f"{_ROW}_max")
    return rows if len(kept) == rows.num_rows else rows.take(kept.combine_chunks().sort())


def without_existing(head: Catalog, spec: TableSpec, rows: pa.Table, since: int) -> pa.Table:
    """The rows whose key is in no file committed after catalog version `since`."""
    rows = last_per_key(rows, spec.key)
    seen = _paths_at(head, spec.name, since) if since else set()
    files = [item for item in head.files(spec.name) if item.path not in seen]
    kept = rows
    for item in _touching(files, rows.select(list(spec.key))):
        present = _read(head, spec.name, item, list(spec.key))
        kept = kept.take(_unmatched(kept.select(list(spec.key)), present))
    return kept


def rewritten_without(
    head: Catalog, spec: TableSpec, keys: pa.Table
) -> tuple[list[DataFile], list[DataFile]]:
    """Files to add and to remove so that no row matches `keys`."""
    adds: list[DataFile] = []
    removes: list[DataFile] = []
    for item in _touching(head.files(spec.name), keys):
        kept = _unmatched(_read(head, spec.name, item, keys.column_names), keys)
        if len(kept) == item.rows:
            continue
        removes.append(item)
        if len(kept):
            rows = _read(head, spec.name, item, None).take(kept)
            adds.append(write_data_file(head.storage, spec, spec.conform(rows)))
    return adds, removes


def rewritten_to(head: Catalog, spec: TableSpec) -> tuple[list[DataFile], list[DataFile]]:
    """Every file of a table again, with the columns that `spec` adds.

    An operator that learns to measure something more is rare and its table is small; in return
    all files of a snapshot have one schema, and queries need not look for exceptions.
    """
    removes = list(head.files(spec.name))
    adds = [
        write_data_file(head.storage, spec, spec.conform(_read(head, spec.name, item, None)))
        for item in removes
    ]
    return adds, removes


def _paths_at(head: Catalog, table: str, version: int) -> set[str]:
    try:
        return {item.path for item in head.at(version).files(table)}
    except NotFoundError:
        return set()


def _touching(files: tuple[DataFile, ...] | list[DataFile], keys: pa.Table) -> list[DataFile]:
    """Files whose range of some key column meets the keys' range."""
    ends = {
        name: pc.min_max(keys.column(name)).as_py() for name in keys.column_names if keys.num_rows
    }
    return [
        item
        for item in files
        if all(
            item.smallest[name] <= end["max"] and item.largest[name] >= end["min"]
            for name, end in ends.items()
            if item.smallest.get(name) is not None and item.largest.get(name) is not None
        )
    ]


def _read(head: Catalog, table: str, item: DataFile, columns: list[str] | None) -> pa.Table:
    data = pa.BufferReader(head.storage.read(f"{table}/{item.path}"))
    return pq.read_table(data, columns=columns)


def _unmatched(rows: pa.Table, keys: pa.Table) -> pa.Array:
    """Row numbers of `rows`, ascending, that equal no row of `keys` in the columns of `keys`."""
    using = ", ".join(f'"{name}"' for name in keys.column_names)
    with duckdb.connect() as connection:
        connection.register("here", _numbered(rows.select(keys.column_names)))
        connection.register("gone", keys)
        found = connection.sql(
            f"select {_ROW} from here anti join gone using ({using}) order by {_ROW}"
        ).to_arrow_table()
    return found.column(_ROW).combine_chunks()


def _numbered(rows: pa.Table) -> pa.Table:
    return rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
