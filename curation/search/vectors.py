"""Clips by the vectors of one model: all of them compared, or an index where they are many.

Up to `EXACT` vectors are all compared with the query. More are divided into regions by k-means and
only the regions nearest to the query are scanned, in 8 bits a number; the best are compared again
with the vectors as stored. How many regions are scanned is measured when the index is built: so
many that of the true neighbours of sampled queries a share of `RECALL` lies in them. Half of these
queries are stored vectors, half lie between two of them.

With a filter more regions are scanned, as many as the true neighbours that pass it need; when few
clips pass, all of these are compared. Vectors that came after the index was built are compared with
the query beside it, until there are many of them and it is built anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import SchemaError
from catalogs.query import Session, sql_text
from curation.embed.base import Vectors, unit
from curation.embed.regions import nearest_centre, regions
from curation.search.cache import Entry, IndexCache

__all__ = ["VectorIndex", "newest_revision", "stored_vectors"]

VERSION = 1
EXACT = 50_000
MOST_UNINDEXED = 50_000
COMPARED_ALL = 20_000
"""When a filter leaves no more clips than this, all of them are compared."""
RECALL = 0.975
DEPTHS = (10, 100, 1000, 5000)
"""Numbers of neighbours for which the regions to scan are measured."""
_QUERIES = 128
_SAMPLE = 64
"""Vectors for each centre that k-means looks at."""
_AGAIN = 8
"""So many times as many as were asked for are compared again in full."""
_FILTERED = 6
"""So many times the regions under a filter: what passes may lie elsewhere than the nearest do."""
_BLOCK = 16_384
_BUILD_ROUNDS = 6

Mask = NDArray[np.bool_]
Found = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class _Regions:
    """Vectors in order of their regions."""

    centres: Vectors
    starts: NDArray[np.int64]
    codes: NDArray[np.int8]
    steps: NDArray[np.float32]
    """What one step of a vector's codes is worth."""
    vectors: NDArray[np.float16]
    scanned: NDArray[np.int64]
    """Regions to scan for each of `DEPTHS`."""

    def search(self, query: Vectors, count: int, keep: Mask | None) -> Found:
        passing = None if keep is None else np.flatnonzero(keep)
        if passing is not None and len(passing) <= COMPARED_ALL:
            rows, rough = passing, self._rough(passing, query)
        else:
            share = 1.0 if passing is None else len(passing) / len(self.codes)
            probes = self._probes(count / share)
            if passing is not None:
                probes = min(_FILTERED * probes, len(self.centres))
            rows, rough = self._scan(query, probes, keep)
        rows, _ = _best(rows, rough, count * _AGAIN)
        rows = np.sort(rows)
        return _best(rows, np.asarray(self.vectors[rows].astype(np.float32) @ query), count)

    def _rough(self, rows: NDArray[np.int64] | slice, query: Vectors) -> NDArray[np.float32]:
        return np.asarray((self.codes[rows].astype(np.float32) @ query) * self.steps[rows])

    def _probes(self, depth: float) -> int:
        level = min(int(np.searchsorted(DEPTHS, depth)), len(DEPTHS) - 1)
        return min(int(self.scanned[level]), len(self.centres))

    def _scan(self, query: Vectors, probes: int, keep: Mask | None) -> Found:
        near = np.argpartition(-(self.centres @ query), probes - 1)[:probes]
        rows, scores = [], []
        for region in np.sort(near).tolist():
            first, last = self.starts[region], self.starts[region + 1]
            if keep is None:
                rows.append(np.arange(first, last))
                scores.append(self._rough(slice(first, last), query))
            else:
                rows.append(first + np.flatnonzero(keep[first:last]))
                scores.append(self._rough(rows[-1], query))
        return np.concatenate(rows), np.concatenate(scores)


