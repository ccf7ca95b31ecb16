"""Query results in every format, streamed: memory does not grow with the result."""

from __future__ import annotations

import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from clipmill.cli.output import cell, note, plain, print_table, write_tsv

if TYPE_CHECKING:
    import pyarrow as pa

    from catalogs import Result

__all__ = ["ResultFormat", "print_result", "save_result"]

TERMINAL_ROWS = 100
"""How many rows a terminal is shown when nobody said how many."""


class ResultFormat(StrEnum):
    """How a result is written."""

    table = "table"
    tsv = "tsv"
    csv = "csv"
    json = "json"
    jsonl = "jsonl"
    parquet = "parquet"


def print_result(result: Result, fmt: ResultFormat | None, limit: int | None) -> None:
    """Write a result to stdout: a table on a terminal, tab-separated lines in a pipe."""
    if fmt is None:
        fmt = ResultFormat.table if sys.stdout.isatty() else ResultFormat.tsv
    if fmt is ResultFormat.table:
        _print_as_table(result, limit)
    else:
        _write_text(sys.stdout, result, fmt, limit)


def save_result(result: Result, path: Path, fmt: ResultFormat | None, limit: int | None) -> int:
    """Write a result to a file, which appears when it is complete; returns the rows."""
    fmt = fmt or _format_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if fmt is ResultFormat.parquet:
            rows = _write_parquet(staged, result, limit)
        else:
            with staged.open("w", encoding="utf-8", newline="") as stream:
                rows = _write_text(stream, result, fmt, limit)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    return rows


def _format_of(path: Path) -> ResultFormat:
    from catalogs.errors import UsageError

    suffix = path.suffix.removeprefix(".").lower()
    known = [fmt.value for fmt in ResultFormat if fmt is not ResultFormat.table]
    if suffix not in known:
        raise UsageError(
            f"{path.name!r} does not say in which format to write",
            allowed=", ".join(f".{name}" for name in known),
            hint="or name it with --format",
        )
    return ResultFormat(suffix)


def _print_as_table(result: Result, limit: int | None) -> None:
    shown = TERMINAL_ROWS if limit is None else limit
    rows = list(_rows(result, shown + 1 if limit is None else limit))
    print_table(result.columns, rows[:shown] if limit is None else rows)
    if limit is None and len(rows) > shown:
        note(f"the first {shown} rows; --limit 0 shows all, --to FILE saves them")


def _write_text(stream: IO[str], result: Result, fmt: ResultFormat, limit: int | None) -> int:
    rows = _Counted(_rows(result, limit))
    if fmt is ResultFormat.json:
        _write_json(stream, rows, result.columns)
    elif fmt is ResultFormat.jsonl:
        stream.writelines(f"{line}\n" for line in _json_lines(rows, result.columns))
    elif fmt is ResultFormat.csv:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(result.columns)
        writer.writerows(map(cell, row) for row in rows)
    else:
        write_tsv(stream, rows, result.columns)
    return rows.count


def _write_json(stream: IO[str], rows: Iterator[Sequence[Any]], columns: list[str]) -> None:
    stream.write("[")
    for number, line in enumerate(_json_lines(rows, columns)):
        stream.write(",\n " if number else "\n ")
        stream.write(line)
    stream.write("\n]\n")


def _json_lines(rows: Iterator[Sequence[Any]], columns: list[str]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(plain(dict(zip(columns, row, strict=True))), ensure_ascii=False)


def _write_parquet(path: Path, result: Result, limit: int | None) -> int:
    import pyarrow.parquet as pq

    batches = _batches(result, limit)
    first = next(batches, None)
    if first is None:
        pq.write_table(result.arrow(), path)
        return 0
    rows = 0
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        for batch in itertools.chain([first], batches):
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _rows(result: Result, limit: int | None) -> Iterator[tuple[Any, ...]]:
    for batch in _batches(result, limit):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _batches(result: Result, limit: int | None) -> Iterator[pa.RecordBatch]:
    """Batches of at most `limit` rows together; 0 and None are without limit."""
    left = limit or sys.maxsize
    for batch in result.batches(min(left, 10_000)):
        yield batch.slice(0, left)
        left -= batch.num_rows
        if left <= 0:
            return


class _Counted(Iterator[Any]):
    """Passes items on and counts them."""

    def __init__(self, items: Iterator[Any]):
        self._items = items
        self.count = 0

    def __next__(self) -> Any:
        item = next(self._items)
        self.count += 1
        return item
