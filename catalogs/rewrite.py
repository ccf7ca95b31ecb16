"""Row-level changes on tables whose files never change: which to keep, which to rewrite.

Every function takes the files of a table as they stand in the transaction so far and gives the
files, or rows, as they should be afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.errors import NotFoundError
from catalogs.files import DataFile, read_data_file, write_data_file
from catalogs.schema import TableSpec

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["in_columns", "last_per_key", "rewritten_to", "rewritten_without", "without_existing"]

_ROW = "__row"


def last_per_key(rows: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """`rows` with only the last row of each key, in their order."""
    numbered = _numbered(rows.select(list(key)))
    kept = numbered.group_by(list(key), use_threads=False).aggregate([(_ROW, "max")])
    if kept.num_rows == rows.num_rows:
        return rows
    return rows.take(kept.column(f"{_ROW}_max").combine_chunks().sort())


def without_existing(
    head: Catalog, spec: TableSpec, rows: pa.Table, files: Sequence[DataFile], since: int
) -> pa.Table:
    """The rows whose key is in no file that was added after catalog version `since`."""
    kept = last_per_key(rows, spec.key)
    seen = _paths_at(head, spec.name, since) if since else set()
    unseen = [item for item in files if item.path not in seen]
    for item in _touching(unseen, kept.select(list(spec.key))):
        present = read_data_file(head.storage, spec.name, item, list(spec.key))
        kept = kept.take(_unmatched(kept.select(list(spec.key)), present))
    return kept


def rewritten_without(
    head: Catalog, spec: TableSpec, files: Sequence[DataFile], keys: pa.Table
) -> list[DataFile]:
    """The files with every row that matches `keys` taken out."""
    touching = {item.path for item in _touching(files, keys)}
    result: list[DataFile] = []
    for item in files:
        if item.path not in touching:
            result.append(item)
            continue
        here = read_data_file(head.storage, spec.name, item, keys.column_names)
        kept = _unmatched(here, keys)
        if len(kept) == item.rows:
            result.append(item)
        elif len(kept):
            rows = read_data_file(head.storage, spec.name, item).take(kept)
            result.append(write_data_file(head.storage, spec, spec.conform(rows)))
    return result


def rewritten_to(head: Catalog, spec: TableSpec, files: Sequence[DataFile]) -> list[DataFile]:
    """Every file of a table again, in the columns of `spec`.

    An operator that learns to measure something more is rare and its table is small; in return
    all files of a snapshot have one schema, and queries need not look for exceptions.
    """
    return [
        write_data_file(
            head.storage, spec, spec.conform(read_data_file(head.storage, spec.name, item))
        )
        for item in files
    ]


def in_columns(head: Catalog, item: DataFile, written: TableSpec, final: TableSpec) -> DataFile:
    """A staged file, written again if the table gained columns while it waited."""
    if written.schema.names == final.schema.names:
        return item
    return rewritten_to(head, final, [item])[0]


def _paths_at(head: Catalog, table: str, version: int) -> set[str]:
    try:
        return {item.path for item in head.at(version).files(table)}
    except NotFoundError:
        return set()


def _touching(files: Sequence[DataFile], keys: pa.Table) -> list[DataFile]:
    """Files whose range of every key column meets the keys' range."""
    if not keys.num_rows:
        return []
    ends = {name: pc.min_max(keys.column(name)).as_py() for name in keys.column_names}
    return [
        item
        for item in files
        if all(
            item.smallest[name] <= end["max"] and item.largest[name] >= end["min"]
            for name, end in ends.items()
            if item.smallest.get(name) is not None and item.largest.get(name) is not None
        )
    ]


def _unmatched(rows: pa.Table, keys: pa.Table) -> pa.Array:
    """Row numbers of `rows`, ascending, that equal no row of `keys` in the columns of `keys`."""
    names = keys.column_names
    here = _numbered(rows.select(names))
    gone = keys.cast(rows.select(names).schema)
    left = here.join(gone, names, join_type="left anti", use_threads=False)
    return left.column(_ROW).combine_chunks().sort()


def _numbered(rows: pa.Table) -> pa.Table:
    return rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
