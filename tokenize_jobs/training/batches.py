"""A feed of tokens as the training loop takes it: endless batches of a generator's space.

Every epoch is shuffled anew; the position is the feed's own, so a resumed run, also one with
another number of workers, reads what it would have read. Clips of one grid are stacked; where they
differ in time they are padded, and their lengths come along.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from tokenize_jobs.feed import TokenFeed
from tokenize_jobs.shards import packings
from tokenize_jobs.training.recipe import Data
from zoo.generator import Batch, Generator

__all__ = ["CLASSES", "Asked", "TokenBatches", "open_feed"]

CLASSES = "classes:"
"""Marks the column of clips whose values are classes."""

_CAPTIONS = "captions"


@dataclass(frozen=True)
class Asked:
    """How batches of a feed become a generator's: the stream, its largest grid, the conditions."""

    stream: str
    grid: tuple[int, ...]
    trailing: int
    columns: Mapping[str, str]
    """By condition, the key of a batch: `captions`, `classes` or a column."""
    levels: int = 0
    """Of ordered codes the first so many; 0 takes all."""

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        table: str,
        stream: str,
        grid: tuple[int, ...],
        conditions: Mapping[str, str],
    ) -> Asked:
        """Batches of a stream of a table, with conditions by the columns they come from."""
        packing = packings(catalog.columns(table))[stream]
        columns = {name: _key(column) for name, column in conditions.items()}
        return cls(stream, grid, packing.trailing, columns)

    def batch(self, model: Generator, made: Mapping[str, Any]) -> Batch:
        """One batch of the feed."""
        values, lengths = made[self.stream], None
        if f"{self.stream}_grid" in made:
            lengths = torch.as_tensor(made[f"{self.stream}_grid"])[:, 0]
            values = self._padded(values)
        if values.is_floating_point():
            values = values.float()
        elif self.levels:
            values = values[..., : self.levels]
        asked = {name: _listed(made[key]) for name, key in self.columns.items()}
        return Batch(values, model.given(**asked), lengths)

    def _padded(self, values: Tensor) -> Tensor:
        """Flat rows of the longest clip of the batch as a grid: time is the first axis."""
        inside = math.prod(self.grid[1:])
        shape = (len(values), values.shape[1] // inside, *self.grid[1:])
        return values.view(*shape, *((self.trailing,) if self.trailing else ()))


def _key(column: str) -> str:
    if column.startswith(CLASSES):
        return "classes"
    return _CAPTIONS if column.split(":")[0] == _CAPTIONS else column


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value


class TokenBatches:
    """Endless batches for one worker, of `batch` windows over all workers."""

    def __init__(
        self,
        model: Generator,
        data: Data,
        asked: Asked,
        table: str,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ):
        self._again = (model, data, asked, table)
        self._batch, self._seed = batch, seed
        self.model, self.asked, self.workers = model, asked, data.workers
        names = next((c.names for c in model.config.conditions if c.kind == "class"), ())
        self.feed = open_feed(
            data,
            table,
            split=data.split,
            class_names=names,
            batch=batch // world,
            seed=seed,
            rank=rank,
            world=world,
            shuffle=True,
        )
        if not len(self.feed):
            raise UsageError(
                f"{len(self.feed.index)} windows do not fill a batch of {batch}",
                hint="choose a smaller batch, or more data",
            )

    def __iter__(self) -> Iterator[Batch]:
        while True:
            for made in self.feed.loader(self.workers):
                yield self.asked.batch(self.model, made)

    def state_dict(self) -> dict[str, Any]:
        return self.feed.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.feed.load_state_dict(state)

    def shard(self, rank: int, world: int) -> TokenBatches:
        if world == 1:
            return self
        return TokenBatches(
            *self._again, batch=self._batch, seed=self._seed, rank=rank, world=world
        )


def open_feed(
    data: Data,
    table: str,
    *,
    split: str,
    class_names: Sequence[str] = (),
    batch: int,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    shuffle: bool = False,
    drop_last: bool | None = None,
) -> TokenFeed:
    """The feed of a recipe's data; padded where grids differ in time.

    A feed that is shuffled leaves out batches that are not full, unless `drop_last` says otherwise.
    """
    labels = [c.removeprefix(CLASSES) for c in data.conditions.values() if c.startswith(CLASSES)]
    if len(labels) > 1:
        raise UsageError(
            f"{', '.join(labels)} are several classes", allowed="one condition of classes"
        )
    plain = [c for c in data.conditions.values() if not c.startswith(CLASSES)]
    options: dict[str, Any] = {
        "selection": data.selection or None,
        "where": data.where or None,
        "windows": data.windows or None,
        "split": split or None,
        "batch": batch,
        "seed": seed,
        "rank": rank,
        "world": world,
        "shuffle": shuffle,
        "drop_last": shuffle if drop_last is None else drop_last,
        "columns": plain,
        "classes": labels[0] if labels else None,
        "class_names": class_names or None,
    }
    feed = TokenFeed(data.catalog, table, **options)
    if len(feed.index.grids) > 1:
        feed = TokenFeed(data.catalog, table, **options, bucket=False)
    return feed
