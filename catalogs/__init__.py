"""The record: schema, atomic tables, SQL, recipes and verdicts, snapshots, export."""

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
