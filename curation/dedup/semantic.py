"""Clips with like embeddings: which of them any threshold would tie together.

    done = compare_embeddings(catalog, "siglip")
    done.curve()   # [(0.95, 12), (0.9, 40), ...]: clips that each threshold would remove

Up to `EXACT` clips are all compared with each other. More are divided into about as many regions
as each has clips (k-means), and clips are compared within a region and with its nearest regions,
so work grows with n to the power of 1.5. Of all pairs only a spanning forest of the most alike is
kept: it ties the same groups as all pairs at every threshold, and is never larger than the clips.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, nearest
from catalogs.query import Session
from curation.embed.base import Vectors, unit
from curation.embed.regions import regions

__all__ = ["Likeness", "compare_embeddings"]

EXACT = 20_000
LEAST_COSINE = 0.5
_MOST_ALIKE = 16
"""Pairs of one clip that are looked at in one block."""
_BLOCK = 2048
_REGIONS_LOOKED_AT = 3
_STEPS = 100


@dataclass(frozen=True)
class Likeness:
    """What was compared, and the pairs of the forest by falling cosine."""

    model: str
    cutting: str
    clips: int
    cosines: NDArray[np.float64]

    def curve(self) -> list[tuple[float, int]]:
        """Thresholds and the clips that each would remove: all but one of every group."""
        thresholds = np.arange(_STEPS, int(LEAST_COSINE * _STEPS) - 1, -1) / _STEPS
        removed = np.searchsorted(-self.cosines, -thresholds, side="right")
        counts = list(zip(thresholds.tolist(), removed.tolist(), strict=True))
        steps = zip(counts, [(0.0, 0), *counts], strict=False)
        return [now for now, before in steps if now[1] != before[1]]


def compare_embeddings(catalog: Catalog, model: str, *, cutting: str | None = None) -> Likeness:
    """Compare the clips of a cutting by a model's newest vectors, and record the forest."""
    with Session(catalog, cutting=cutting) as session:
        chosen = session.cutting or ""
        ids, version, vectors = _load(session, model)
    pairs, cosines = _forest(vectors)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -cosines))
    pairs, cosines = pairs[order], cosines[order]
    rows = pa.table(
        {
            "model": pa.array([model] * len(pairs), pa.string()),
            "model_version": pa.array([version] * len(pairs), pa.string()),
            "cutting": pa.array([chosen] * len(pairs), pa.string()),
            "clip_id": ids.take(pa.array(pairs[:, 0])),
            "other_clip": ids.take(pa.array(pairs[:, 1])),
            "cosine": cosines,
            "run_id": pa.array([uuid.uuid4().hex] * len(pairs), pa.string()),
        }
    )
    with catalog.transaction(f"compare embeddings of {model}") as txn:
        txn.delete("neighbours", pa.table({"model": [model], "cutting": [chosen]}))
        txn.append("neighbours", rows)
    return Likeness(model, chosen, len(ids), cosines)


def _load(session: Session, model: str) -> tuple[pa.Array, str, Vectors]:
    """Ids in order, the revision, and unit vectors of the clips of the session's cutting."""
    table = f"embeddings/{model}"
    known = [name.partition("/")[2] for name in session.catalog.tables() if "embeddings/" in name]
    if model not in known:
        raise NotFoundError(
            f"the catalog has no embeddings of {model!r}",
            allowed=", ".join(known) or None,
            hint=nearest(model, known) or "clipmill embed CATALOG makes some",
        )
    session.prepare("clips")
    found = session.connection.sql(
        f"select clip_id, model_version, vector from ({session.scan(table)}) e "
        "semi join clips using (clip_id) "
        "qualify model_version = last_value(model_version) over (order by created, model_version "
        "rows between unbounded preceding and unbounded following) order by clip_id"
    ).to_arrow_table()
    if not found.num_rows:
        raise NotFoundError(f"no clip of cutting {session.cutting} has an embedding of {model!r}")
    flat = found["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = unit(flat.astype(np.float32).reshape(found.num_rows, -1))
    return found["clip_id"].combine_chunks(), str(found["model_version"][0]), vectors


def _forest(vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n, 2) positions and the cosines of the spanning forest of the most alike."""
    pairs, cosines = np.zeros((0, 2), np.int64), np.zeros(0)
    for rows, columns in _blocks(vectors):
        more, alike = _alike(vectors, rows, columns)
        pairs, cosines = _spanning(
            np.concatenate([pairs, more]), np.concatenate([cosines, alike]), len(vectors)
        )
    return pairs, cosines


def _blocks(vectors: Vectors) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions to compare with positions."""
    everything = np.arange(len(vectors))
    if len(vectors) <= EXACT:
        for first in range(0, len(vectors), _BLOCK):
            yield everything[first : first + _BLOCK], everything[first:]
        return
    centres, region = regions(vectors, round(len(vectors) ** 0.5))
    members = [np.flatnonzero(region == number) for number in range(len(centres))]
    close = np.argsort(-(centres @ centres.T), axis=1, kind="stable")[:, :_REGIONS_LOOKED_AT]
    for number, rows in enumerate(members):
        others = np.concatenate([members[other] for other in {number, *close[number].tolist()}])
        for first in range(0, len(rows), _BLOCK):
            yield rows[first : first + _BLOCK], np.sort(others)


def _alike(
    vectors: Vectors, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The most alike of the columns for each row, each pair with its smaller position first."""
    cosine = vectors[rows] @ vectors[columns].T
    cosine[rows[:, None] == columns[None]] = -1.0
    most = min(_MOST_ALIKE, len(columns))
    best = np.argpartition(-cosine, most - 1, axis=1)[:, :most]
    found = np.take_along_axis(cosine, best, axis=1)
    at, place = np.nonzero(found >= LEAST_COSINE)
    pairs = np.stack([rows[at], columns[best[at, place]]], axis=1)
    return np.sort(pairs, axis=1), np.minimum(found[at, place].astype(np.float64), 1.0)


def _spanning(
    pairs: NDArray[np.int64], cosines: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of some pairs those that tie what the ones with higher cosines have not tied."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -cosines))
    parent = list(range(count))

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    kept = []
    for at in order.tolist():
        one, other = root(int(pairs[at, 0])), root(int(pairs[at, 1]))
        if one != other:
            parent[max(one, other)] = min(one, other)
            kept.append(at)
    return pairs[kept], cosines[kept]
