"""Hashes as a catalog stores them: sources to search, and anchors of those that were searched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.files import DataFile
from catalogs.query import Session, sql_text
from curation.dedup.hashes import as_words
from curation.dedup.sequences import Anchors, HashedSource
from curation.dedup.takes import hashed_take
from curation.mocap.layouts import HUMANML22
from curation.signals import CROPS, PICTURE_COLUMNS, PictureHashes, join_pictures

__all__ = ["SCHEME", "StoredHashes", "anchor_rows", "content_of", "held_back", "old_anchors"]

SCHEME = 3
"""Version of how anchors are chosen and stored."""

_VIDEO, _TAKES = "signals/video", "signals/motion"
_HASH_SETS = 3
"""The first set of signals with all hashes of pictures."""

_COLUMNS = (
    "source_id", "chunk", "frames", "time_base_num", "time_base_den", "pts", "end_pts",
    *PICTURE_COLUMNS,
)  # fmt: skip
_SOURCES_AT_ONCE = 1024
_OLD_AT_ONCE = 16_384
_WORDS = 4
_ANCHORS = ("kept", "asked", "halves", "crops", "inside")
_PARTS = {"halves": 2, "crops": len(CROPS)}


class StoredHashes:
    """Reads the hashes of videos from their signals, and makes those of takes from the joints."""

    def __init__(self, session: Session, min_quality: int):
        self._session = session
        self._min_quality = min_quality

    def unsearched(self, search: str, against: str) -> list[str]:
        """Sources with hashes or joints that a search has not gone through, sorted."""
        measured = [
            f"select source_id from ({self._session.scan(table)}) where set_version >= {least} "
            "group by source_id, set_version having count(distinct chunk) = max(of_chunks)"
            for table, least in ((_VIDEO, _HASH_SETS), (_TAKES, 0))
            if self._has(table)
        ]
        if not measured:
            return []
        rows = self._session.connection.execute(
            f"select distinct source_id from ({' union all '.join(measured)}) "
            "anti join (select source_id from "
            f"({self._session.scan('searched')}) where search = ? and against = ?) "
            "using (source_id) order by 1",
            [search, against],
        ).fetchall()
        return [row[0] for row in rows]

    def outdated(self) -> int:
        """Videos that were measured before all hashes were stored: they cannot be searched."""
        if _VIDEO not in self._session.catalog.tables():
            return 0
        ((count,),) = self._session.connection.execute(
            f"select count(*) from (select source_id from ({self._session.scan(_VIDEO)}) "
            f"group by 1 having max(set_version) < {_HASH_SETS})"
        ).fetchall()
        return int(count)

    def _has(self, table: str) -> bool:
        """Whether a table is there, in the case of videos with hashes of pictures."""
        catalog = self._session.catalog
        if table not in catalog.tables():
            return False
        stored = {column.name for column in catalog.columns(table)}
        return table != _VIDEO or stored.issuperset(PICTURE_COLUMNS)

    def load(self, source_ids: Sequence[str]) -> dict[str, HashedSource]:
        """Some sources, by id."""
        wanted = pa.table({"source_id": pa.array(source_ids, pa.string())})
        self._session.connection.register("wanted_hashes", wanted)
        columns = ", ".join((*_COLUMNS, "phash", "rgb_mean"))
        chunks: dict[str, list[dict[str, Any]]] = {}
        for row in self._wanted(_VIDEO, columns, _HASH_SETS):
            chunks.setdefault(row["source_id"], []).append(row)
        found = {name: self._source(name, parts) for name, parts in chunks.items()}
        takes = "source_id, time_base_num, time_base_den, body_joints"
        return found | {row["source_id"]: self._take(row) for row in self._wanted(_TAKES, takes, 0)}

    def _wanted(self, table: str, columns: str, least: int) -> Iterator[dict[str, Any]]:
        """Rows of the newest set of signals of the wanted sources."""
        if not self._has(table):
            return iter(())
        return _rows(
            self._session.connection.sql(
                f"select {columns} from ({self._session.scan(table, self._holding(table))}) "
                f"semi join wanted_hashes using (source_id) where set_version >= {least} "
                "qualify set_version = max(set_version) over (partition by source_id) "
                "order by source_id, chunk"
            ).to_arrow_table()
        )

    def _holding(self, table: str) -> list[DataFile]:
        """The files of a table in which wanted sources are: hashes are too large to read all."""
        catalog = self._session.catalog
        files = catalog.files(table)
        if not files:
            return []
        uris = ", ".join(map(sql_text, catalog.uris(table, files)))
        rows = self._session.connection.execute(
            f"select distinct filename from read_parquet([{uris}], filename = true) "
            "semi join wanted_hashes using (source_id)"
        ).fetchall()
        held = {PurePosixPath(row[0]).name for row in rows}
        return [file for file in files if PurePosixPath(file.path).name in held]

    def batches(self, source_ids: Sequence[str]) -> Iterator[list[HashedSource]]:
        """Some sources in the given order, a limited number at a time."""
        for first in range(0, len(source_ids), _SOURCES_AT_ONCE):
            names = source_ids[first : first + _SOURCES_AT_ONCE]
            loaded = self.load(names)
            yield [loaded[name] for name in names]

    def _take(self, row: Mapping[str, Any]) -> HashedSource:
        joints = row["body_joints"]
        return hashed_take(
            row["source_id"],
            None if joints is None else joints.reshape(-1, len(HUMANML22), 3),
            Fraction(row["time_base_num"], row["time_base_den"]),
            self._min_quality,
        )

    def _source(self, name: str, chunks: Sequence[Mapping[str, Any]]) -> HashedSource:
        befores = np.cumsum([0, *(len(chunk["pts"]) for chunk in chunks)]).tolist()
        found = join_pictures(
            [
                (before, PictureHashes.from_row(chunk))
                for before, chunk in zip(befores, chunks, strict=False)
            ]
        )
        pts = np.concatenate([chunk["pts"] for chunk in chunks])
        first, last = chunks[0], chunks[-1]
        return HashedSource(
            source_id=name,
            time_base=Fraction(first["time_base_num"], first["time_base_den"]),
            pts=pts[found.frames],
            end_pts=int(last["end_pts"]),
            good=found.quality >= self._min_quality,
            whole=as_words(found.whole),
            with_halves=found.with_halves,
            halves=as_words(found.halves),
            with_crops=found.with_crops,
            crops=as_words(found.crops),
            with_bars=found.with_bars,
            inside=as_words(found.inside),
            content=content_of(chunks),
        )


def content_of(chunks: Sequence[Mapping[str, Any]]) -> str:
    """Hash of what every frame shows, from numbers that any change of a picture changes."""
    digest = hashlib.sha256()
    for name in ("phash", "rgb_mean"):
        for chunk in chunks:
            digest.update(np.ascontiguousarray(chunk[name]).tobytes())
    return digest.hexdigest()[:32]


def held_back(source: HashedSource) -> tuple[list[float], list[float]]:
    """Where the pictures of a source hold too little to be compared, in seconds."""
    good = np.concatenate([[True], source.good, [True]])
    changes = np.flatnonzero(np.diff(good.astype(np.int8)))
    times = np.append(source.seconds, source.end_s)
    return times[changes[::2]].tolist(), times[changes[1::2]].tolist()


def anchor_rows(sources: Sequence[HashedSource], anchors: Anchors, min_quality: int) -> pa.Table:
    """Rows of `anchors` for some sources, whose positions begin at 0."""
    columns: dict[str, Any] = {"source_id": [source.source_id for source in sources]}
    for name in _ANCHORS:
        hashes, of = getattr(anchors, name), getattr(anchors, f"{name}_of")
        ends = np.searchsorted(of, np.arange(len(sources)), side="right")
        starts = np.concatenate([[0], ends[:-1]])
        columns[name] = [
            hashes[start:end].tobytes() for start, end in zip(starts, ends, strict=True)
        ]
    table = pa.table(columns)
    for name, value in (("scheme", SCHEME), ("min_quality", min_quality)):
        table = table.append_column(name, pa.array([value] * len(sources), pa.int32()))
    return table


def old_anchors(
    session: Session, search: str, runs: Sequence[str], min_quality: int
) -> tuple[list[str], Anchors]:
    """Ids and anchors of the sources that some runs of a search have gone through."""
    chosen = ", ".join(map(sql_text, runs))
    body = (
        f"select source_id, {', '.join(_ANCHORS)} from ({session.scan('anchors')}) "
        f"semi join (from ({session.scan('searched')}) where search = {sql_text(search)} "
        f"and against = '' and run_id in ({chosen})) using (source_id) "
        f"where scheme = {SCHEME} and min_quality = {min_quality} order by source_id"
    )
    ids: list[str] = []

    def parts() -> Iterator[tuple[int, Anchors]]:
        for batch in session.connection.sql(body).to_arrow_reader(_OLD_AT_ONCE):
            yield len(ids), _anchors(batch)
            ids.extend(batch.column("source_id").to_pylist())

    return ids, Anchors.joined(parts())


def _anchors(batch: pa.RecordBatch) -> Anchors:
    arrays: dict[str, Any] = {}
    for name in _ANCHORS:
        hashes, of = _packed(batch.column(name), _PARTS.get(name, 1))
        arrays[name] = hashes if name in _PARTS else hashes[:, 0]
        arrays[f"{name}_of"] = of
    return Anchors(**arrays)


def _packed(column: pa.Array, per_row: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """All hashes of a binary column and the rows that they are of, without a loop over rows."""
    column = column.cast(pa.large_binary())
    ends = np.frombuffer(column.buffers()[1], np.int64)[column.offset :][: len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    size = per_row * _WORDS * 8
    counts = np.diff(ends) // size
    hashes = np.ascontiguousarray(data).view(np.uint64).reshape(-1, per_row, _WORDS)
    return hashes, np.repeat(np.arange(len(column), dtype=np.int32), counts)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as dicts; lists of numbers stay arrays."""
    for batch in table.to_batches():
        columns = {
            name: [
                item.values.to_numpy(zero_copy_only=False) if item.is_valid else None
                for item in batch.column(name)
            ]
            if pa.types.is_list(batch.schema.field(name).type)
            else batch.column(name).to_pylist()
            for name in batch.schema.names
        }
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))
