"""Catalogs with tokens of known values, without any tokenizer or media.

corpus = record_tokens(tmp_path / "corpus", clips=40, commits=3)
feed = TokenFeed(corpus.catalog, "video/vq")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.testing.records import record_clips
from catalogs.timebase import Span
from tokenize_jobs.shards import ShardWriter, TokenStream, TokenTable, Window

__all__ = ["VQ", "Arrays", "TokenCorpus", "clip_name", "ids_of", "record_tokens"]

CODES = 1000
VQ = TokenTable("video/vq", "5" * 64, "3" * 64, [TokenStream(levels=(CODES,))])
"""A tokenizer that never was."""

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


def clip_name(number: int) -> str:
    """The id of a clip that has a number."""
    return f"{number:032x}"


def ids_of(number: int, grid: Sequence[int] = (2, 3)) -> NDArray[Any]:
    """Ids of which the first one names the clip."""
    ids = np.random.default_rng(number).integers(0, CODES, grid)
    ids.flat[0] = number % CODES
    return ids


@dataclass
class TokenCorpus:
    """A catalog whose clips have windows of known tokens."""

    catalog: Catalog
    table: TokenTable
    arrays: dict[str, Arrays] = field(default_factory=dict)
    """The arrays of each clip that was added last."""

    def add(
        self, numbers: Sequence[int], arrays: Callable[[int], Arrays], transform: str = "t"
    ) -> None:
        """One commit with a window of two seconds for each of some clips."""
        writer = ShardWriter(self.table)
        for number in numbers:
            made = arrays(number)
            self.arrays[clip_name(number)] = made
            span = Span(0, 50, Fraction(1, 25))
            writer.add(Window(clip_name(number), 0, span, 50, 25.0, transform), made)
        with self.catalog.transaction("tokens") as txn:
            writer.finish().insert(txn)


def record_tokens(
    path: str | Path,
    *,
    clips: int = 40,
    commits: int = 3,
    table: TokenTable = VQ,
    arrays: Callable[[int], Arrays] = lambda number: {"tokens": ids_of(number)},
) -> TokenCorpus:
    """Clips of the collections `even` and `odd`, and their tokens in so many commits."""
    rows = [
        {
            "clip_id": clip_name(number),
            "start_s": 0.0,
            "duration_s": 2.0,
            "collection": "odd" if number % 2 else "even",
            "license": "CC0-1.0",
        }
        for number in range(clips)
    ]
    corpus = TokenCorpus(record_clips(path, rows), table)
    for part in np.array_split(np.arange(clips), commits):
        corpus.add(part.tolist(), arrays)
    return corpus
