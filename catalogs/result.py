"""The answer to a query: rows, dicts, Arrow, pandas, or a stream of batches."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Generator, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import duckdb
import pyarrow as pa

from catalogs.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Result"]


@lru_cache(maxsize=1)
def _unfinished() -> WeakSet[Generator[pa.RecordBatch, None, None]]:
    """Streams that somebody holds; those still there when the process ends are closed.

    DuckDB reads ahead on threads of its own, on object stores through Python. A thread that is
    doing so when the interpreter goes away never returns, and the process would wait for it.
    """
    streams: WeakSet[Generator[pa.RecordBatch, None, None]] = WeakSet()

    def close() -> None:
        for stream in list(streams):
            with contextlib.suppress(ValueError):  # a daemon thread is reading it right now
                stream.close()

    atexit.register(close)
    return streams


class Result:
    """The answer to one query. Every call below runs the query; nothing is kept in between.

    `prepare` is called before each run: it makes the views as this query needs them. `stream`
    gives the relation on a cursor of its own, so that a stream half read blocks no other query.
    """

    def __init__(
        self,
        relation: duckdb.DuckDBPyRelation,
        *,
        prepare: Callable[[], None],
        stream: Callable[[], duckdb.DuckDBPyRelation],
    ):
        self._relation = relation
        self._prepare = prepare
        self._stream = stream

    @property
    def columns(self) -> list[str]:
        return list(self._relation.columns)

    @property
    def types(self) -> list[str]:
        """DuckDB's type of each column."""
        return [str(kind) for kind in self._relation.types]

    def rows(self) -> list[tuple[Any, ...]]:
        return self._run(self._relation.fetchall)

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows()]

    def one(self) -> tuple[Any, ...]:
        """The only row."""
        rows = self._run(self._relation.limit(2).fetchall)
        if len(rows) != 1:
            raise QueryError(f"the query gave {'no row' if not rows else 'several rows'}, not one")
        return rows[0]

    def value(self) -> Any:
        """The first column of the only row."""
        return self.one()[0]

    def arrow(self) -> pa.Table:
        return self._run(self._relation.to_arrow_table)

    def batches(self, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Record batches, made as they are read: memory does not grow with the result."""
        batches = self._batches(rows)
        _unfinished().add(batches)
        return batches

    def _batches(self, rows: int) -> Generator[pa.RecordBatch, None, None]:
        reader = self._run(lambda: self._stream().to_arrow_reader(rows))
        try:
            yield from reader
        except (pa.ArrowException, OSError) as error:
            raise QueryError(str(error)) from error
        finally:
            reader.close()

    def pandas(self) -> pd.DataFrame:
        return self.arrow().to_pandas()

    def _run(self, call: Callable[[], Any]) -> Any:
        self._prepare()
        try:
            return call()
        except duckdb.Error as error:
            raise QueryError(str(error)) from error
        except RuntimeError as error:
            # What DuckDB makes of Ctrl-C, when it notices before Python does.
            if "interrupted" in str(error):
                raise KeyboardInterrupt from error
            raise
