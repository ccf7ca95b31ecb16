"""Search over one version of a catalog: words and vectors together, filtered in SQL.

    searcher = Searcher(catalog)
    for hit in searcher.search("a person walks in circles", where="duration_s > 2"):
        print(hit.clip_id, hit.score, hit.caption)
    searcher.search(like="9f3a2c")

A query is ranked by the words of captions (BM25) and by every embedding that can judge it: those
that know texts for a text, all for a clip to be like. The rankings are fused by reciprocal ranks,
so their scores need not be comparable. A filter is any condition over the view `clips`, asked on
the catalog's locked connection; the columns that it reads stay in memory for the next one.

A `Searcher` answers for the version that it was opened at. Opening one loads the indexes, which are
kept beside the catalog and are built when what they were built from has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import MissingExtraError, NotFoundError, QueryError, UsageError, nearest
from catalogs.explain import find_clip
from catalogs.query import Session, sql_name, wide_columns
from curation.embed.base import Embedder, EmbeddingError, Vectors
from curation.embed.registry import embedder_of
from curation.embed.terms import terms
from curation.search.bm25 import WordIndex
from curation.search.cache import IndexCache
from curation.search.vectors import VectorIndex

__all__ = ["Hit", "Searcher", "search"]

FUSED = 60
"""A place in a ranking is worth 1 / (FUSED + place)."""
_DEEPER, _DEEPEST = 5, 50
"""Rankings that are fused are this many times as long as what is asked for, at least `_DEEPEST`."""
_SHOWN = ("clip_id", "uri", "start_s", "end_s")
_WORD = re.compile(r"[a-z_][a-z0-9_]*")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hit:
    """A clip that was found."""

    clip_id: str
    uri: str | None
    start_s: float | None
    end_s: float | None
    score: float
    caption: str | None
    """Of its captions the one with most of the words that were asked for."""
    found_by: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """Place and score in each ranking that it is in: `words` for captions, else the model."""

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "found_by": {
                name: {"place": place, "score": score}
                for name, (place, score) in self.found_by.items()
            },
        }


@dataclass(slots=True)
class _Ranking:
    """Clips of the universe by one judge, best first."""

    name: str
    places: NDArray[np.int64]
    scores: NDArray[np.float32]


def search(
    catalog: Catalog,
    text: str | None = None,
    *,
    like: str | None = None,
    where: str | None = None,
    limit: int = 10,
    models: Sequence[str] | None = None,
    cutting: str | None = None,
) -> list[Hit]:
    """One search; see `Searcher`."""
    with Searcher(catalog, models=models, cutting=cutting) as searcher:
        return searcher.search(text, like=like, where=where, limit=limit)


class Searcher:
    """Indexes of a catalog's newest cutting, or of another one, held ready."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        models: Sequence[str] | None = None,
        cutting: str | None = None,
    ):
        """`models` are the embeddings to ask; None asks all, an empty list only the words."""
        self.catalog = catalog
        self.session = Session(catalog, cutting=cutting)
        self._cache = IndexCache(catalog)
        self._asked = models
        self._judges: dict[str, Embedder | None] = {}
        self._vectors: dict[str, tuple[VectorIndex, NDArray[np.int64]]] = {}
        self._loaded: set[str] = set()
        self._known = _embedded(catalog)
        for model in models or ():
            if model not in self._known:
                raise NotFoundError(
                    f"the catalog has no embeddings of {model!r}",
                    allowed=", ".join(self._known) or None,
                    hint=nearest(model, self._known) or "clipmill embed CATALOG makes some",
                )

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.connection.close()

    # -- what there is ---------------------------------------------------------------------

    @cached_property
    def clips(self) -> pa.Array:
        """Ids of all clips of the cutting, in order: a clip's place is its number here."""
        self.session.prepare("select clip_id from clips")
        rows = self.session.connection.sql("select clip_id from clips order by 1").to_arrow_table()
        ids = rows["clip_id"].combine_chunks()
        places = pa.table({"clip_id": ids, "place": np.arange(len(ids), dtype=np.int64)})
        self.session.keep("search_clips", places)
        return ids

    @cached_property
    def _words(self) -> tuple[WordIndex, NDArray[np.int64]] | None:
        index = WordIndex.of(self.session, self._cache)
        return None if index is None else (index, self._places(index.ids))

    @cached_property
    def _documents(self) -> NDArray[np.int64]:
        """The row of each place in the index of words, -1 without captions."""
        rows = np.full(len(self.clips), -1, np.int64)
        if self._words is not None:
            places = self._words[1]
            rows[places[places >= 0]] = np.flatnonzero(places >= 0)
        return rows

    def index(self, model: str) -> VectorIndex:
        """The vectors of one model."""
        return self._of(model)[0]

    def _of(self, model: str) -> tuple[VectorIndex, NDArray[np.int64]]:
        if model not in self._vectors:
            index = VectorIndex.of(self.session, self._cache, model)
            self._vectors[model] = (index, self._places(index.ids))
        return self._vectors[model]

    def _places(self, ids: pa.Array) -> NDArray[np.int64]:
        """The place of each id among the clips, -1 for those of other cuttings."""
        assert len(self.clips) >= 0
        self.session.keep(
            "search_rows", pa.table({"clip_id": ids, "row": np.arange(len(ids), dtype=np.int64)})
        )
        found = self.session.connection.execute(
            "select row, place from search_rows join search_clips using (clip_id)"
        ).fetchnumpy()
        places = np.full(len(ids), -1, np.int64)
        places[found["row"]] = found["place"]
        return places

    # -- searching -------------------------------------------------------------------------

    def search(
        self,
        text: str | None = None,
        *,
        like: str | None = None,
        where: str | None = None,
        limit: int = 10,
    ) -> list[Hit]:
        """The best clips, best first.

        Args:
            text: what they should be about.
            like: a clip that they should be like, by its id or a beginning of it.
            where: a condition over `clips` that they must meet.
            limit: how many at most.
        """
        if not text and not like:
            raise UsageError("nothing to search for", allowed="a text, a clip to be like, or both")
        if limit < 1:
            raise UsageError(f"{limit} clips", allowed="1 or more")
        keep = self._mask(where) if where else None
        lists = [*self._by_text(text, keep, limit), *self._by_likeness(like, keep, limit)]
        return self._hits(lists, text, limit)

    def nearest(
        self, model: str, vector: Vectors, count: int, where: str | None = None
    ) -> list[tuple[str, float]]:
        """Clips with the vectors nearest to one, as (clip_id, cosine)."""
        ranking = self._ranked(model, vector, self._mask(where) if where else None, count)
        ids = self.clips.take(pa.array(ranking.places)).to_pylist()
        return list(zip(ids, ranking.scores.tolist(), strict=True))

    def _by_text(self, text: str | None, keep: Mask | None, limit: int) -> Iterator[_Ranking]:
        if not text:
            return
        judges = 0
        depth = max(_DEEPEST, limit * _DEEPER)
        if self._words is not None:
            judges += 1
            yield self._by_words(text, keep, depth)
        for model in self._known if self._asked is None else self._asked:
            embedder = self._text_judge(model)
            if embedder is not None:
                judges += 1
                vector = embedder.embed_texts([text])[0]
                if np.isfinite(vector[0]):
                    yield self._ranked(model, vector, keep, depth, embedder.least_cosine)
        if not judges:
            raise NotFoundError(
                "the catalog has neither captions nor embeddings that know texts",
                hint=f"clipmill caption {self.catalog.storage.root}, or search with --like CLIP",
            )

    def _text_judge(self, model: str) -> Embedder | None:
        """What embeds texts as a model's clips were; None where it cannot, unless it was named."""
        if model not in self._judges:
            try:
                self._judges[model] = self._judge(model)
            except (EmbeddingError, MissingExtraError, NotFoundError):
                if self._asked is not None:
                    raise
                self._judges[model] = None
        return self._judges[model]

    def _judge(self, model: str) -> Embedder | None:
        embedder = embedder_of(self.catalog, model)
        if not embedder.reads_text:
            return None
        stored = self.index(model).revision
        if embedder.revision != stored:
            raise EmbeddingError(
                f"the embeddings of {model!r} are of revision {stored}, "
                f"the model is at {embedder.revision}",
                hint="clipmill embed the catalog again",
            )
        return embedder

    def _by_words(self, text: str, keep: Mask | None, depth: int) -> _Ranking:
        assert self._words is not None
        index, places = self._words
        scores = index.scores(text)
        rows = np.flatnonzero((scores > 0) & (places >= 0))
        if keep is not None:
            rows = rows[keep[places[rows]]]
        order = np.lexsort((places[rows], -scores[rows]))[:depth]
        return _Ranking("captions", places[rows[order]], scores[rows[order]])

    def _by_likeness(self, like: str | None, keep: Mask | None, limit: int) -> Iterator[_Ranking]:
        if not like:
            return
        clip = find_clip(self.session, like)
        depth = max(_DEEPEST, limit * _DEEPER) + 1
        found = False
        for model in self._known if self._asked is None else self._asked:
            index, _ = self._of(model)
            row = index.ids.index(clip).as_py()
            if row < 0:
                continue
            found = True
            ranking = self._ranked(model, index.vector(row), keep, depth)
            own = self.clips.index(clip).as_py()
            others = ranking.places != own
            yield _Ranking(model, ranking.places[others], ranking.scores[others])
        if not found:
            raise NotFoundError(
                f"clip {clip} has no embedding",
                hint=f"clipmill embed {self.catalog.storage.root} --with visual",
            )

    def _ranked(
        self, model: str, vector: Vectors, keep: Mask | None, depth: int, least: float = -1.0
    ) -> _Ranking:
        index, places = self._of(model)
        passing: Mask | None = None
        if keep is not None:
            passing = keep[places] & (places >= 0)
        elif (places < 0).any():
            passing = places >= 0
        rows, cosines = index.search(vector, depth, passing)
        good = cosines >= least
        return _Ranking(model, places[rows[good]], cosines[good])

    # -- filters ---------------------------------------------------------------------------

    def _mask(self, where: str) -> Mask:
        """Which clips meet a condition, by place.

        The columns that it reads are kept in memory, in order of place.
        """
        self.session.sql(f"select clip_id from clips where ({where})")  # refuses what may not be
        names = [n for n in wide_columns(self.session) if _mentions(where, n)]
        self._load(names)
        self.session.prepare(where)
        try:
            found = self.session.connection.execute(
                f"select coalesce(({where})::boolean, false) as keep from search_columns clips"
            ).fetchnumpy()
        except Exception as error:
            raise QueryError(
                f"the condition cannot be evaluated clip by clip: {error}",
                allowed="a condition over the columns of clips",
            ) from error
        return np.asarray(found["keep"], bool)

    def _load(self, names: Sequence[str]) -> None:
        """Have columns of `clips` in the table `search_columns`, a row for each place."""
        wanted = {*_SHOWN, *names}
        if wanted <= self._loaded:
            return
        self._loaded |= wanted
        assert len(self.clips) >= 0
        columns = ", ".join(f"c.{sql_name(name)}" for name in sorted(self._loaded))
        query = f"select p.place, {columns} from clips c join search_clips p using (clip_id)"
        self.session.prepare(query)
        self.session.connection.execute(
            f"create or replace table search_columns as {query} order by p.place"
        )

    # -- results ---------------------------------------------------------------------------

    def _hits(self, lists: Sequence[_Ranking], text: str | None, limit: int) -> list[Hit]:
        found: dict[int, dict[str, tuple[int, float]]] = {}
        for ranking in lists:
            for number, place in enumerate(ranking.places.tolist()):
                score = float(ranking.scores[number])
                found.setdefault(place, {}).setdefault(ranking.name, (number + 1, score))
        scores = {p: sum(1 / (FUSED + n) for n, _ in by.values()) for p, by in found.items()}
        best = sorted(scores, key=lambda place: (-scores[place], place))[:limit]
        told, wanted = self._told(best), set(terms(text or ""))
        return [
            Hit(
                **told[place],
                score=scores[place],
                caption=self._caption(place, wanted),
                found_by=found[place],
            )
            for place in best
        ]

    def _told(self, places: Sequence[int]) -> dict[int, dict[str, Any]]:
        self._load(())
        marks = ", ".join("?" * len(places)) or "null"
        rows = self.session.connection.execute(
            f"select place, {', '.join(_SHOWN)} from search_columns where place in ({marks})",
            list(places),
        ).fetchall()
        return {row[0]: dict(zip(_SHOWN, row[1:], strict=True)) for row in rows}

    def _caption(self, place: int, wanted: set[str]) -> str | None:
        """The caption with most of the words that were asked for, the first of equals."""
        if self._words is None:
            return None
        index, _ = self._words
        row = self._documents[place]
        if row < 0:
            return None
        return max(index.texts(row), key=lambda text: len(wanted & set(terms(text))))


def _embedded(catalog: Catalog) -> list[str]:
    return [
        name.partition("/")[2]
        for name in catalog.tables()
        if name.startswith("embeddings/") and catalog.rows(name)
    ]


def _mentions(where: str, column: str) -> bool:
    lowered = where.lower()
    if _WORD.fullmatch(column.lower()):
        return column.lower() in _WORD.findall(lowered)
    return column.lower() in lowered