class VectorIndex:
    """The vectors of a model's newest revision."""

    def __init__(self, model: str, revision: str, ids: pa.Array, recent: Vectors, indexed: Any):
        """`recent` are the last of `ids`; those before them are in `indexed`."""
        self.model, self.revision, self.ids = model, revision, ids
        self._recent = recent
        self._indexed: _Regions | None = indexed

    @classmethod
    def of(cls, session: Session, cache: IndexCache, model: str) -> VectorIndex:
        """Open the index of a model, building or extending it where that is due."""
        table = f"embeddings/{model}"
        revision = newest_revision(session, table)
        source = _Stored(session, table, revision)
        name = f"vectors-{model}"
        if source.rows() <= EXACT:
            return cls(model, revision, *source.read(dtype=np.float32), None)
        entry = _reusable(cache, name, source)
        if entry is None:
            entry = _build(cache, name, source.key(), *source.read())
        covered = set(entry.about["key"]["files"])
        ids, recent = source.read([f for f in source.files if f not in covered], np.float32)
        opened = _opened(entry)
        if not len(ids):
            recent = np.zeros((0, opened.centres.shape[1]), np.float32)
        together = pa.concat_arrays([entry.ids, ids])
        return cls(model, revision, together, recent, opened)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_exact(self) -> bool:
        """Whether every vector is compared with every query."""
        return self._indexed is None

    def search(self, query: Vectors, count: int, keep: Mask | None = None) -> Found:
        """Rows of `ids` with the highest cosines, best first, of those that `keep` lets pass."""
        query = unit(np.asarray(query, np.float32))
        before = len(self.ids) - len(self._recent)
        parts = [self._search_recent(query, count, before, keep)]
        if self._indexed is not None:
            parts.append(
                self._indexed.search(query, count, None if keep is None else keep[:before])
            )
        rows, cosines = (np.concatenate(part) for part in zip(*parts, strict=True))
        return _best(rows, cosines, count)

    def vector(self, row: int) -> Vectors:
        """One vector, of length one."""
        before = len(self.ids) - len(self._recent)
        if row >= before or self._indexed is None:
            return self._recent[row - before]
        return np.asarray(self._indexed.vectors[row], np.float32)

    def _search_recent(self, query: Vectors, count: int, before: int, keep: Mask | None) -> Found:
        cosines = self._recent @ query
        rows = np.arange(before, len(self.ids))
        if keep is not None:
            passing = keep[before:]
            rows, cosines = rows[passing], cosines[passing]
        return _best(rows, cosines, count)


def newest_revision(session: Session, table: str) -> str:
    """The revision of a model whose vectors were written last."""
    found = session.connection.execute(
        f"select model_version from ({session.scan(table)}) "
        "order by created desc, model_version desc limit 1"
    ).fetchall()
    return str(found[0][0]) if found else ""


def stored_vectors(session: Session, model: str) -> tuple[pa.Array, Vectors]:
    """Ids in order and unit vectors of a model's newest revision, of the session's cutting."""
    table = f"embeddings/{model}"
    ids, vectors = _Stored(session, table, newest_revision(session, table)).read(dtype=np.float32)
    rows = pa.table({"clip_id": ids, "row": np.arange(len(ids), dtype=np.int64)})
    session.keep("stored_rows", rows)
    session.prepare("select clip_id from clips")
    kept = session.connection.execute(
        "select row from stored_rows semi join clips using (clip_id) order by 1"
    ).fetchnumpy()["row"]
    return ids.take(pa.array(kept)), vectors[kept]


class _Stored:
    """Vectors of one revision as the catalog has them."""

    def __init__(self, session: Session, table: str, revision: str):
        self._session, self._table, self._revision = session, table, revision
        self._by_path = {
            item.path: item
            for item in session.catalog.files(table)
            if item.constant("model_version") in (None, revision)
        }
        self.files = sorted(self._by_path)

    def key(self) -> dict[str, Any]:
        return {"version": VERSION, "revision": self._revision, "files": self.files}

    def rows(self, files: list[str] | None = None) -> int:
        chosen = self.files if files is None else files
        return sum(self._by_path[path].rows for path in chosen)

    def read(
        self, files: list[str] | None = None, dtype: type[np.floating] = np.float16
    ) -> tuple[pa.Array, NDArray[Any]]:
        """Ids in order and unit vectors of some files, or of all."""
        chosen = [self._by_path[path] for path in (self.files if files is None else files)]
        body = self._session.scan(self._table, chosen)
        reader = self._session.connection.sql(
            f"select clip_id, vector from ({body}) where model_version = "
            f"{sql_text(self._revision)} order by clip_id"
        ).to_arrow_reader(_BLOCK)
        ids, parts = [], []
        for batch in reader:
            ids.append(batch["clip_id"].cast(pa.string()))
            flat = batch["vector"].flatten().to_numpy(zero_copy_only=False)
            parts.append(self._shaped(flat, batch.num_rows).astype(dtype))
        if not parts:
            return pa.array([], pa.string()), np.zeros((0, 1), dtype)
        return pa.concat_arrays(ids), np.concatenate(parts)

    def _shaped(self, flat: NDArray[Any], rows: int) -> Vectors:
        if len(flat) % rows:
            raise SchemaError(
                f"vectors of {self._table} at revision {self._revision} differ in length",
                hint="embed again under another name",
            )
        return unit(flat.reshape(rows, -1).astype(np.float32))


