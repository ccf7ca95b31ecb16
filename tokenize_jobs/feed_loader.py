"""A feed read by worker processes, with the count of what arrived kept where training happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tokenize_jobs.feed_batch import Batcher

__all__ = ["Batch", "FeedLoader"]

Batch: TypeAlias = dict[str, Any]

_PIPED_BYTES = 1 << 20


class CountedFeed(Protocol):
    """What a loader needs of a feed."""

    given: int
    batcher: Batcher

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def fold(self) -> None: ...

    def produce(self, worker: int, workers: int) -> Iterator[Batch]: ...

    def next_epoch(self) -> None: ...


class FeedLoader:
    """A feed read by worker processes, which keeps count of what arrived.

    Workers send small arrays through their pipe, in the type they are stored in, and tensors are
    made here. torch would hand over each tensor in shared memory of its own, which costs several
    times as much for a batch of ids; larger arrays than a megabyte go that way, where it pays.
    """

    def __init__(
        self, feed: CountedFeed, workers: int, prefetch: int, start: str | None, pin_memory: bool
    ):
        self.feed = feed
        self._workers, self._pin = workers, pin_memory
        self._options = {"prefetch_factor": prefetch, "multiprocessing_context": start}

    def __len__(self) -> int:
        return len(self.feed)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch; afterwards the feed stands at the next one."""
        batches = self._from_workers() if self._workers else iter(self.feed)
        return map(_pinned, batches) if self._pin else batches

    def _from_workers(self) -> Iterator[Batch]:
        feed = self.feed
        feed.fold()
        loader = DataLoader(
            _Arrays(feed),
            batch_size=None,
            num_workers=self._workers,
            collate_fn=_unchanged,
            **self._options,
        )
        for batch in loader:
            feed.given += 1
            yield feed.batcher.tensors({name: _as_array(value) for name, value in batch.items()})
        feed.next_epoch()


class _Arrays(IterableDataset):
    """A worker's batches as arrays, large ones in shared memory."""

    def __init__(self, feed: CountedFeed):
        self._feed = feed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        for batch in self._feed.produce(worker.id, worker.num_workers):
            yield {name: _shared(value) for name, value in batch.items()}


def _shared(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.nbytes > _PIPED_BYTES:
        return torch.from_numpy(value)
    return value


def _as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


def _unchanged(batch: Batch) -> Batch:
    return batch


def _pinned(batch: Batch) -> Batch:
    return {n: v.pin_memory() if isinstance(v, torch.Tensor) else v for n, v in batch.items()}
