"""Token shards: from the arrays of a tokenizer to rows of a table, and back.

    table = TokenTable("video/vq", spec.hash, weights, [TokenStream(levels=(1024,))])
    writer = ShardWriter(table)
    writer.add(Window(clip_id, 0, span, frames=17, fps=24.0, transform_hash=t), {"tokens": ids})
    with catalog.transaction("tokens") as txn:
        writer.finish(quality={"psnr_db": 31.2}).insert(txn)

One table per tokenizer, `tokens/NAME@SPEC`, holds a row for every window of a clip. A stream has
two columns, `NAME` with the packed bytes and `NAME_grid` with the grid; the type stands in the
unit of the first. `token_shards` tells how the rows of a commit were made. Rows whose key is
there already are left alone, so writing a shard twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import NotFoundError, SchemaError, UsageError, nearest
from catalogs.ids import ID_LENGTH
from catalogs.schema import Column, spec_of
from catalogs.timebase import Span
from tokenize_jobs.packing import Packing

if TYPE_CHECKING:
    from catalogs.catalog import Catalog, Transaction

__all__ = [
    "ShardWriter",
    "TokenShard",
    "TokenStream",
    "TokenTable",
    "Window",
    "find_tokens",
    "packings",
    "unpack",
]

_GRID = "_grid"
_SPEC_DIGITS = 12
_MOST_MARKED = 1 << 24


@dataclass(frozen=True, slots=True)
class TokenStream:
    """One named array of a tokenizer's output: ids of so many `levels`, or latents.

    `levels` are the code counts at a position (several for residual codes), `channels` is the
    width of a latent; a stream has one or the other.
    """

    name: str = "tokens"
    levels: tuple[int, ...] = ()
    channels: int = 0
    precision: Literal["float16", "bfloat16"] = "float16"
    """How latents are stored."""

    def __post_init__(self) -> None:
        if bool(self.levels) == bool(self.channels):
            raise UsageError(
                f"stream {self.name!r} has levels {self.levels} and {self.channels} channels",
                allowed="levels=(codes, ...) for ids, or channels=width for latents",
            )

    @property
    def packing(self) -> Packing:
        """The smallest type that holds every code; one axis more for several levels."""
        if self.channels:
            return Packing(self.precision, self.channels)
        largest = max(self.levels) - 1
        dtype = "uint8" if largest < 2**8 else "uint16" if largest < 2**16 else "uint32"
        return Packing(dtype, len(self.levels) if len(self.levels) > 1 else 0)

    def columns(self) -> tuple[Column, Column]:
        """The packed values and their grid."""
        what = (
            f"ids below {', '.join(map(str, self.levels))}"
            if self.levels
            else f"latents of {self.channels} channels"
        )
        return (
            Column(self.name, pa.binary(), f"{what}, row-major", self.packing.unit),
            Column(self.name + _GRID, pa.list_(pa.int32()), f"grid of {self.name}, time first"),
        )

    def check(self, array: NDArray[Any]) -> None:
        """Refuse values that the stream cannot hold."""
        if self.channels:
            if array.dtype.kind != "f":
                raise SchemaError(f"latents are {array.dtype}", allowed="floating-point numbers")
            return
        if array.dtype.kind not in "iu":
            raise SchemaError(f"ids of {self.name!r} are {array.dtype}", allowed="integers")
        tops = np.asarray(self.levels) if len(self.levels) > 1 else self.levels[0]
        if array.size and (array.min() < 0 or (array >= tops).any()):
            raise SchemaError(
                f"{self.name!r} holds ids from {array.min()} to {array.max()}",
                allowed=f"0 to below {', '.join(map(str, self.levels))}",
                hint="the tokenizer's specification does not describe its output",
            )


@dataclass(frozen=True)
class TokenTable:
    """A tokenizer as its table knows it: what names the table and what its rows repeat."""

    tokenizer: str
    spec_hash: str
    weights_hash: str
    streams: Sequence[TokenStream]
    tiling: str = ""
    """How inputs larger than the model's were cut, empty if not at all."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that decide the ids."""

    @property
    def name(self) -> str:
        """`tokens/NAME@SPEC`: the tokenizer's name and how its specification's hash begins."""
        plain = re.sub(r"[^a-z0-9_.-]+", ".", self.tokenizer.lower()).strip(".-")
        return f"tokens/{plain}@{self.spec_hash[:_SPEC_DIGITS]}"

    def columns(self) -> list[Column]:
        """The columns that this table adds to those of every table of tokens."""
        return [column for stream in self.streams for column in stream.columns()]


