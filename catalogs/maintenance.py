"""Compaction and vacuum: fewer, larger, sorted files, and no others.

`compact` merges the small files of every table, sorted by the table's key, and swaps them in with
one catalog commit. Appends that happen meanwhile are kept; when a file that was merged has been
rewritten by somebody else, the plan is made again. Memory stays bounded whatever a table holds:
narrow rows stream through DuckDB, which spills to disk; rows with long series are sorted in pieces.

`vacuum` gives up all versions before the newest and deletes what only they needed. Afterwards the
Parquet files of a table are exactly its rows, and any tool may read `corpus/clips/*.parquet`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.errors import ConflictError
from catalogs.files import DataFile, DataFileWriter, read_data_file, rows_per_group
from catalogs.query import Session, sql_name
from catalogs.schema import FAMILIES, TABLES, TableSpec
from catalogs.storage import DAY_S
from catalogs.tables import StaleFilesError

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Compaction", "compact", "vacuum"]

TARGET_BYTES = 128 << 20
TRIES = 5
INFLATION = 6
"""How much larger rows are in memory than on disk, roughly."""
HEAVY_ROW_BYTES = 16 << 10
"""DuckDB moves 2,048 rows at a time. Rows larger than this (signals, storyboards) would need
gigabytes there, so they are sorted piece by piece instead of all together."""
PIECE_BYTES = 256 << 20
_BATCH_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Compaction:
    """What `compact` did: the version it made and the files of each table, before and after."""

    version: int
    files_before: dict[str, int] = field(default_factory=dict)
    files_after: dict[str, int] = field(default_factory=dict)
    deleted_files: int = 0
    deleted_bytes: int = 0


def compact(
    catalog: Catalog,
    *,
    vacuum: bool = False,
    target_bytes: int = TARGET_BYTES,
    memory: str = "1GB",
    grace_s: float | None = None,
) -> Compaction:
    """Merge small files of every table into files of about `target_bytes`.

    With `vacuum`, earlier versions are given up and their files deleted. On object stores, where
    no lock keeps slow writers out, only files older than a day are; `grace_s` says otherwise.
    """
    for _ in range(TRIES):
        catalog.refresh()
        before = {table: len(catalog.files(table)) for table in catalog.tables()}
        try:
            _merge_all(catalog, target_bytes, memory)
            break
        except StaleFilesError:
            continue
    else:
        raise ConflictError(
            f"files were rewritten {TRIES} times while they were being merged",
            hint="compact when no recut or upsert is running",
        )
    deleted = _vacuum(catalog, grace_s) if vacuum else (0, 0)
    after = {table: len(catalog.files(table)) for table in catalog.tables()}
    return Compaction(catalog.version, before, after, *deleted)


def vacuum(catalog: Catalog, *, grace_s: float | None = None) -> tuple[int, int]:
    """Give up all versions before the newest; returns how many files and bytes were deleted."""
    return _vacuum(catalog, grace_s)


# -- merging -----------------------------------------------------------------------------------


def _merge_all(catalog: Catalog, target_bytes: int, memory: str) -> None:
    with (
        catalog.transaction("compact") as txn,
        Session(catalog, cutting="-", memory=memory) as session,
    ):
        for table in catalog.tables():
            spec = catalog.spec(table)
            for batch in _batches_to_merge(catalog.files(table), spec, target_bytes):
                txn.replace_files(table, _merged(session, spec, batch, target_bytes), batch)


def _batches_to_merge(
    files: Sequence[DataFile], spec: TableSpec, target_bytes: int
) -> list[list[DataFile]]:
    """Sets of files worth merging: the small ones of each cutting, version, ... together."""
    small = [item for item in files if item.bytes < target_bytes // 2]
    mixed = [item for item in files if None in _apart_of(item, spec)]
    if mixed:
        paths = {item.path for item in mixed}
        return [[*mixed, *(item for item in small if item.path not in paths)]]
    groups: dict[tuple[Any, ...], list[DataFile]] = {}
    for item in small:
        groups.setdefault(_apart_of(item, spec), []).append(item)
    return [group for group in groups.values() if len(group) > 1]


def _apart_of(item: DataFile, spec: TableSpec) -> tuple[Any, ...]:
    return tuple(item.constant(column) for column in spec.apart)


def _merged(
    session: Session, spec: TableSpec, files: Sequence[DataFile], target_bytes: int
) -> list[DataFile]:
    """The rows of some files in new ones, sorted; they stay staged."""
    written: list[DataFile] = []
    writer: DataFileWriter | None = None
    group: Any = None
    try:
        for rows in _sorted_rows(session, spec, files):
            for key, part in _by_group(rows, spec.apart):
                full = writer is not None and writer.bytes_so_far >= target_bytes
                if writer is not None and (key != group or full):
                    written.append(writer.close())
                    writer = None
                if writer is None:
                    writer = DataFileWriter(session.catalog.storage, spec)
                group = key
                writer.write(part)
    except BaseException:
        if writer is not None:
            writer.abandon()
        for item in written:
            item.discard()
        raise
    return [*written, writer.close()] if writer is not None else written


def _sorted_rows(
    session: Session, spec: TableSpec, files: Sequence[DataFile]
) -> Iterator[pa.Table]:
    """The rows of some files in the table's order, in batches of a bounded size."""
    order = list(dict.fromkeys((*spec.apart, *spec.key)))
    row_bytes = sum(map(_memory, files)) / sum(item.rows for item in files)
    if row_bytes > HEAVY_ROW_BYTES:
        for piece in _pieces(files):
            tables = [read_data_file(session.catalog.storage, spec.name, item) for item in piece]
            rows = pa.concat_tables(map(spec.conform, tables))
            yield rows.sort_by([(name, "ascending") for name in order])
        return
    by = ", ".join(map(sql_name, order))
    relation = session.connection.sql(f"{session.scan(spec.name, files)} order by {by}")
    reader = relation.to_arrow_reader(min(100_000, int(_BATCH_BYTES / row_bytes)))
    try:
        for batch in reader:
            yield spec.conform(pa.Table.from_batches([batch]))
    finally:
        reader.close()


