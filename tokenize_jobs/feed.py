"""Token shards as shuffled batches for training, the same ones on every machine.

    feed = TokenFeed(catalog, "vq", selection="calm", split="train", batch=64, seed=1,
                     columns=["captions"], rank=rank, world=world)
    for batch in feed.loader(workers=2):          # one epoch, or what is left of it
        train(batch["tokens"], batch["captions"])
        save(feed.state_dict())

The order of an epoch is one global list of batches, made from the seed and the epoch. Rank r of w
takes every w-th batch and shares it among its workers, so neither number changes what comes, and a
state saved on four ranks goes on exactly on three: every window once, none twice. The feed reads
the version of the catalog that it was made with, whatever is written meanwhile, and keeps no
connection to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.compute as pc
from torch.utils.data import IterableDataset, get_worker_info

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from tokenize_jobs.feed_batch import Batcher, IdType, ShardPool
from tokenize_jobs.feed_cache import DEFAULT_BYTES, ShardCache, default_folder
from tokenize_jobs.feed_index import FeedIndex, Wanted, build_index, merged
from tokenize_jobs.feed_loader import Batch, FeedLoader
from tokenize_jobs.feed_mixture import check_weights, mixture_rates, occurrences
from tokenize_jobs.feed_order import (
    Batches,
    Numbers,
    hash_numbers,
    make_batches,
    remaining,
    shuffled,
)
from tokenize_jobs.feed_sources import HubRepo, ObjectStore, open_hub
from tokenize_jobs.feed_state import check_state, make_state
from tokenize_jobs.packing import Packing
from tokenize_jobs.shards import find_tokens

__all__ = ["TokenFeed", "TrainContext"]


class TrainContext(Protocol):
    """Whoever knows this process's place among others, such as `ray.train.get_context()`."""

    def get_world_rank(self) -> int: ...

    def get_world_size(self) -> int: ...


