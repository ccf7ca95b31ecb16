"""Search among a million vectors with a filter in SQL.

    python bench/search.py DIR [--clips 1000000] [--dims 384] [--queries 100]

Makes a catalog in DIR (kept for the next time) of made-up clips with two scores, a caption each and
an embedding each, and searches it. Vectors are of topics of very different size, each with its own
spread, in a space where few directions carry most, as embeddings of real clips are; `--flat` draws
them evenly in all directions instead, the worst there can be. Queries are new vectors of the same
kind, half of them between two topics. Each is asked with a condition that no query before it had,
by which a third of the clips pass, and is compared with all clips that pass. Times are of a warm
searcher: indexes open, columns of the condition in memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs import Catalog
from catalogs.query import Session
from catalogs.testing.records import record_clips
from curation.search import Searcher

BATCH = 100_000
TOPICS = 2_000
NEIGHBOURS = 10
LEAST_S = 5
MODEL = "bench"
WORDS = 20_000
WORDS_EACH = 12

Vectors = NDArray[np.float32]


class Space:
    """Draws vectors of topics; the same seed gives the same topics."""

    def __init__(self, dims: int, flat: bool):
        random = np.random.default_rng(0)
        self.dims, self.flat = dims, flat
        self._carry = (np.arange(1, dims + 1) ** -0.5).astype(np.float32)
        self._topics = self._drawn(random, TOPICS)
        self._spread = random.uniform(0.3, 1.0, TOPICS).astype(np.float32)
        share = random.pareto(1.2, TOPICS) + 0.05
        self._share = share / share.sum()

    def draw(self, count: int, seed: int) -> Vectors:
        random = np.random.default_rng(seed)
        if self.flat:
            return random.normal(size=(count, self.dims)).astype(np.float32)
        topic = random.choice(TOPICS, count, p=self._share)
        return self._topics[topic] + self._spread[topic, None] * self._drawn(random, count)

    def queries(self, count: int) -> Vectors:
        found = self.draw(count, 10**6)
        half = count // 2
        found[half:] = found[half:] + np.roll(found[half:], 1, axis=0)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def _drawn(self, random: np.random.Generator, count: int) -> Vectors:
        return random.normal(size=(count, self.dims)).astype(np.float32) * self._carry


def make(folder: Path, clips: int, space: Space) -> Catalog:
    """The catalog, batch by batch."""
    if (folder / "catalog.json").exists():
        return Catalog.open(folder)
    catalog = Catalog.create(folder)
    for first in range(0, clips, BATCH):
        _add(catalog, first, min(BATCH, clips - first), space)
    return catalog


def _add(catalog: Catalog, first: int, count: int, space: Space) -> None:
    random = np.random.default_rng(first)
    names = pa.array([f"{number * 2654435761 % 2**32:08x}{number:024x}" for number in
                      range(first, first + count)])  # fmt: skip
    seconds = random.uniform(1, 20, count)
    rows = {
        "clip_id": names,
        "source_id": pa.array([f"s{number // 50:07}" for number in range(first, first + count)]),
        "uri": names,
        "start_s": np.zeros(count),
        "end_s": seconds,
        "duration_s": seconds,
        "motion_px": random.gamma(2.0, 2.0, count).astype(np.float32),
    }
    record_clips(catalog, pa.table(rows), {"motion": ["motion_px"]})
    rare = np.minimum(random.zipf(1.3, (count, WORDS_EACH)), WORDS)
    texts = [" ".join(f"word{number}" for number in row) for row in rare.tolist()]
    stored = space.draw(count, first).astype(np.float16).astype(np.float32)
    offsets = np.arange(count + 1, dtype=np.int32) * space.dims
    vectors = pa.ListArray.from_arrays(offsets, pa.array(stored.ravel()))
    with catalog.transaction("bench") as txn:
        txn.append("captions", pa.table({
            "caption_id": names, "clip_id": names, "text": texts,
            "kind": pa.repeat("brief", count),
        }))  # fmt: skip
        txn.append(f"embeddings/{MODEL}", pa.table({
            "clip_id": names, "vector": vectors, "model_version": pa.repeat("1", count),
        }))  # fmt: skip


class Truth:
    """The true neighbours among the clips that pass, from the stored rows alone."""

    def __init__(self, catalog: Catalog):
        with Session(catalog) as session:
            self._clips = session.sql(
                "select clip_id, motion_px, duration_s from clips order by clip_id"
            ).arrow()
            stored = session.sql(f"select vector from embeddings_{MODEL} order by clip_id").arrow()
        flat = stored["vector"].combine_chunks().flatten().to_numpy()
        self._vectors = flat.reshape(stored.num_rows, -1)

    def neighbours(self, queries: Vectors, bounds: Sequence[float | None]) -> list[set[str]]:
        """Of each query, of the clips with less motion than a bound and longer than LEAST_S."""
        cosines = np.empty((len(queries), len(self._vectors)), np.float32)
        for first in range(0, len(self._vectors), BATCH):
            part = self._vectors[first : first + BATCH]
            cosines[:, first : first + BATCH] = queries @ part.T / np.linalg.norm(part, axis=1)
        motion, seconds = (self._clips[n].to_numpy() for n in ("motion_px", "duration_s"))
        found = []
        for row, bound in zip(cosines, bounds, strict=True):
            if bound is not None:
                row[~((motion < bound) & (seconds > LEAST_S))] = -2
            best = np.argpartition(-row, NEIGHBOURS)[:NEIGHBOURS]
            found.append(set(self._clips["clip_id"].take(pa.array(best)).to_pylist()))
        return found


def condition(bound: float | None) -> str | None:
    return None if bound is None else f"motion_px < {bound:.4f} and duration_s > {LEAST_S}"


def timed(name: str, calls: list[Any]) -> dict[str, float]:
    """Median and 95th percentile of wall time; and processor time, which others cannot slow."""
    walls, processor = [], []
    for call in calls:
        began, used = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    return {
        f"{name}_ms": round(statistics.median(walls) * 1000, 1),
        f"{name}_p95_ms": round(sorted(walls)[int(len(walls) * 0.95)] * 1000, 1),
        f"{name}_cpu_ms": round(statistics.median(processor) * 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--flat", action="store_true")
    given = parser.parse_args()
    space = Space(given.dims, given.flat)
    catalog = make(given.folder, given.clips, space)
    queries = space.queries(given.queries)
    wide = np.round(np.linspace(2.0, 4.0, given.queries), 4).tolist()
    narrow = np.round(np.linspace(0.2, 0.4, given.queries), 4).tolist()
    result: dict[str, Any] = {"clips": given.clips, "dims": given.dims, "flat": given.flat}

    began = time.perf_counter()
    searcher = Searcher(catalog)
    searcher.index(MODEL)
    result["open_or_build_s"] = round(time.perf_counter() - began, 1)
    began = time.perf_counter()
    with Searcher(catalog) as again:
        again.index(MODEL)
    result["open_s"] = round(time.perf_counter() - began, 1)
    began = time.perf_counter()
    searcher.search("word7")
    result["first_words_s"] = round(time.perf_counter() - began, 1)
    truth = Truth(catalog)
    for name, bounds in (("filtered", wide), ("narrow", narrow), ("free", [None] * len(queries))):
        searcher.nearest(MODEL, queries[0], NEIGHBOURS, condition(bounds[0]))
        calls = [
            lambda query=query, bound=bound: searcher.nearest(
                MODEL, query, NEIGHBOURS, condition(bound)
            )
            for query, bound in zip(queries, bounds, strict=True)
        ]
        result |= timed(name, calls)
        found = [{clip for clip, _ in call()} for call in calls]
        true = truth.neighbours(queries, bounds)
        hits = sum(len(one & other) for one, other in zip(true, found, strict=True))
        result[f"{name}_recall_at_10"] = round(hits / NEIGHBOURS / len(true), 4)
    texts = [f"word{number * 7 + 3} word{number + 40}" for number in range(given.queries)]
    calls = [
        lambda text=text, bound=bound: searcher.search(text, where=condition(bound))
        for text, bound in zip(texts, wide, strict=True)
    ]
    result |= timed("words", calls)
    result["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result["machine"] = f"{platform.machine()}, python {platform.python_version()}"
    for name, value in result.items():
        print(f"{name:24} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