@dataclass(frozen=True, slots=True)
class Window:
    """What was encoded: a stretch of a clip, in the source's time base."""

    clip_id: str
    index: int
    span: Span
    frames: int
    fps: float
    transform_hash: str

    def row(self) -> dict[str, Any]:
        return {
            "clip_id": self.clip_id,
            "window_index": self.index,
            "start_pts": self.span.start_pts,
            "end_pts": self.span.end_pts,
            "time_base_num": self.span.time_base.numerator,
            "time_base_den": self.span.time_base.denominator,
            "frames": self.frames,
            "fps": self.fps,
            "transform_hash": self.transform_hash,
        }


@dataclass(frozen=True)
class TokenShard:
    """Rows for one commit, and their rows of `token_shards` (one for each stream)."""

    table: TokenTable
    rows: pa.Table
    records: Sequence[Mapping[str, Any]]

    def insert(self, txn: Transaction, *, since: int = 0) -> None:
        """Write into a transaction; windows that are there already stay as they are.

        `since` is a catalog version at which none of them was: only later files are searched.
        """
        txn.require(lambda head: check_streams(head, self.table))
        txn.insert(self.table.name, self.rows, self.table.columns(), since=since)
        txn.insert("token_shards", self.records, since=since)


class ShardWriter:
    """Collects windows until they are worth a commit (`bytes` says how much there is)."""

    def __init__(self, table: TokenTable, *, run_id: str | None = None):
        self._table = table
        self._run = run_id
        self._clear()

    def _clear(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._used = {stream.name: _unused(stream) for stream in self._table.streams}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, window: Window, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add one window; `arrays` has each stream's ids or latents, without a batch axis."""
        names = [stream.name for stream in self._table.streams]
        if set(arrays) != set(names):
            raise SchemaError(
                f"arrays are named {', '.join(sorted(arrays))}", allowed=", ".join(names)
            )
        row = window.row()
        for stream in self._table.streams:
            array = np.asarray(arrays[stream.name])
            grid = stream.packing.grid_of(array.shape)
            stream.check(array)
            row[stream.name] = stream.packing.pack(array)
            row[stream.name + _GRID] = list(grid)
            self.bytes += len(row[stream.name])
            self._note_codes(stream, array)
        self._rows.append(row)

    def finish(self, quality: Mapping[str, float] | None = None) -> TokenShard:
        """The shard, and an empty writer. `quality` is what decoding a sample of it measured."""
        table = self._table
        shard = _shard_id(table, self._rows)
        shared = {
            "spec_hash": table.spec_hash,
            "weights_hash": table.weights_hash,
            "shard": shard,
            "run_id": self._run,
        }
        records = [self._record(stream, quality or {}) | shared for stream in table.streams]
        rows = pa.Table.from_pylist([row | shared for row in self._rows], self._schema())
        self._clear()
        return TokenShard(table, rows, records)

    def _schema(self) -> pa.Schema:
        schema = spec_of(self._table.name, self._table.columns()).schema
        return pa.schema([item for item in schema if item.name != "created"])

    def _note_codes(self, stream: TokenStream, array: NDArray[Any]) -> None:
        levels = self._used[stream.name]
        for number, used in enumerate(levels):
            if used is not None:
                used[array[..., number] if len(levels) > 1 else array] = True

    def _record(self, stream: TokenStream, quality: Mapping[str, float]) -> dict[str, Any]:
        packed = [row[stream.name] for row in self._rows]
        size = sum(map(len, packed))
        position = stream.packing.stored.itemsize * max(1, stream.packing.trailing)
        return {
            "tokens": self._table.name,
            "stream": stream.name,
            "dtype": stream.packing.dtype,
            "levels": list(stream.levels),
            "channels": stream.channels,
            "windows": len(packed),
            "positions": size // position,
            "bytes": size,
            "codes_used": [
                None if used is None else int(used.sum()) for used in self._used[stream.name]
            ],
            "quality": json.dumps(dict(quality), sort_keys=True),
            "tiling": self._table.tiling,
            "versions": json.dumps(dict(self._table.versions), sort_keys=True),
        }


def _unused(stream: TokenStream) -> list[NDArray[np.bool_] | None]:
    """A mark for each code of each level; none where there are too many codes to mark."""
    return [np.zeros(n, np.bool_) if n <= _MOST_MARKED else None for n in stream.levels]


def _shard_id(table: TokenTable, rows: Sequence[Mapping[str, Any]]) -> str:
    """The same rows make the same shard, whoever encodes them."""
    keys = [(row["clip_id"], row["window_index"], row["transform_hash"]) for row in rows]
    text = json.dumps([table.name, table.weights_hash, sorted(keys)])
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def check_streams(catalog: Catalog, table: TokenTable) -> None:
    """Refuse to write streams of other types than the table already has."""
    if table.name not in catalog.snapshot.tables:
        return
    present = packings(catalog.columns(table.name))
    wanted = {stream.name: stream.packing for stream in table.streams}
    if present != wanted:
        raise SchemaError(
            f"{table.name} holds {_listed(present)}, not {_listed(wanted)}",
            hint="a tokenizer whose output changes needs another specification hash",
        )


def _listed(streams: Mapping[str, Packing]) -> str:
    return ", ".join(f"{name} {packing.unit}" for name, packing in streams.items())


def packings(columns: Sequence[Column]) -> dict[str, Packing]:
    """The streams of a table of tokens, from its columns."""
    names = {column.name for column in columns}
    return {
        column.name: Packing.parse(column.unit)
        for column in columns
        if column.type == pa.binary() and column.name + _GRID in names
    }


def unpack(rows: pa.Table, columns: Sequence[Column]) -> list[dict[str, NDArray[Any]]]:
    """The arrays of each row by stream. `columns` are those of the table: `catalog.columns`."""
    streams = {n: p for n, p in packings(columns).items() if n in rows.column_names}
    arrays: list[dict[str, NDArray[Any]]] = [{} for _ in range(rows.num_rows)]
    for name, packing in streams.items():
        pairs = zip(rows[name].to_pylist(), rows[name + _GRID].to_pylist(), strict=True)
        for row, (data, grid) in zip(arrays, pairs, strict=True):
            row[name] = packing.unpack(data, grid)
    return arrays


def find_tokens(catalog: Catalog, name: str) -> str:
    """The table of a tokenizer, by its full name or a unique beginning of it."""
    known = [table for table in catalog.tables() if table.startswith("tokens/")]
    wanted = name if name.startswith("tokens/") else f"tokens/{name.replace('/', '.')}"
    matches = [table for table in known if table == wanted] or [
        table for table in known if table.startswith(wanted)
    ]
    if len(matches) == 1:
        return matches[0]
    raise NotFoundError(
        f"{'several tables of tokens begin' if matches else 'no table of tokens begins'} "
        f"with {name!r}",
        allowed=", ".join(matches or known) or "none yet",
        hint=nearest(wanted, known) or "clipmill tokenize CATALOG SELECTION --tokenizer NAME",
    )
