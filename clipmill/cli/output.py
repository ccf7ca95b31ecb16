"""What verbs print: tables for people on a terminal, tab-separated text in a pipe, or JSON.

Results go to stdout, remarks to stderr. In tab-separated text, tabs and line breaks inside of
values are written as `\\t` and `\\n`, and NULL is empty.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import IO, Any

from catalogs.amounts import human_bytes

__all__ = [
    "cell",
    "human_bytes",
    "note",
    "plain",
    "print_json",
    "print_rows",
    "print_table",
    "write_tsv",
]

_TSV_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def note(text: str) -> None:
    """A remark beside the result."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Some columns of rows that are mappings, as a table."""
    print_table(columns, [[row[name] for name in columns] for row in rows])


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """A table on a terminal, tab-separated lines elsewhere (without the title).

    What is too wide for a terminal is shown row by row, a line for each column.
    """
    if sys.stdout.isatty():
        from clipmill.cli.terminal import show_table

        show_table(columns, list(rows), title)
    else:
        write_tsv(sys.stdout, rows, columns)


def write_tsv(
    stream: IO[str], rows: Iterable[Sequence[Any]], columns: Sequence[str] | None = None
) -> None:
    """Rows as they come, below a line of column names if given."""
    if columns is not None:
        stream.write("\t".join(columns) + "\n")
    stream.writelines(
        "\t".join(cell(value).translate(_TSV_ESCAPES) for value in row) + "\n" for row in rows
    )


def plain(value: Any) -> Any:
    """A value as JSON can hold it: times as ISO text, bytes as base64, NaN as null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)


def cell(value: Any) -> str:
    """A value as text; NULL is empty, lists and mappings are JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Decimal):
        return str(value)
    value = plain(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tsv_cell(value: Any) -> str:
    if isinstance(value, int | float):
        return cell(value)
    return cell(value).translate(_TSV_ESCAPES)
