"""Groups of clips that are alike, named by what their captions say, and how even they are.

    report = cluster(catalog, "words", count=20)
    for group in report.clusters:
        print(group.name, group.clips, group.hours)

Groups are columns of `clips`, as an operator's scores are, so a recipe can cap them:

    balance: {by: cluster, cap: 2000}

Clustering again replaces them. A group is called after the words that its captions have and the
others have not. A clip that has no near neighbours is an outlier, whatever its group.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError, nearest
from catalogs.query import Session
from catalogs.schema import Column
from curation.embed.base import Vectors
from curation.embed.load import captions_of
from curation.embed.regions import best_regions
from curation.embed.terms import COMMON, stem, words
from curation.search.vectors import stored_vectors

__all__ = [
    "CLUSTER_COLUMNS",
    "Cluster",
    "ClusterReport",
    "chosen_model",
    "cluster",
    "replace_scores",
]

TABLE = "scores/clusters"
CLUSTER_COLUMNS = (
    Column("cluster", pa.string(), "group of clips that are alike, by key terms of its captions"),
    Column("cluster_number", pa.int32(), "number of the group, the largest is 0"),
    Column("cluster_cosine", pa.float32(), "likeness to the middle of the group", "-1..1"),
    Column("outlier", pa.float32(), "1 - mean cosine with the nearest five clips", "0..2"),
    Column("cluster_model", pa.string(), "embedding that was grouped, with its revision"),
)
MOST_CLUSTERS = 64
NAME_TERMS = 3
_NEIGHBOURS = 5
_COMPARED = 20_000
"""Up to so many clips, neighbours are sought among all, beyond in the own group."""
_BLOCK = 1024
_SECONDS_PER_HOUR = 3600.0
_LEAST_CAPTIONS = 0.1
"""A term names a group when at least this share of its captions has it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One group."""

    name: str
    clips: int
    hours: float
    share: float
    """Of all clips."""
    example: str
    """The clip nearest to the middle."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """All groups, the largest first, and how evenly clips are spread over them."""

    model: str
    clusters: tuple[Cluster, ...]
    outliers: tuple[tuple[str, float], ...]
    """Clips without near neighbours, the loneliest first."""

    @property
    def clips(self) -> int:
        return sum(group.clips for group in self.clusters)

    @property
    def even_as(self) -> float:
        """So many groups of one size would be spread as evenly: the exponent of the entropy."""
        return math.exp(-sum(g.share * math.log(g.share) for g in self.clusters if g.share))

    def capped(self, cap: int) -> int:
        """Clips that a cap of so many for each group would keep."""
        return sum(min(group.clips, cap) for group in self.clusters)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "clips": self.clips, "even_as": self.even_as}


def cluster(
    catalog: Catalog, model: str | None = None, *, count: int | None = None, outliers: int = 10
) -> ClusterReport:
    """Group the clips of the newest cutting and record the groups.

    Args:
        model: the embedding to group by; by default the only one there is.
        count: groups; by default the root of half the clips, at most 64.
        outliers: how many the report names.
    """
    chosen = chosen_model(catalog.refresh(), model)
    with Session(catalog) as session:
        ids, vectors = stored_vectors(session, chosen)
        if not len(ids):
            raise NotFoundError(f"no clip of the newest cutting has an embedding of {chosen!r}")
        if count is not None and not 1 <= count <= len(ids):
            raise UsageError(
                f"{count} groups", allowed=f"1 to {len(ids)}, the clips that there are"
            )
        wanted = count or min(MOST_CLUSTERS, max(1, round(math.sqrt(len(ids) / 2))))
        centres, number = _by_size(*best_regions(vectors, wanted))
        names = _names(session, ids.to_pylist(), number, len(centres))
        hours = _hours(session, ids)
        revision = session.connection.execute(
            f"select any_value(model_version) from ({session.scan(f'embeddings/{chosen}')})"
        ).fetchall()[0][0]
    cosine = (vectors * centres[number]).sum(axis=1)
    lonely = 1 - _neighbourhood(vectors, number)
    _record(catalog, ids, f"{chosen}@{revision}", names, number, cosine, lonely)
    groups = tuple(_groups(ids, names, number, cosine, hours))
    far = np.argsort(-lonely, kind="stable")[:outliers].tolist()
    listed = tuple((ids[at].as_py(), float(lonely[at])) for at in far)
    return ClusterReport(chosen, groups, listed)


def chosen_model(catalog: Catalog, model: str | None) -> str:
    """The embedding that was asked for, or the only one there is."""
    known = [t.partition("/")[2] for t in catalog.tables() if t.startswith("embeddings/")]
    if model is None and len(known) == 1:
        return known[0]
    if model is None or model not in known:
        raise NotFoundError(
            f"the catalog has no embeddings of {model!r}" if model else "say which embedding",
            allowed=", ".join(known) or None,
            hint=nearest(model or "", known) or "clipmill embed CATALOG makes some",
        )
    return model


def _by_size(centres: Vectors, region: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64]]:
    """The same groups without empty ones, the largest first."""
    sizes = np.bincount(region, minlength=len(centres))
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    number = np.full(len(centres), -1, np.int64)
    number[order] = np.arange(len(order))
    return centres[order], number[region]


def _names(
    session: Session, ids: Sequence[str], number: NDArray[np.int64], count: int
) -> list[str]:
    """For each group the words that set its captions apart."""
    captions = captions_of(session, ids)
    holders: list[Counter[str]] = [Counter() for _ in range(count)]
    spelt: dict[str, Counter[str]] = {}
    sizes = np.bincount(number, minlength=count)
    for clip, group in zip(ids, number.tolist(), strict=True):
        told = [w for t in captions.get(clip, ()) for w in words(t) if w not in COMMON]
        told = [word for word in told if len(word) > 1 and not word.isdigit()]
        for word in told:
            spelt.setdefault(stem(word), Counter())[word] += 1
        holders[group].update({stem(word) for word in told})
    every: Counter[str] = Counter()
    for group_terms in holders:
        every.update(group_terms)
    names: list[str] = []
    for group, held in enumerate(holders):
        best = _key_terms(held, every, int(sizes[group]), len(ids))
        name = ", ".join(spelt[term].most_common(1)[0][0] for term in best) or f"group {group}"
        names.append(name if name not in names else f"{name} ({group})")
    return names


def _key_terms(
    held: Mapping[str, int], every: Mapping[str, int], size: int, clips: int
) -> list[str]:
    """Terms that many clips of a group have and few others."""

    def weight(term: str) -> float:
        inside = held[term] / size
        outside = (every[term] - held[term] + 0.5) / (clips - size + 1)
        return inside * math.log(inside / outside)

    common = [term for term, count in held.items() if count >= _LEAST_CAPTIONS * size]
    ranked = sorted((-weight(term), term) for term in common)
    return [term for value, term in ranked if value < 0][:NAME_TERMS]


def _hours(session: Session, ids: pa.Array) -> NDArray[np.float64]:
    session.keep("grouped", pa.table({"clip_id": ids, "row": np.arange(len(ids))}))
    session.prepare("select duration_s from clips")
    found = session.connection.execute(
        "select coalesce(duration_s, 0.0) as s from grouped join clips using (clip_id) order by row"
    ).fetchnumpy()["s"]
    return np.asarray(found, np.float64) / _SECONDS_PER_HOUR


def _neighbourhood(vectors: Vectors, number: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean cosine of each vector with its nearest others."""
    everyone = np.arange(len(vectors))
    if len(vectors) <= _COMPARED:
        return _nearest_mean(vectors, everyone)
    found = np.zeros(len(vectors), np.float32)
    for group in range(int(number.max()) + 1):
        members = everyone[number == group]
        found[members] = _nearest_mean(vectors[members], np.arange(len(members)))
    return found


