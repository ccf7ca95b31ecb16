"""Where the bytes of each row are in a shard: the file is mapped and rows are copied out of it.

Parquet stores a binary column that is neither compressed nor dictionary-encoded as one run of
values, each after four bytes that hold its length, at the end of its page. Shards have one page
for each row group, so the footer and the rows' lengths say where every row starts, and reading a
row in random order costs one copy, as from a plain array.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs.errors import FormatError
from tokenize_jobs.packing import Packing

__all__ = ["MappedShard"]

_PREFIX = 4


@dataclass(frozen=True, slots=True)
class _Run:
    """Where one stream's values start: by row group, and inside it by stride or by row."""

    first: list[int]
    """First row of each row group."""
    start: list[int]
    """Position in the file of that row's value."""
    stride: int
    """Distance from value to value, 0 when rows differ in length."""
    within: NDArray[np.int64]
    """Distance of each row's value from its row group's first; empty with a stride."""

    def position(self, row: int) -> int:
        group = bisect_right(self.first, row) - 1
        if self.stride:
            return self.start[group] + (row - self.first[group]) * self.stride
        return self.start[group] + int(self.within[row])


class MappedShard:
    """A shard in memory-mapped form; the file may be deleted while it is mapped."""

    def __init__(self, file: BinaryIO, streams: Mapping[str, Packing], name: str):
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = memoryview(self._map)
        self.nbytes = len(self._bytes)
        with pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._bytes))) as parquet:
            self._runs = {
                stream: _find_run(parquet, stream, packing, self._bytes, name)
                for stream, packing in streams.items()
            }

    def row(self, stream: str, row: int, size: int) -> memoryview:
        """The bytes of a row, which is so many long."""
        position = self._runs[stream].position(row)
        return self._bytes[position : position + size]


def _find_run(
    parquet: pq.ParquetFile, stream: str, packing: Packing, data: memoryview, name: str
) -> _Run:
    steps = _lengths(parquet, stream, packing) + _PREFIX
    about = parquet.metadata
    counts = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    ends = np.cumsum(counts, dtype=np.int64)
    first = ends - np.asarray(counts, np.int64)
    before = np.concatenate([[0], np.cumsum(steps)])
    stops = np.asarray([_values_end(about.row_group(g), stream) for g in range(len(counts))])
    start = stops - (before[ends] - before[first]) + _PREFIX
    uniform = bool(len(steps)) and bool((steps == steps[0]).all())
    within = np.empty(0, np.int64)
    if not uniform:
        within = before[:-1] - np.repeat(before[first], counts)
    run = _Run(first.tolist(), start.tolist(), int(steps[0]) if uniform else 0, within)
    _check(run, steps, ends, data, f"column {stream!r} of {name}")
    return run


def _lengths(parquet: pq.ParquetFile, stream: str, packing: Packing) -> NDArray[np.int64]:
    """Bytes of each row's value, from its grid."""
    grids = parquet.read([f"{stream}_grid"], use_threads=False).column(0).combine_chunks()
    if not len(grids):
        return np.empty(0, np.int64)
    starts = grids.offsets.to_numpy()[:-1] - grids.offsets[0].as_py()
    positions = np.multiply.reduceat(grids.flatten().to_numpy().astype(np.int64), starts)
    return positions * packing.nbytes((1,))


def _values_end(group: Any, stream: str) -> int:
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema == stream:
            return int(chunk.data_page_offset + chunk.total_compressed_size)
    raise FormatError(f"a shard has no column {stream!r}")


def _check(
    run: _Run, steps: NDArray[np.int64], ends: NDArray[np.int64], data: memoryview, what: str
) -> None:
    """The length before the first and the last value of each row group must be the row's."""
    for row in [*run.first, *(ends - 1).tolist()]:
        position = run.position(row)
        prefix = bytes(data[max(0, position - _PREFIX) : max(0, position)])
        if int.from_bytes(prefix, "little") != steps[row] - _PREFIX:
            raise FormatError(
                f"{what} is compressed, paged or damaged: row {row} is not where it should be",
                allowed="files as a catalog's transactions write them",
                hint="encode these windows again, or copy their rows in a transaction",
            )
