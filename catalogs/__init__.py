"""The record: schema, atomic tables, SQL, recipes and verdicts, snapshots, export.

Names are looked up when they are first used, so that importing one small module of this package
does not load the query engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalogs.catalog import Catalog, Rows, Snapshot, Transaction
    from catalogs.errors import ClipmillError
    from catalogs.query import Result, Session
    from catalogs.schema import FORMAT_VERSION, Column
    from catalogs.timebase import Span, Timestamp

__all__ = [
    "FORMAT_VERSION",
    "Catalog",
    "ClipmillError",
    "Column",
    "Result",
    "Rows",
    "Session",
    "Snapshot",
    "Span",
    "Timestamp",
    "Transaction",
]

_HOMES = {
    "FORMAT_VERSION": "schema",
    "Catalog": "catalog",
    "ClipmillError": "errors",
    "Column": "schema",
    "Result": "query",
    "Rows": "catalog",
    "Session": "query",
    "Snapshot": "catalog",
    "Span": "timebase",
    "Timestamp": "timebase",
    "Transaction": "catalog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
