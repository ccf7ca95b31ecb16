"""Near-duplicates of a catalog: what was not searched yet is compared with all there is.

    report = find_near(catalog, NearDuplicates())

Sources that the search has gone through before are compared with new ones only, by the few hashes
that were kept of each (`anchors`, and sorted on a `shelf`); two sources are looked at closely when
some of these are near. Everything comes from stored signals, nothing is decoded. Matches are
between sources, so cutting again needs no new search.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.duplicates import catalog_version
from catalogs.query import Session
from catalogs.recipe import NearDuplicates
from curation.dedup.candidates import (
    Candidate,
    Pairs,
    candidates_among,
    candidates_between,
    sorted_sets,
)
from curation.dedup.index import Known
from curation.dedup.search import Match, aligned
from curation.dedup.sequences import Anchors, HashedSource, anchors_of
from curation.dedup.shelf import Shelf, Shelves
from curation.dedup.stored import StoredHashes, anchor_rows, held_back, old_anchors
from curation.signals import CROPS

__all__ = ["SERVES", "SearchReport", "find_near"]

SERVES = ("vpn",)
"""Published systems whose search for copies this is."""

SAME_MOMENT_S = 0.002
"""Containers round times; frames that are this close are shown at the same time."""

MOST_ALIKE = 64
"""Files that show the same frame by frame, of which every pair is told."""

Load = Callable[[Sequence[str]], Mapping[str, HashedSource]]


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What a search did."""

    search: str
    sources: int
    """Sources that were searched now."""
    candidates: int
    """Pairs of sources that were looked at closely."""
    matches: int
    """Stretches that were found."""
    outdated: int
    """Videos that were not searched, for they were measured before all hashes were stored."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_near(
    catalog: Catalog,
    near: NearDuplicates,
    *,
    against: Catalog | None = None,
    threads: int = 2,
) -> SearchReport:
    """Search what was not searched yet, and record what it has in common with everything.

    Args:
        catalog: its videos and takes, and what was found of them before.
        near: the search's settings; `min_overlap` plays no part.
        against: another catalog (a benchmark); only what is common with that one is searched.
        threads: that look up hashes.
    """
    with Session(catalog, cutting="-") as session:
        if against is None:
            return _Search(session, near, "", threads).run()
        with Session(against, cutting="-") as other:
            name = catalog_version(against)
            return _Search(session, near, name, threads).run(StoredHashes(other, near.min_quality))


class _Search:
    """One search: what it gathers from batches of sources, and its commit."""

    def __init__(self, session: Session, near: NearDuplicates, against: str, threads: int):
        self._session = session
        self._near = near
        self._against = against
        self._threads = threads
        self._stored = StoredHashes(session, near.min_quality)
        self._names = self._stored.unsearched(near.search, against)
        self._searched: list[dict[str, Any]] = []
        self._anchor_rows: list[pa.Table] = []
        self._run_id = uuid.uuid4().hex
        self._shelves = Shelves(session.catalog, near.search, threads)

    def run(self, others: StoredHashes | None = None) -> SearchReport:
        if not self._names:
            return SearchReport(self._near.search, 0, 0, 0, self._stored.outdated())
        new = self._gather(self._stored, self._names, record=True)
        candidates = _Candidates(self._names)
        if others is None:
            runs = self._runs()
            candidates.add_among(self._among(new))
            for shelf in self._old(runs):
                candidates.add(shelf.ids, self._between(new, shelf.sets))
        else:
            theirs = others.unsearched("", "")
            sets = dict(sorted_sets(self._gather(others, theirs, record=False)))
            candidates.add(np.array(theirs, np.bytes_), self._between(new, sets))
        exact = set() if others else self._exact()
        load = self._loader(others)
        only = None if others is None else len(self._names)
        found = candidates.found
        matches = aligned(found, candidates.names, load, self._near.max_distance, ours=only)
        rows = list(_rows(matches, load, exact))
        self._commit(rows)
        if others is None:
            self._shelves.add([self._run_id], self._names, new)
            self._shelves.tidy({**runs, self._run_id: len(self._names)})
        outdated = self._stored.outdated()
        return SearchReport(self._near.search, len(self._names), len(found), len(rows), outdated)

    def _runs(self) -> dict[str, int]:
        """The runs that have searched this catalog, and how many sources each."""
        rows = self._session.connection.execute(
            f"select run_id, count(*) from ({self._session.scan('searched')}) "
            "where search = ? and against = '' group by 1",
            [self._near.search],
        ).fetchall()
        return dict(rows)

    def _old(self, runs: Mapping[str, int]) -> list[Shelf]:
        """Sorted anchors of what was searched before; those that are missing are sorted now."""
        shelves = self._shelves.of(runs)
        missing = runs.keys() - {run for shelf in shelves for run in shelf.runs}
        if missing:
            ids, anchors = old_anchors(
                self._session, self._near.search, sorted(missing), self._near.min_quality
            )
            shelves.append(self._shelves.add(sorted(missing), ids, anchors))
        return shelves

    def _gather(self, stored: StoredHashes, names: Sequence[str], *, record: bool) -> Anchors:
        def parts() -> Iterator[tuple[int, Anchors]]:
            done = 0
            for batch in stored.batches(names):
                anchors = anchors_of(batch)
                if record:
                    self._record(batch, anchors)
                yield done, anchors
                done += len(batch)

        return Anchors.joined(parts())

    def _record(self, batch: Sequence[HashedSource], anchors: Anchors) -> None:
        for source in batch:
            held_from, held_to = held_back(source)
            self._searched.append(
                {
                    "search": self._near.search,
                    "source_id": source.source_id,
                    "against": self._against,
                    "content": source.content,
                    "hashes": int(source.good.sum()),
                    "held_from_s": held_from,
                    "held_to_s": held_to,
                    "run_id": self._run_id,
                }
            )
        if not self._against:
            rows = anchor_rows(batch, anchors, self._near.min_quality)
            self._anchor_rows.append(rows)

    def _among(self, new: Anchors) -> set[Candidate]:
        near = self._near
        return candidates_among(
            new, near.max_distance, mirrored=near.mirrored, threads=self._threads
        )

    def _between(self, new: Anchors, old: Mapping[str, Known]) -> Iterable[Pairs]:
        near = self._near
        return candidates_between(
            new, old, near.max_distance, mirrored=near.mirrored, threads=self._threads
        )

    def _loader(self, others: StoredHashes | None) -> Load:
        def load(names: Sequence[str]) -> Mapping[str, HashedSource]:
            found = self._stored.load(names)
            rest = [name for name in names if name not in found]
            return {**found, **others.load(rest)} if others and rest else found

        return load

    def _exact(self) -> set[tuple[str, str]]:
        """New sources whose every frame shows what another source's does, each with all such.

        What very many files show alike, a minute of black for one, is tied to the first of them.
        """
        alike: dict[str, set[str]] = {}
        for row in self._searched:
            alike.setdefault(row["content"], set()).add(row["source_id"])
        self._session.connection.register("new_contents", pa.table({"content": list(alike)}))
        rows = self._session.connection.execute(
            f"select content, source_id from ({self._session.scan('searched')}) "
            "semi join new_contents using (content) where search = ? and against = ''",
            [self._near.search],
        ).fetchall()
        new = set(self._names)
        for content, name in rows:
            alike[content].add(name)
        pairs: set[tuple[str, str]] = set()
        for names in alike.values():
            told = sorted(names)
            partners = told if len(told) <= MOST_ALIKE else told[:1]
            pairs |= {
                (min(one, other), max(one, other))
                for one in new & names
                for other in partners
                if one != other
            }
        return pairs

    def _commit(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write what was found.

        None of it was there in the version that was read, so only what was committed since is
        looked through for the same; but another search may have left the same anchors.
        """
        fixed = {"search": self._near.search, "against": self._against, "run_id": self._run_id}
        catalog = self._session.catalog
        read = catalog.version
        with catalog.transaction(f"search {len(self._names)} sources for duplicates") as txn:
            txn.insert("searched", self._searched, since=read)
            for part in self._anchor_rows:
                txn.insert("anchors", part, since=0 if self._others_searched() else read)
            txn.insert("matches", [row | fixed for row in rows], since=read)

    def _others_searched(self) -> bool:
        """Whether there are searches of this catalog with other settings."""
        rows = self._session.connection.execute(
            f"select 1 from ({self._session.scan('searched')}) "
            "where search <> ? and against = '' limit 1",
            [self._near.search],
        ).fetchall()
        return bool(rows)