def _reusable(cache: IndexCache, name: str, source: _Stored) -> Entry | None:
    """An index of the same files, or of nearly all of them."""
    key = source.key()
    found = cache.load(name, key)
    if found is not None:
        return found
    for entry in cache.entries(name):
        known = entry.about["key"]
        same = all(known[part] == key[part] for part in ("version", "revision"))
        missing = [path for path in source.files if path not in set(known["files"])]
        gone = set(known["files"]) - set(source.files)
        if same and not gone and source.rows(missing) <= MOST_UNINDEXED:
            return entry
    return None


def _build(
    cache: IndexCache, name: str, key: dict[str, Any], ids: pa.Array, vectors: NDArray[np.float16]
) -> Entry:
    count = round(len(vectors) ** 0.5)
    step = max(1, len(vectors) // (count * _SAMPLE))
    centres, _ = regions(vectors[::step].astype(np.float32), count, _BUILD_ROUNDS)
    region = nearest_centre(vectors, centres)
    order = np.argsort(region, kind="stable")
    vectors, region = vectors[order], region[order]
    codes, steps = _coded(vectors)
    arrays: dict[str, NDArray[Any]] = {
        "centres": centres,
        "starts": np.searchsorted(region, np.arange(count + 1)).astype(np.int64),
        "codes": codes,
        "steps": steps,
        "vectors": vectors,
        "scanned": _measured(vectors, region, centres),
    }
    clips = pa.table({"clip_id": ids.take(pa.array(order))})
    return cache.save(name, key, arrays, clips, {})


def _opened(entry: Entry) -> _Regions:
    """Codes are read into memory; of the stored vectors only those that are compared again."""
    parts: dict[str, Any] = dict(entry.arrays)
    for name in ("centres", "starts", "codes", "steps", "scanned"):
        parts[name] = np.array(parts[name])
    return _Regions(**parts)


def _coded(vectors: NDArray[np.float16]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    codes = np.empty(vectors.shape, np.int8)
    steps = np.empty(len(vectors), np.float32)
    for part in _blocks(len(vectors)):
        block = vectors[part].astype(np.float32)
        steps[part] = np.maximum(np.abs(block).max(axis=1), 1e-12) / 127
        codes[part] = np.rint(block / steps[part, None])
    return codes, steps


def _measured(
    vectors: NDArray[np.float16], region: NDArray[np.int64], centres: Vectors
) -> NDArray[np.int64]:
    """For each of `DEPTHS`, how many regions hold `RECALL` of the neighbours of sampled queries."""
    at = np.linspace(0, len(vectors) - 1, _QUERIES).astype(np.int64)
    queries = vectors[at].astype(np.float32)
    half = _QUERIES // 2
    queries[half:] = unit(queries[half:] + np.roll(queries[half:], 1, axis=0))
    deepest = min(DEPTHS[-1], len(vectors))
    neighbours = _exact(vectors, queries, deepest + 1)
    place = np.empty((_QUERIES, len(centres)), np.int64)
    nearest = np.argsort(-(queries @ centres.T), axis=1, kind="stable")
    np.put_along_axis(place, nearest, np.arange(len(centres))[None], axis=1)
    lying = np.take_along_axis(place, region[neighbours], axis=1)
    # a stored vector finds itself first, which proves nothing
    lists = [row[1:] if number < half else row[:-1] for number, row in enumerate(lying)]
    ranked = np.stack(lists)
    return np.array([int(np.quantile(ranked[:, :depth], RECALL)) + 1 for depth in DEPTHS], np.int64)


def _exact(vectors: NDArray[np.float16], queries: Vectors, count: int) -> NDArray[np.int64]:
    """(queries, count) rows with the highest cosines, best first."""
    count = min(count, len(vectors))
    best: NDArray[Any] = np.full((len(queries), count), -2.0, np.float32)
    rows: NDArray[Any] = np.zeros((len(queries), count), np.int64)
    for part in _blocks(len(vectors)):
        cosines = queries @ vectors[part].astype(np.float32).T
        numbers = np.broadcast_to(np.arange(part.start, part.stop), cosines.shape)
        best, rows = np.hstack([best, cosines]), np.hstack([rows, numbers])
        kept = np.argpartition(-best, count - 1, axis=1)[:, :count]
        best, rows = np.take_along_axis(best, kept, 1), np.take_along_axis(rows, kept, 1)
    return np.asarray(np.take_along_axis(rows, np.argsort(-best, axis=1, kind="stable"), axis=1))


def _blocks(count: int) -> Iterator[slice]:
    for first in range(0, count, _BLOCK):
        yield slice(first, min(first + _BLOCK, count))


def _best(rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> Found:
    """The highest scores, best first; equal ones in order of their rows."""
    if len(rows) > count:
        top = np.argpartition(-scores, count - 1)[:count]
        rows, scores = rows[top], scores[top]
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