class TokenFeed(IterableDataset):
    """The windows of one tokenizer's table in shuffled batches, epoch after epoch.

    Which windows: those of a `selection`, of clips `where` a condition on the view `clips` holds,
    or of a `mixture` of selections with their shares of the samples; `split` keeps one split,
    `windows` is a condition on the table's own columns (`frames >= 16`). Without any of them, all
    are given out. `weights` names a column that says how often a window comes in an epoch (0.5: in
    every other one).

    What a batch holds: each stream as a tensor of `ids` type (`int64`, or `stored` for the type on
    disk); for `columns`, numbers as tensors and texts as lists; `captions` (or `captions:KIND`),
    one of each window's; with `text`, a table of captions' tokens, those of the same caption as
    `text` and `text_mask`; `lengths`; and `classes`, the place of a text column's value among
    `class_names`. With `bucket` a batch has windows of one grid and streams have its shape;
    without, streams are flat, padded with `pad`, and come with a mask and their grids.

    `drop_last` leaves out batches that are not full and those that not every rank would get.
    Shards of distant catalogs are kept in the folder `cache`, up to `cache_bytes`; `shuffle_bytes`
    shuffles within stretches of so much data, so that an epoch fetches every shard about once.
    """

    def __init__(
        self,
        catalog: Catalog | str | Path,
        tokens: str,
        *,
        selection: str | None = None,
        where: str | None = None,
        mixture: Mapping[str, float] | None = None,
        split: str | None = None,
        windows: str | None = None,
        weights: str | None = None,
        batch: int = 64,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        context: TrainContext | None = None,
        columns: Sequence[str] = (),
        text: str | None = None,
        classes: str | None = None,
        class_names: Sequence[str] | None = None,
        ids: IdType = "int64",
        bucket: bool = True,
        pad: int = 0,
        shuffle: bool = True,
        shuffle_bytes: int | None = None,
        drop_last: bool = False,
        cache: str | Path | None = None,
        cache_bytes: int = DEFAULT_BYTES,
    ):
        super().__init__()
        if context is not None:
            rank, world = context.get_world_rank(), context.get_world_size()
        _check_numbers(batch, rank, world)
        if mixture and (selection or where):
            raise UsageError("a mixture names its selections", allowed="no selection, no where")
        self.batch, self.seed, self.rank, self.world = batch, seed, rank, world
        self.bucket, self.drop_last, self.shuffle = bucket, drop_last, shuffle
        folder = Path(cache) if cache else default_folder()
        catalog, hub = _opened(catalog, folder)
        lengths = "lengths" in columns
        joined = [name for name in columns if name != "lengths"]
        wanted = Wanted(
            find_tokens(catalog, tokens),
            where,
            selection,
            windows,
            split,
            [*joined, classes] if classes else joined,
            weights,
            find_tokens(catalog, text) if text else None,
        )
        self.index, self._rates = _chosen_windows(catalog, wanted, mixture, hub)
        home = _home(catalog, hub, folder, cache_bytes)
        if shuffle_bytes is None and isinstance(home, ShardCache):
            shuffle_bytes = cache_bytes // 2
        self.shuffle_bytes = shuffle_bytes
        self.batcher = Batcher(
            self.index,
            ShardPool(self.index.places, self.index.streams, home),
            ids,
            bucket,
            pad,
            lengths,
            classes,
            _class_names(self.index, classes, class_names),
        )
        if self.index.text is not None:
            found = self.index.text
            self.batcher.texts = ShardPool(found.places, {found.stream: found.packing}, home)
        self._settings = {
            "catalog": catalog.about["id"],
            "version": catalog.version,
            "tokens": wanted.table,
            "selection": selection,
            "where": where,
            "mixture": dict(mixture) if mixture else None,
            "split": split,
            "windows": windows,
            "weights": weights,
            "text": wanted.text,
            "seed": seed,
            "bucket": bucket,
            "shuffle": shuffle,
            "shuffle_bytes": shuffle_bytes,
            "windows_hash": self.index.fingerprint,
        }
        self._epoch = epoch
        self._consumed: list[tuple[int, int]] = []
        self.given = 0

    # -- what it is ------------------------------------------------------------------------

    @property
    def spec_hash(self) -> str:
        """The tokenizer's specification, for a generator to compare."""
        return self.index.hashes[0]

    @property
    def weights_hash(self) -> str:
        """The tokenizer's weights."""
        return self.index.hashes[1]

    @property
    def streams(self) -> Mapping[str, Packing]:
        """The streams of the table and how they are stored."""
        return self.index.streams

    @property
    def class_names(self) -> list[str]:
        """What the numbers in `classes` stand for."""
        return list(self.batcher.class_names)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives, or goes on with."""
        return self._epoch

    def __len__(self) -> int:
        """Batches that this rank still gets in this epoch."""
        return len(self._numbers()) - self.given

    def places(self, step: int) -> Numbers:
        """The index's entries in a batch of what was left when the iteration began."""
        batches, entries, _ = self._batches
        return entries[batches[self._numbers()[step]]]

    # -- iterating -------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch; afterwards the feed stands at the next one.

        Inside a `DataLoader`'s worker it gives that worker's share and counts nothing: `loader`
        does, in the process that trains.
        """
        worker = get_worker_info()
        if worker is not None:
            yield from map(self.batcher.tensors, self.produce(worker.id, worker.num_workers))
            return
        self.fold()
        for arrays in self.produce(0, 1):
            self.given += 1
            yield self.batcher.tensors(arrays)
        self.next_epoch()

    def loader(
        self,
        workers: int = 0,
        *,
        prefetch: int = 2,
        start: str | None = None,
        pin_memory: bool = False,
    ) -> FeedLoader:
        """The feed through so many worker processes; iterating it moves this feed's state on.

        `start` is how processes begin (`fork`, `spawn`, `forkserver`; the platform's way if None).
        """
        return FeedLoader(self, workers, prefetch, start, pin_memory)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; to the present one is to stay where the feed is."""
        if epoch != self._epoch:
            self._epoch, self._consumed, self.given = epoch, [], 0
            self.__dict__.pop("_batches", None)

    def state_dict(self, *, step: int | None = None) -> dict[str, Any]:
        """Where the feed stands, over all ranks: save it where every rank is at the same step.

        A `DataLoader` of your own does not tell the feed how far it is: give the `step` of the last
        batch that was used, `batch["step"]`.
        """
        given = self.given if step is None else step
        consumed = [*self._consumed, (self.batch, given * self.world)]
        return make_state(self._epoch, [part for part in consumed if part[1]], self._settings)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a feed with the same settings was; batch, rank and world may differ."""
        self._epoch, self._consumed = check_state(state, self._settings)
        self.given = 0
        self.__dict__.pop("_batches", None)

    def __getstate__(self) -> dict[str, Any]:
        """Without the order, which a worker makes faster than it receives it."""
        return {name: value for name, value in self.__dict__.items() if name != "_batches"}

    def fold(self) -> None:
        """Count anew from here, and make the order, which forked workers then share."""
        if self.given:
            self._consumed.append((self.batch, self.given * self.world))
            self.given = 0
            self.__dict__.pop("_batches", None)
        self._numbers()

    def next_epoch(self) -> None:
        """Stand at the beginning of the next epoch."""
        self.set_epoch(self._epoch + 1)

    @cached_property
    def _batches(self) -> tuple[Batches, Numbers, Numbers]:
        """What is left of the epoch; and the entry and copy of each place in its order."""
        entries, copies = np.arange(len(self.index)), np.zeros(len(self.index), np.int64)
        if self._rates is not None:
            entries, copies = occurrences(self._rates, self.seed, self._epoch)
        if self.shuffle:
            pools = self._pools(entries)
            order = shuffled(entries, copies, pools, self.seed, self._epoch)
        else:
            order = np.arange(len(entries))
        buckets = self.index.bucket[entries] if self.bucket and len(self.index.grids) > 1 else None
        order = remaining(order, buckets, self._consumed)
        return make_batches(order, buckets, self.batch), entries, copies

    def _pools(self, entries: Numbers) -> np.ndarray[Any, np.dtype[np.int32]] | None:
        """The stretch of shards that each entry is shuffled in; None when that is all of them."""
        sizes = np.asarray([place.bytes for place in self.index.places])
        if self.shuffle_bytes is None or sizes.sum() <= self.shuffle_bytes:
            return None
        along = np.argsort(hash_numbers(np.arange(len(sizes)), self.seed, self._epoch, 4))
        pools = np.empty(len(sizes), np.int32)
        ends = np.cumsum(sizes[along])
        pools[along] = (ends - sizes[along]) // max(1, self.shuffle_bytes)
        return pools[self.index.file[entries]]

    def _numbers(self) -> range:
        """Numbers of the batches that are this rank's."""
        batches = self._batches[0]
        count = len(batches)
        if self.drop_last:
            full = int((np.diff(batches.starts) == self.batch).sum())
            count = full - full % self.world
        return range(self.rank, count, self.world)

    def produce(self, worker: int, workers: int) -> Iterator[Batch]:
        """A worker's share of this rank's batches, as arrays."""
        batches, entries, copies = self._batches
        for step, number in enumerate(self._numbers()):
            if step % workers != worker:
                continue
            places = batches[number]
            arrays = self.batcher.arrays(entries[places], copies[places], self.seed, self._epoch)
            yield arrays | {"step": step + 1}


def _check_numbers(batch: int, rank: int, world: int) -> None:
    if batch < 1 or world < 1 or not 0 <= rank < world:
        raise UsageError(
            f"batch {batch}, rank {rank} of world {world} cannot be",
            allowed="batch from 1, rank from 0 to below world",
        )


def _opened(catalog: Catalog | str | Path, folder: Path) -> tuple[Catalog, HubRepo | None]:
    if isinstance(catalog, Catalog):
        return catalog, None
    if str(catalog).startswith("hf://"):
        return open_hub(str(catalog), folder)
    return Catalog.open(catalog), None


def _home(catalog: Catalog, hub: HubRepo | None, folder: Path, limit: int) -> Path | ShardCache:
    if hub is not None:
        return ShardCache(hub, folder, limit)
    if not catalog.storage.is_local:
        return ShardCache(ObjectStore(catalog.storage.root), folder, limit)
    return Path(catalog.storage.root)


def _chosen_windows(
    catalog: Catalog, wanted: Wanted, mixture: Mapping[str, float] | None, hub: HubRepo | None
) -> tuple[FeedIndex, np.ndarray[Any, np.dtype[np.float64]] | None]:
    """The windows and, unless each comes once, how often they come."""
    if not mixture:
        index = build_index(catalog, wanted, hub)
        if index.weights is None:
            return index, None
        return index, check_weights(index.weights, str(wanted.weights))
    parts = [build_index(catalog, replace(wanted, selection=name), hub) for name in mixture]
    weights = [
        np.ones(len(part))
        if part.weights is None
        else check_weights(part.weights, str(wanted.weights))
        for part in parts
    ]
    return merged(parts), mixture_rates(weights, mixture)


def _class_names(
    index: FeedIndex, classes: str | None, names: Sequence[str] | None
) -> Sequence[str]:
    if classes is None or names is not None:
        return list(names or ())
    found: list[str] = sorted(pc.unique(index.columns[classes]).to_pylist())
    return found
