"""Tables for people on a terminal. Only imported when there is one, because `rich` is slow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clipmill.cli.output import cell, human_bytes

__all__ = ["show_table"]

SQUEEZED = 12
"""Characters to which a column may be squeezed before it becomes hard to read."""
GAP = 3


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table, or a record per row where the terminal is too narrow for one."""
    console = Console()
    texts = [[_for_people(value) for value in row] for row in rows]
    needed = sum(
        min(max([len(name), *(len(row[n]) for row in texts)]), SQUEEZED) + GAP
        for n, name in enumerate(columns)
    )
    if needed <= console.width:
        console.print(
            _table(columns, texts, [_is_numeric(rows, n) for n in range(len(columns))], title)
        )
        return
    for row in texts:
        console.print(
            _table(["column", "value"], list(zip(columns, row, strict=True)), [False] * 2)
        )


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], title: str = ""
) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _is_numeric(rows: Sequence[Sequence[Any]], number: int) -> bool:
    values = [row[number] for row in rows if row[number] is not None]
    return bool(values) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in values
    )


def _for_people(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, bytes):
        return f"<{human_bytes(len(value))}>"
    return cell(value)
