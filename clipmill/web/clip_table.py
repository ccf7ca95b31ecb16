"""All clips of the newest cutting, by place: their number in the order of file and time.

A view of the grid is an array of places, so that a page at any position of it is a slice. Columns
of the wide view are read when a filter, a histogram or a cell first needs them and stay in memory
as Arrow arrays in order of place: a filter then scans nothing but the columns that it names.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalogs.errors import NotFoundError, nearest
from catalogs.query import Session, sql_name, wide_columns

__all__ = ["RELATION", "ClipTable", "Places", "as_arrow", "as_numpy", "mentioned"]

Places = NDArray[np.int32]

RELATION = "__clips"
"""What the columns in memory are called in SQL."""
_BASE = (
    "clip_id", "source_id", "kind", "start_pts", "end_pts", "start_s", "end_s", "duration_s",
)  # fmt: skip
_WORD = re.compile(r"[a-z_][a-z0-9_]*")


def mentioned(sql: str, columns: Sequence[str]) -> list[str]:
    """The columns that some SQL can ask for."""
    lowered = sql.lower()
    words = set(_WORD.findall(lowered))
    return [
        name
        for name in columns
        if (name.lower() in words if _WORD.fullmatch(name.lower()) else name.lower() in lowered)
    ]


def as_arrow(values: NDArray[Any]) -> pa.Array:
    """Numbers for Arrow. `pa.array` would import pandas first, which takes half a second."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, data])


def as_numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Numbers from Arrow, none of them NULL; `np.asarray` would import pandas as well."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    kind = column.type.to_pandas_dtype()
    parts = [
        np.frombuffer(chunk.buffers()[1], kind)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.empty(0, kind)


class ClipTable:
    """The clips of one edition. Arrays are made once and never changed, so threads share them.

    The session is its own from then on, for the columns that are read later.
    """

    def __init__(self, session: Session):
        self._session = session
        self.cutting = session.cutting
        self._loading = threading.Lock()
        self.columns = wide_columns(session)
        """Every column of the wide view, in order."""
        query = f"select {', '.join(_BASE)}, coalesce(start_pts, 0) as since from clips"
        rows = session.sql(query).arrow()
        sources = session.sql("select source_id, uri from sources order by uri, source_id").arrow()
        self.sources: list[str] = sources["source_id"].to_pylist()
        self.uris: list[str | None] = sources["uri"].to_pylist()
        found = pc.index_in(rows["source_id"], sources["source_id"])
        if found.null_count:  # clips of a source that nobody recorded: they come last
            found = found.fill_null(len(self.sources))
            self.sources.append("")
            self.uris.append(None)
        numbers = as_numpy(found)
        order = _order(numbers, as_numpy(rows["since"]))
        self.source_of: Places = numbers[order]
        """The number of each clip's source in `sources` and `uris`."""
        self._loaded: dict[str, pa.ChunkedArray] = {
            name: _taken(rows[name], order) for name in _BASE if name != "source_id"
        }
        self._loaded["place"] = pa.chunked_array([as_arrow(np.arange(len(order), dtype=np.int32))])

    def __len__(self) -> int:
        return len(self.source_of)

    @property
    def ids(self) -> pa.ChunkedArray:
        return self._loaded["clip_id"]

    @cached_property
    def kinds(self) -> dict[str, int]:
        """How many clips there are of each kind, the most first."""
        counts = pc.value_counts(self._loaded["kind"]).to_pylist()
        return {c["values"]: c["counts"] for c in sorted(counts, key=lambda c: -c["counts"])}

    def place_of(self, clip_id: str, guess: int = -1) -> int:
        """Where a clip is; `guess` is right unless the catalog changed."""
        if 0 <= guess < len(self) and self.ids[guess].as_py() == clip_id:
            return guess
        place = pc.index(self.ids, clip_id).as_py()
        if place < 0:
            raise NotFoundError(f"no clip {clip_id} is in this cutting")
        return int(place)

    def known(self, name: str) -> str:
        """A column's name, if there is such a column."""
        if name not in self.columns:
            raise NotFoundError(f"there is no column {name!r}", hint=nearest(name, self.columns))
        return name

    def load(self, names: Sequence[str]) -> None:
        """Have columns in memory. It may take seconds, and no question's time counts."""
        with self._loading:
            missing = [name for name in dict.fromkeys(names) if name not in self._loaded]
            if missing:
                self._read(missing)

    def table(self, names: Sequence[str]) -> pa.Table:
        """Columns by place, with the column `place`."""
        self.load(names)
        return pa.table({name: self._loaded[name] for name in dict.fromkeys(("place", *names))})

    @contextmanager
    def relation(self, session: Session, names: Sequence[str]) -> Iterator[str]:
        """Columns by place as a relation for SQL; gives its name."""
        session.connection.register(RELATION, self.table(names))
        try:
            yield RELATION
        finally:
            session.connection.unregister(RELATION)

    def rows(self, places: Places, names: Sequence[str]) -> list[dict[str, Any]]:
        """Clips as rows of some columns, with their `source_id` and `uri`."""
        found = self.table(names).take(as_arrow(places))
        numbers = self.source_of[places].tolist()
        return [
            {**row, "source_id": self.sources[number], "uri": self.uris[number]}
            for row, number in zip(found.to_pylist(), numbers, strict=True)
        ]

    def _read(self, names: Sequence[str]) -> None:
        query = (
            f"select p.place, {', '.join(f'c.{sql_name(name)}' for name in names)} "
            f"from {self._keys} p join clips c using (clip_id)"
        )
        found = self._session.sql(query).arrow()
        order = np.empty(len(self), np.int64)
        order[as_numpy(found["place"])] = np.arange(len(self))
        for name in names:
            self._loaded[name] = _taken(found[name], order)

    @cached_property
    def _keys(self) -> str:
        """The relation of ids and places."""
        keys = pa.table({"clip_id": self.ids, "place": self._loaded["place"]})
        self._session.connection.register("__places", keys)
        return "__places"


def _taken(column: pa.ChunkedArray, order: NDArray[np.int64]) -> pa.ChunkedArray:
    """A column in another order. Texts are taken fast only from one piece."""
    if pa.types.is_string(column.type):
        column = pa.chunked_array([column.combine_chunks()], column.type)
    return column.take(as_arrow(order))


def _order(sources: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows by source, then by time: one sort of numbers that hold both, which is fast."""
    if not len(sources):
        return np.empty(0, np.int64)
    since = starts - starts.min()
    too_wide = max(0, int(since.max()).bit_length() + int(sources.max()).bit_length() - 63)
    digits = int(since.max() >> too_wide).bit_length()
    return np.argsort((sources.astype(np.int64) << digits) | (since >> too_wide))
