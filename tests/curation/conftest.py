"""What the tests of curation share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from catalogs import Catalog

STAMPS = {"created", "run_id", "host"}

Contents = dict[str, list[str]]


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], Contents]:
    """A function that reads all of a catalog's tables but the runs, to compare two catalogs."""

    def read(folder: Path) -> Contents:
        catalog = Catalog.open(folder)
        tables = {name: table_contents(catalog, name) for name in catalog.tables()}
        return {name: rows for name, rows in tables.items() if name != "runs" and rows}

    return read


def table_contents(catalog: Catalog, table: str) -> list[str]:
    """Rows as sorted text, without when and where they were written."""
    names = [c.name for c in catalog.columns(table) if c.name not in STAMPS]
    rows = catalog.sql(f"select {', '.join(names)} from {table.replace('/', '_')}").rows()
    return sorted(map(repr, rows))
