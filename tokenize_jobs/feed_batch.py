"""From entries of the index to a batch of tensors: rows are gathered, typed, padded and joined."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from catalogs.errors import NotFoundError, SchemaError
from tokenize_jobs.feed_cache import ShardCache
from tokenize_jobs.feed_index import FeedIndex, Place
from tokenize_jobs.feed_layout import MappedShard
from tokenize_jobs.feed_order import Numbers, hash_numbers
from tokenize_jobs.feed_text import TEXT, text_batch
from tokenize_jobs.packing import Packing

__all__ = ["Batcher", "IdType", "ShardPool", "to_tensor"]

IdType = Literal["int64", "stored"]

_MOST_OPEN = 256
"""Each mapped file holds a descriptor, of which a process has 1,024 by default."""


@dataclass
class ShardPool:
    """The shards that this process has mapped, the least recently used let go first."""

    places: Sequence[Place]
    streams: Mapping[str, Packing]
    home: Path | ShardCache
    """The folder that the shards are in, or the cache that fetches them."""
    _open: OrderedDict[int, MappedShard] = field(default_factory=OrderedDict)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def __getitem__(self, file: int) -> MappedShard:
        shard = self._open.get(file)
        if shard is None:
            shard = self._open[file] = self._map(self.places[file])
            while len(self._open) > 1 and self._too_much():
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(file)
        return shard

    def _too_much(self) -> bool:
        """A file that is mapped takes disk space even after the cache has dropped it."""
        if isinstance(self.home, Path):
            return len(self._open) > _MOST_OPEN
        held = sum(shard.nbytes for shard in self._open.values())
        return len(self._open) > _MOST_OPEN or held > self.home.limit_bytes // 2

    def _map(self, place: Place) -> MappedShard:
        if isinstance(self.home, ShardCache):
            with self.home.open(place.path, place.bytes) as file:
                return MappedShard(file, self.streams, place.path)
        try:
            with open(self.home / place.path, "rb") as file:
                return MappedShard(file, self.streams, place.path)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{self.home / place.path} does not exist",
                hint="the version that this feed reads was vacuumed: open the catalog anew",
            ) from error

    def gather(
        self, stream: str, files: NDArray[np.int32], rows: Numbers, sizes: Numbers
    ) -> NDArray[np.uint8]:
        """Each row's bytes in a line of its own; shorter ones end in zeros."""
        width = int(sizes.max())
        uniform = bool((sizes == width).all())
        lines = (np.empty if uniform else np.zeros)((len(rows), width), np.uint8)
        flat = lines.data.cast("B")
        wanted = zip(files.tolist(), rows.tolist(), sizes.tolist(), strict=True)
        for begin, (file, row, size) in zip(range(0, lines.size, width), wanted, strict=True):
            flat[begin : begin + size] = self[file].row(stream, row, size)
        return lines


def to_tensor(values: NDArray[Any], packing: Packing, ids: IdType) -> torch.Tensor:
    """Stored values as a tensor: ids widened on request, latents in the type they were saved in."""
    if packing.dtype == "bfloat16":
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    if packing.dtype.startswith("uint") and ids == "int64":
        values = values.astype(np.int64)
    return torch.from_numpy(values)


@dataclass
class Batcher:
    """Makes batches; it is what a worker needs, and is pickled to it."""

    index: FeedIndex
    pool: ShardPool
    ids: IdType
    bucket: bool
    pad: int
    lengths: bool
    classes: str | None = None
    class_names: Sequence[str] = ()
    texts: ShardPool | None = None
    """Where the tokens of captions are."""

    def arrays(self, entries: Numbers, copies: Numbers, *salts: int) -> dict[str, Any]:
        """The windows at `entries` as arrays and lists, which cross to another process cheaply.

        The number of a window's copy and the salts decide which of its captions it gets.
        """
        made: dict[str, Any] = {}
        for name, packing in self.index.streams.items():
            made |= self._stream(name, packing, entries)
        taken = pa.array(entries)
        for name, column in self.index.columns.items():
            if name == self.classes:
                made["classes"] = self._class_ids(column.take(taken))
            else:
                made[name] = _joined(column.take(taken))
        return made | self._captions(entries, hash_numbers(copies, *salts, 5), salts)

    def _captions(
        self, entries: Numbers, copies: NDArray[np.uint64], salts: Sequence[int]
    ) -> dict[str, Any]:
        """A caption of each window, its tokens, or both."""
        captions, text = self.index.captions, self.index.text
        lists = text.found if text is not None else captions
        if lists is None:
            return {}
        numbers = _one_each(lists.take(pa.array(entries)), hash_numbers(entries, *salts) ^ copies)
        made: dict[str, Any] = {}
        if captions is not None:
            pairs = zip(captions.take(pa.array(entries)).to_pylist(), numbers, strict=True)
            made["captions"] = ["" if n is None else texts[n] for texts, n in pairs]
        if text is not None:
            made |= text_batch(text, self.texts, entries, numbers)
        return made

    def tensors(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """What training gets: every array as a tensor, ids in the type that was asked for."""
        made = {}
        for name, value in arrays.items():
            packing = self._packing(name)
            if packing is not None:
                made[name] = to_tensor(value, packing, self.ids)
            else:
                made[name] = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        return made

    def _packing(self, name: str) -> Packing | None:
        """How the values of a batch were stored, if they are tokens."""
        if self.index.text is not None and name == TEXT:
            return self.index.text.packing
        return self.index.streams.get(name)

    def _stream(self, name: str, packing: Packing, entries: Numbers) -> dict[str, Any]:
        index = self.index
        grids = [grid[name] for grid in index.grids]
        buckets = index.bucket[entries]
        sizes = np.asarray([packing.nbytes(grid) for grid in grids], np.int64)[buckets]
        lines = self.pool.gather(name, index.file[entries], index.row[entries], sizes)
        values = lines.view(packing.stored)
        lengths = sizes // packing.nbytes((1,))
        made: dict[str, Any] = {f"{name}_lengths": lengths} if self.lengths else {}
        if self.bucket:
            shape = packing.shape(grids[buckets[0]])
            return made | {name: values.reshape(len(entries), *shape)}
        inside = np.arange(lengths.max()) < lengths[:, None]
        values = values.reshape(len(entries), *packing.shape((int(lengths.max()),)))
        if self.pad:
            values[~inside] = self.pad
        made[f"{name}_mask"] = inside
        made[f"{name}_grid"] = np.asarray([grids[bucket] for bucket in buckets.tolist()])
        return made | {name: values}

    def _class_ids(self, values: pa.Array) -> Numbers:
        ids = pc.index_in(values, pa.array(self.class_names, pa.string()))
        if ids.null_count:
            strange = values.filter(pc.is_null(ids))[0].as_py()
            raise SchemaError(
                f"{self.classes} {strange!r} is none of the classes",
                allowed=", ".join(self.class_names[:20]),
                hint="give the names of all classes as class_names",
            )
        return ids.to_numpy().astype(np.int64)


def _joined(values: pa.Array) -> NDArray[Any] | list[str]:
    if pa.types.is_string(values.type):
        texts: list[str] = values.to_pylist()
        return texts
    return values.to_numpy(zero_copy_only=False).copy()


def _one_each(captions: pa.ListArray, drawn: NDArray[np.uint64]) -> list[int | None]:
    """Which caption each window gets, by the number that was drawn for it; None without any."""
    counts = pc.fill_null(captions.value_lengths(), 0).to_pylist()
    pairs = zip(counts, drawn.tolist(), strict=True)
    return [number % count if count else None for count, number in pairs]
