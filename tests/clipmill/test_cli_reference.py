"""`docs/cli.md` says what the program says."""

from __future__ import annotations

from pathlib import Path

from clipmill.cli.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_page_is_in_step_with_the_help() -> None:
    assert PAGE.read_text() == reference(), (
        "make it anew: python -m clipmill.cli.reference > docs/cli.md"
    )