def _nearest_mean(vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    count = min(_NEIGHBOURS, len(vectors) - 1)
    if count < 1:
        return np.zeros(len(vectors), np.float32)
    parts = []
    for first in range(0, len(rows), _BLOCK):
        part = rows[first : first + _BLOCK]
        cosines = vectors[part] @ vectors.T
        cosines[np.arange(len(part)), part] = -2.0
        best = np.partition(cosines, len(vectors) - count, axis=1)[:, -count:]
        parts.append(best.mean(axis=1))
    return np.concatenate(parts)


def _record(
    catalog: Catalog,
    ids: pa.Array,
    model: str,
    names: Sequence[str],
    number: NDArray[np.int64],
    cosine: NDArray[np.float32],
    lonely: NDArray[np.float32],
) -> None:
    rows = {
        "cluster": pa.array(names).take(pa.array(number)),
        "cluster_number": pa.array(number, pa.int32()),
        "cluster_cosine": cosine,
        "outlier": lonely,
        "cluster_model": pa.repeat(model, len(ids)),
    }
    replace_scores(catalog, TABLE, ids, rows, CLUSTER_COLUMNS, f"group {len(ids)} clips by {model}")


def replace_scores(
    catalog: Catalog,
    table: str,
    ids: pa.Array,
    rows: Mapping[str, Any],
    columns: Sequence[Column],
    message: str,
) -> None:
    """Write scores of clips as the next version of a table, in place of all older ones."""
    known: list[int] = []
    if table in catalog.tables():
        with Session(catalog, cutting="-") as session:
            found = session.connection.execute(
                f"select distinct op_version from ({session.scan(table)})"
            ).fetchall()
        known = [row[0] for row in found]
    version = pa.repeat(pa.scalar(max(known, default=0) + 1, pa.int32()), len(ids))
    with catalog.transaction(message) as txn:
        if known:
            txn.delete(table, pa.table({"op_version": pa.array(known, pa.int32())}))
        txn.append(table, pa.table({"clip_id": ids, "op_version": version, **rows}), columns)


def _groups(
    ids: pa.Array,
    names: Sequence[str],
    number: NDArray[np.int64],
    cosine: NDArray[np.float32],
    hours: NDArray[np.float64],
) -> Iterator[Cluster]:
    for group, name in enumerate(names):
        members = np.flatnonzero(number == group)
        example = ids[int(members[cosine[members].argmax()])].as_py()
        share = len(members) / len(ids)
        yield Cluster(name, len(members), float(hours[members].sum()), share, example)