def _memory(item: DataFile) -> float:
    """A guess at the bytes that a file's rows take in memory."""
    return item.bytes * INFLATION


def _pieces(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files in the order they were added, in groups that fit into memory."""
    piece: list[DataFile] = []
    for item in files:
        if piece and sum(map(_memory, [*piece, item])) > PIECE_BYTES:
            yield piece
            piece = []
        piece.append(item)
    yield piece


def _by_group(rows: pa.Table, columns: tuple[str, ...]) -> Iterator[tuple[Any, pa.Table]]:
    """Sorted rows in runs that agree in some columns and are no longer than a row group."""
    if columns:
        (column,) = columns
        for value in pc.unique(rows.column(column)).to_pylist():
            same = rows.filter(pc.equal(rows.column(column), value))
            yield from ((value, part) for _, part in _by_group(same, ()))
        return
    size = rows_per_group(rows)
    for start in range(0, rows.num_rows, size):
        yield None, rows.slice(start, size)


# -- vacuum ------------------------------------------------------------------------------------


def _vacuum(catalog: Catalog, grace_s: float | None) -> tuple[int, int]:
    if grace_s is None:
        grace_s = 0.0 if catalog.storage.is_local else DAY_S
    with catalog.transaction("vacuum") as txn:
        txn.forget_older()
    deleted = (0, 0)
    with catalog.storage.queue("commit"):
        head = catalog.newest()
        before = time.time() - grace_s
        readable = _readable_versions(head)
        for table in _tables_on_disk(head):
            files, size = _delete_unneeded(head, table, readable.get(table, []), before)
            deleted = (deleted[0] + files, deleted[1] + size)
    catalog.storage.sweep_staging()
    catalog.refresh()
    return deleted


def _readable_versions(head: Catalog) -> dict[str, list[int]]:
    """The versions of each table that some readable catalog version still names."""
    versions: dict[str, list[int]] = {"commits": [head.snapshot.log_version]}
    for row in head.history().to_pylist():
        if row["version"] >= head.snapshot.oldest:
            for table, version in row["tables"]:
                versions.setdefault(table, []).append(version)
    return versions


def _tables_on_disk(head: Catalog) -> list[str]:
    """Every table that has a folder, whether or not a commit ever named it."""
    storage = head.storage
    fixed = [name for name in storage.folders("") if name in TABLES]
    owned = [f"{family}/{name}" for family in FAMILIES for name in storage.folders(family)]
    return [*fixed, *owned]


def _delete_unneeded(
    head: Catalog, table: str, versions: list[int], before: float
) -> tuple[int, int]:
    log = head.log(table)
    needed = {item.path for version in set(versions) for item in log.files(version)}
    count = size = 0
    for stored in list(head.storage.walk(table)):
        name = stored.path.removeprefix(f"{table}/")
        if "/" in name or not name.endswith(".parquet") or name in needed:
            continue
        if stored.modified <= before:
            head.storage.delete(stored.path)
            count, size = count + 1, size + stored.bytes
    if versions:
        log.clean(min(versions), before)
    return count, size