class _Candidates:
    """Candidates among sources by name; only those of the old that are met get a place."""

    def __init__(self, new: Sequence[str]):
        self.names = list(new)
        self.found: set[Candidate] = set()
        self._places: dict[str, int] = {}

    def add_among(self, found: set[Candidate]) -> None:
        self.found |= found

    def add(self, ids: NDArray[np.bytes_], pairs: Iterable[Pairs]) -> None:
        """Pairs of new sources and old ones, which have these ids."""
        for item in pairs:
            for new, old in item.owners.tolist():
                place = self._place(ids[old].decode())
                one, other = (place, new) if item.of_old else (new, place)
                self.found.add(Candidate(one, other, item.look))

    def _place(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = len(self.names)
            self.names.append(name)
        return self._places[name]


def _rows(
    matches: Iterable[Match], load: Load, exact: Iterable[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Rows of `matches`; what is equal frame by frame is told once, as exact."""
    told = set()
    for low, high in sorted(exact):
        sources = load([low, high])
        if _shown_alike(sources[low], sources[high]):
            told.add((low, high))
            yield _exact_row(sources[low], sources[high])
    for match in matches:
        if (match.one.source_id, match.other.source_id) not in told:
            yield from _near_rows(match)


def _shown_alike(one: HashedSource, other: HashedSource) -> bool:
    """Whether the frames that were hashed are shown at the same times from the beginning."""
    if len(one.pts) != len(other.pts):
        return False
    moments = [
        np.append(item.seconds, item.end_s) - item.start_pts * float(item.time_base)
        for item in (one, other)
    ]
    return bool(np.abs(moments[0] - moments[1])[: max(1, len(one.pts))].max() <= SAME_MOMENT_S)


def _exact_row(one: HashedSource, other: HashedSource) -> dict[str, Any]:
    spans = (one.start_pts, one.end_pts, other.start_pts, other.end_pts)
    return {
        "kind": "exact",
        **_pair(one, other, *spans),
        "alignment": 0,
        "rate": 1.0,
        "mirrored": False,
        "turned_deg": 0,
        "window": 1.0,
        "share": 1.0,
        "distance": 0.0,
    }


def _near_rows(match: Match) -> Iterator[dict[str, Any]]:
    look = match.look
    for item in match.stretches:
        spans = (item.start_pts, item.end_pts, item.other_start_pts, item.other_end_pts)
        yield {
            "kind": "near",
            **_pair(match.one, match.other, *spans),
            "alignment": item.alignment,
            "rate": item.rate,
            "mirrored": look.view == "mirrored",
            "turned_deg": int(look.view.removeprefix("turned")) if "turned" in look.view else 0,
            "window": 1.0 if look.window is None else CROPS[look.window],
            "share": item.matched / item.compared,
            "distance": item.distance,
        }


def _pair(
    one: HashedSource, other: HashedSource, start: int, end: int, other_start: int, other_end: int
) -> dict[str, Any]:
    ours, theirs = float(one.time_base), float(other.time_base)
    return {
        "source_id": one.source_id,
        "other_id": other.source_id,
        "start_pts": start,
        "end_pts": end,
        "other_start_pts": other_start,
        "other_end_pts": other_end,
        "start_s": start * ours,
        "end_s": end * ours,
        "other_start_s": other_start * theirs,
        "other_end_s": other_end * theirs,
    }
