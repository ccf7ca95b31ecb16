"""What a worker hands back: rows for tables, and what could not be done."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from catalogs.errors import ClipmillError
from catalogs.schema import Column, spec_of
from curation.media.errors import MediaError

__all__ = ["Outcome", "Problem", "Rows"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A file, or one stage of its processing, that failed: a row of `quarantine`."""

    uri: str
    stage: str
    error_class: str
    detail: str
    source_id: str | None = None
    bytes: int | None = None
    signal: str | None = None
    host: str = field(default_factory=socket.gethostname)

    @classmethod
    def of(
        cls,
        error: BaseException,
        uri: str,
        *,
        stage: str,
        source_id: str | None = None,
        size: int | None = None,
    ) -> Problem:
        """The quarantine row of an exception."""
        if isinstance(error, MediaError):
            return cls(
                uri, error.stage, error.error_class, error.detail, source_id, size,
                error.signal,
            )  # fmt: skip
        detail = str(error) or type(error).__name__
        name = type(error).__name__
        if isinstance(error, OSError):
            name, detail = "unreadable", error.strerror or detail
        elif isinstance(error, ClipmillError):
            name = name.removesuffix("Error").lower()
        return cls(uri, stage, name, detail, source_id, size, getattr(error, "signal", None))

    def row(self) -> dict[str, Any]:
        return {
            "uri": self.uri,
            "source_id": self.source_id,
            "bytes": self.bytes,
            "stage": self.stage,
            "error_class": self.error_class,
            "detail": self.detail,
            "signal": self.signal,
            "host": self.host,
        }


@dataclass(slots=True)
class Rows:
    """Rows of one table, and the columns that its owner declares."""

    table: pa.Table
    columns: tuple[Column, ...] = ()

    @classmethod
    def of(
        cls, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column] = ()
    ) -> Rows:
        """Rows in the stored types of table `name`; absent columns are left out."""
        schema = spec_of(name, columns).schema
        present = [field for field in schema if any(field.name in row for row in rows)]
        arrays = [pa.array([row.get(f.name) for row in rows], f.type) for f in present]
        return cls(pa.table(arrays, schema=pa.schema(present)), tuple(columns))


@dataclass(slots=True)
class Outcome:
    """The result of one piece of work."""

    source_ids: tuple[str, ...] = ()
    rows: dict[str, Rows] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    frames: int = 0
    """Frames that were decoded."""
    media_s: float = 0.0
    """Length of the media that was measured."""
    bytes: int = 0
    clips: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent, by stage."""

    def add(
        self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column] = ()
    ) -> None:
        """More rows for a table."""
        if not rows:
            return
        more = Rows.of(name, rows, columns)
        if (have := self.rows.get(name)) is not None:
            tables = [have.table, more.table]
            more.table = pa.concat_tables(tables, promote_options="default")
        self.rows[name] = more
