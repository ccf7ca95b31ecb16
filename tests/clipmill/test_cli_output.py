"""How values are printed."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from clipmill.cli.output import human_bytes, plain, print_table, write_tsv


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (True, True),
        (Decimal("12"), 12),
        (Decimal("1.5"), 1.5),
        (b"\x00\xff", "AP8="),
        (datetime(2026, 5, 1, tzinfo=UTC), "2026-05-01T00:00:00+00:00"),
        (date(2026, 5, 1), "2026-05-01"),
        (timedelta(seconds=90), 90.0),
        ({1: (1, {"a": float("nan")})}, {"1": [1, {"a": None}]}),
    ],
)
def test_json_values(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_tsv_has_a_line_per_row() -> None:
    stream = io.StringIO()

    write_tsv(stream, [("a\tb", None), ("c\r\n", {"k": b"\x00"})], ["one", "two"])

    assert stream.getvalue() == 'one\ttwo\na\\tb\t\nc\\r\\n\t{"k": "AA=="}\n'


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_a_terminal_shows_values_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(["name", "n"], [("[bold]x[/bold]", 1234.5), (None, 2.0)], title="T")

    shown = terminal.getvalue()
    assert "[bold]x[/bold]" in shown, "values are not markup"
    assert "1,234.5" in shown


def test_what_is_too_wide_is_shown_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    columns = [f"column_{number}" for number in range(20)]
    print_table(columns, [list(range(20)), list(range(100, 120))])

    lines = [line.split() for line in terminal.getvalue().splitlines()]
    assert ["column_19", "19"] in lines
    assert ["column_0", "100"] in lines
