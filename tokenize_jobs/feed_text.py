"""Tokens of captions beside those of windows: which row belongs to which caption, and batches.

A caption's row is found by its clip and the hash of its text, so that a batch never holds tokens of
a text that was changed since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.errors import NotFoundError, UsageError
from tokenize_jobs.feed_order import Numbers
from tokenize_jobs.packing import Packing

__all__ = ["TEXT", "TextIndex", "check_text", "one_stream", "text_batch"]

TEXT = "text"
"""The name of these tokens in a batch."""


@dataclass(frozen=True)
class TextIndex:
    """Where the tokens of each window's captions are stored, in the order of its captions."""

    stream: str
    packing: Packing
    places: Sequence[Any]
    found: pa.ListArray
    """For each window a list of {file, row, count}."""


def check_text(found: pa.ListArray, table: str) -> None:
    """Refuse captions without tokens."""
    missing = found.flatten().field("row").null_count
    if missing:
        raise NotFoundError(
            f"{missing} {'caption' if missing == 1 else 'captions'} of these windows have no "
            f"tokens in {table}",
            hint="clipmill tokenize-captions CATALOG encodes what is missing",
        )


def one_stream(streams: Mapping[str, Packing], table: str) -> tuple[str, Packing]:
    """The only stream of a table of texts."""
    if len(streams) != 1:
        raise UsageError(f"{table} has {len(streams)} streams", allowed="a table of texts, with 1")
    return next(iter(streams.items()))


def text_batch(
    index: TextIndex, pool: Any, entries: Numbers, drawn: Sequence[int | None]
) -> dict[str, Any]:
    """`text`, padded with zeros, and `text_mask`: the tokens of the caption drawn for each window.

    `drawn` is its number among the window's captions, None where there are none.
    """
    lists = index.found.take(pa.array(entries)).to_pylist()
    picked = [
        (line, found[number])
        for line, (found, number) in enumerate(zip(lists, drawn, strict=True))
        if number is not None
    ]
    counts = np.zeros(len(entries), np.int64)
    lines = np.asarray([line for line, _ in picked], np.int64)
    counts[lines] = [item["count"] for _, item in picked]
    width = max(1, int(counts.max()))
    values = np.zeros((len(entries), *index.packing.shape((width,))), index.packing.stored)
    if picked:
        one = index.packing.nbytes((1,))
        gathered = pool.gather(
            index.stream,
            np.asarray([item["file"] for _, item in picked], np.int32),
            np.asarray([item["row"] for _, item in picked], np.int64),
            counts[lines] * one,
        )
        values[lines] = gathered.view(index.packing.stored).reshape(-1, *values.shape[1:])
    return {TEXT: values, f"{TEXT}_mask": np.arange(width) < counts[:, None]}
