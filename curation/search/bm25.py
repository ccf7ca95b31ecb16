"""Clips by the words of their captions: BM25.

All distinct captions of a clip are one document. DuckDB counts its words, Python makes terms of the
distinct words only, so a million captions are indexed in seconds, and an index is built anew when
captions come. Each entry of the index holds what the term adds to the clip's score, so a query is a
few sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.query import Session
from curation.embed.terms import COMMON, terms, words
from curation.search.cache import Entry, IndexCache

__all__ = ["WordIndex"]

VERSION = 1
SATURATION, LENGTH = 1.2, 0.75
"""k1 and b of BM25."""

_TOLD = """
    select clip_id, list(text order by kind <> 'brief', kind <> 'detailed', kind, text) as texts
    from (
        select clip_id, text, min(kind) as kind from captions
        where text is not null and not starts_with(kind, 'part:') group by 1, 2
    ) group by 1 order by 1
"""
_COUNTED = """
    with found as (
        select clip, unnest(regexp_extract_all(lower(text), '[\\p{L}\\p{N}\\p{M}]+')) as word
        from (select clip, unnest(texts) as text from documents)
    )
    select clip, word, count(*)::float as times from found group by all
"""


class WordIndex:
    """An inverted index of captions."""

    def __init__(self, entry: Entry):
        self.ids: pa.Array = entry.ids
        self._texts = entry.clips["texts"].combine_chunks()
        self._starts = entry.arrays["starts"]
        self._clips, self._scores = entry.arrays["clips"], entry.arrays["scores"]
        self._terms = {term: place for place, term in enumerate(entry.about["terms"])}

    @classmethod
    def of(cls, session: Session, cache: IndexCache) -> WordIndex | None:
        """The index of a session's captions; None where there are none."""
        if "captions" not in session.catalog.tables():
            return None
        files = sorted(item.path for item in session.catalog.files("captions"))
        key = {"version": VERSION, "files": files}
        entry = cache.load("words", key)
        if entry is None:
            clips, arrays, names = _built(session)
            entry = cache.save("words", key, arrays, clips, {"terms": names})
        return cls(entry) if len(entry.ids) else None

    def scores(self, text: str) -> NDArray[np.float32]:
        """A score for every clip of `ids`, 0 where nothing matches."""
        scores = np.zeros(len(self.ids), np.float32)
        for term in self._asked(text):
            part = slice(self._starts[term], self._starts[term + 1])
            scores[self._clips[part]] += self._scores[part]
        return scores

    def texts(self, row: int) -> list[str]:
        """The distinct captions of one clip of `ids`, brief ones first."""
        found: list[str] = self._texts[row].as_py()
        return found

    def _asked(self, text: str) -> list[int]:
        """Known terms of a query; common words count only where there is nothing else."""
        told = [word for word in words(text) if word not in COMMON] or words(text)
        return sorted({self._terms[t] for word in told for t in terms(word) if t in self._terms})


def _built(session: Session) -> tuple[pa.Table, dict[str, NDArray[np.generic]], list[str]]:
    session.prepare("captions")
    connection = session.connection
    clips = connection.sql(_TOLD).to_arrow_table()
    numbers = np.arange(clips.num_rows, dtype=np.int32)
    session.keep("documents", clips.append_column("clip", pa.array(numbers)))
    connection.execute(f"create or replace temp table counted as {_COUNTED}")
    found = connection.execute("select distinct word from counted").fetchall()
    names = _register_terms(session, [row[0] for row in found])
    rows = connection.execute(
        "select term, clip, sum(times)::float as times from counted "
        "join word_terms using (word) group by all order by 1, 2"
    ).fetchnumpy()
    connection.execute("drop table counted")
    connection.execute("drop table documents")
    return clips, _weighted(rows, clips.num_rows, len(names)), names


def _register_terms(session: Session, found: Sequence[str]) -> list[str]:
    """`word_terms(word, term)` in the session; returns the terms in order."""
    pairs = [(word, term) for word in found for term in terms(word)]
    names = sorted({term for _, term in pairs})
    place = {term: number for number, term in enumerate(names)}
    session.keep(
        "word_terms",
        pa.table(
            {
                "word": pa.array([word for word, _ in pairs], pa.string()),
                "term": pa.array([place[term] for _, term in pairs], pa.int32()),
            }
        ),
    )
    return names


def _weighted(
    rows: dict[str, NDArray[np.generic]], clips: int, count: int
) -> dict[str, NDArray[np.generic]]:
    """Entries by term, with what each adds to its clip's score."""
    term, clip = np.asarray(rows["term"], np.int64), np.asarray(rows["clip"], np.int64)
    times = np.asarray(rows["times"], np.float32)
    length = np.bincount(clip, times, minlength=clips)
    holders = np.bincount(term, minlength=count)
    rarity = np.log1p((clips - holders + 0.5) / (holders + 0.5))
    relative = length / max(float(length.mean()), 1.0) if clips else length
    held_back = SATURATION * (1 - LENGTH + LENGTH * relative[clip])
    scores = rarity[term] * times * (SATURATION + 1) / (times + held_back)
    return {
        "starts": np.concatenate([[0], np.cumsum(holders)]).astype(np.int64),
        "clips": clip.astype(np.int32),
        "scores": scores.astype(np.float32),
    }
