"""Columns of a catalog's tables with their types, units and meanings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalogs.query import SOURCE_COLUMNS, Session, source_column
from catalogs.schema import view_name

if TYPE_CHECKING:
    from catalogs import Catalog

__all__ = ["columns_of"]


def columns_of(catalog: Catalog, table: str) -> list[dict[str, Any]]:
    """The columns of a table under either of its names, or of the wide view `clips`."""
    if table == "clips":
        owned = _wide_columns(catalog)
    else:
        names = {view_name(name): name for name in catalog.tables()} | {"clips_all": "clips"}
        stored = names.get(table, table)
        owned = [(column.name, stored, column.name) for column in catalog.columns(stored)]
    rows = []
    for shown, owner, name in owned:
        column = next(item for item in catalog.columns(owner) if item.name == name)
        rows.append(
            {
                "column": shown,
                "type": str(column.type),
                "unit": column.unit,
                "meaning": column.meaning,
                "table": owner,
            }
        )
    return rows


def _wide_columns(catalog: Catalog) -> list[tuple[str, str, str]]:
    """Columns of the view `clips`: name there, table that owns it, name in that table."""
    with Session(catalog) as session:
        scores = [(shown, owner, name) for shown, (owner, name) in session.operators.items()]
    return [
        *((column.name, "clips", column.name) for column in catalog.columns("clips")),
        *((source_column(name), "sources", name) for name in SOURCE_COLUMNS),
        *scores,
    ]
