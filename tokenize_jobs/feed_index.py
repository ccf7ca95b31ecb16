"""Which windows a feed gives out, where they are stored, and what is joined to them.

The index is made once, from one version of the catalog, and is plain data: it is pickled to
workers, which never see the catalog itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalogs.chosen import choose
from catalogs.errors import NotFoundError, SchemaError, UsageError, nearest
from catalogs.query import Session, sql_name, sql_text, wide_columns
from tokenize_jobs.feed_text import TextIndex, check_text, one_stream
from tokenize_jobs.packing import Packing
from tokenize_jobs.shards import packings
from tokenize_jobs.text_encoders import TEXT_HASH

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from tokenize_jobs.feed_sources import HubRepo

__all__ = ["FeedIndex", "Place", "Wanted", "build_index", "merged"]

_WINDOW_COLUMNS = (
    "clip_id", "window_index", "start_pts", "end_pts", "time_base_num", "time_base_den", "frames",
    "fps", "transform_hash", "weights_hash", "spec_hash",
)  # fmt: skip
_CAPTIONS = "captions"
_LISTED = "list({} order by t.caption_id) filter (where t.text is not null)"
"""Of each caption of a window, in one order."""


@dataclass(frozen=True, slots=True)
class Place:
    """One file of the table: its path below the catalog's root, and its size."""

    path: str
    bytes: int


@dataclass(frozen=True)
class Wanted:
    """What a feed asks of the catalog."""

    table: str
    where: str | None = None
    selection: str | None = None
    windows: str | None = None
    split: str | None = None
    columns: Sequence[str] = ()
    """Columns of `clips` or of the windows, `captions`, or `captions:KIND`."""
    weights: str | None = None
    text: str | None = None
    """The table with the tokens of captions."""

    @property
    def caption_kind(self) -> str | None:
        """The kind of caption that is wanted, empty for any; None without captions."""
        for name in self.columns:
            if name == _CAPTIONS or name.startswith(f"{_CAPTIONS}:"):
                return name.removeprefix(_CAPTIONS).removeprefix(":")
        return "" if self.text else None

    @property
    def told(self) -> bool:
        """Whether a batch holds the captions' texts."""
        return any(name.split(":")[0] == _CAPTIONS for name in self.columns)

    @property
    def plain(self) -> list[str]:
        """The columns that are looked up under their own names."""
        names = [n for n in self.columns if n.split(":")[0] != _CAPTIONS]
        return list(dict.fromkeys([*names, *([self.weights] if self.weights else [])]))


@dataclass(frozen=True)
class FeedIndex:
    """One entry for each window, in the order of the files and of the rows in them."""

    streams: Mapping[str, Packing]
    places: Sequence[Place]
    file: NDArray[np.int32]
    row: NDArray[np.int64]
    bucket: NDArray[np.int32]
    grids: Sequence[Mapping[str, tuple[int, ...]]]
    """The grid of every stream, by bucket."""
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    captions: pa.ListArray | None = None
    text: TextIndex | None = None
    weights: NDArray[np.float64] | None = None
    hashes: tuple[str, str] = ("", "")
    """The specification and the weights that made the tokens."""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def fingerprint(self) -> str:
        """A hash of which windows these are and in which order."""
        digest = hashlib.sha256(json.dumps([p.path for p in self.places]).encode())
        for array in (self.file, self.row, self.bucket):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:32]


def build_index(catalog: Catalog, wanted: Wanted, hub: HubRepo | None = None) -> FeedIndex:
    """Ask the catalog once for everything that the feed will need to know."""
    places = _places(catalog, wanted.table)
    streams = packings(catalog.columns(wanted.table))
    with choose(catalog, selection=wanted.selection, where=wanted.where) as chosen:
        session = chosen.session
        _make_windows(session, wanted, streams, places, hub)
        names = _known_columns(session, wanted.plain)
        rows = _rows(session, wanted, names)
        captions, text = _captions(session, wanted, hub)
    if not rows.num_rows:
        raise NotFoundError(
            f"{wanted.table} has no window of these clips",
            hint="look at `where`, `windows` and `split`, or tokenize the selection first",
        )
    hashes = _same_tokenizer(rows, wanted)
    weights = None
    if wanted.weights:
        weights = rows[wanted.weights].cast(pa.float64()).to_numpy()
    bucket, grids = _buckets(rows["grids"].combine_chunks(), list(streams))
    return FeedIndex(
        streams,
        places,
        rows["file"].to_numpy().astype(np.int32),
        rows["row"].to_numpy().astype(np.int64),
        bucket,
        grids,
        {name: _column(rows[name], name) for name in names if name in wanted.columns},
        captions,
        text,
        weights,
        hashes,
    )


def _places(catalog: Catalog, table: str) -> list[Place]:
    files = sorted(catalog.files(table), key=lambda item: item.path)
    return [Place(f"{table}/{item.path}", item.bytes) for item in files]


def merged(parts: Sequence[FeedIndex]) -> FeedIndex:
    """The windows of several selections of one table, one after the other."""
    head = parts[0]
    known: dict[str, int] = {}
    buckets = []
    for part in parts:
        own = [known.setdefault(json.dumps(grid), len(known)) for grid in part.grids]
        buckets.append(np.asarray(own, np.int32)[part.bucket])
    return FeedIndex(
        head.streams,
        head.places,
        np.concatenate([part.file for part in parts]),
        np.concatenate([part.row for part in parts]),
        np.concatenate(buckets),
        [{name: tuple(grid) for name, grid in json.loads(text).items()} for text in known],
        {n: pa.concat_arrays([part.columns[n] for part in parts]) for n in head.columns},
        None if head.captions is None else pa.concat_arrays([p.captions for p in parts]),
        _merged_text([part.text for part in parts if part.text is not None]),
        None,
        head.hashes,
    )


def _merged_text(parts: Sequence[TextIndex]) -> TextIndex | None:
    if not parts:
        return None
    return replace(parts[0], found=pa.concat_arrays([part.found for part in parts]))


def _make_windows(
    session: Session,
    wanted: Wanted,
    streams: Mapping[str, Packing],
    places: Sequence[Place],
    hub: HubRepo | None,
) -> None:
    """A relation `__windows`: the chosen rows of the table without their tokens."""
    grids = [f"{stream}_grid" for stream in streams]
    rows = _stored_rows(session, "windows", places, [*_WINDOW_COLUMNS, *grids], hub)
    names = ", ".join(_WINDOW_COLUMNS)
    listed_grids = ", ".join(sql_name(name) for name in grids)
    condition = f"and ({wanted.windows})" if wanted.windows else ""
    split = f"and split = {sql_text(wanted.split)}" if wanted.split else ""
    asked = wanted.selection or wanted.where or wanted.split
    clips = f"clip_id in (select clip_id from chosen where true {split})" if asked else "true"
    query = (
        f"select file, file_row_number as row, {names}, [{listed_grids}]::varchar as grids, "
        "start_pts * time_base_num / time_base_den::double as __start_s, "
        "end_pts * time_base_num / time_base_den::double as __end_s "
        f"from {rows} where {clips} {condition}"
    )
    session.sql(query)
    session.connection.execute(f"create temp table __windows as {query}")


def _stored_rows(
    session: Session,
    name: str,
    places: Sequence[Place],
    columns: Sequence[str],
    hub: HubRepo | None,
) -> str:
    """What to select from: rows of shards without their tokens, with `file` and the row in it."""
    uris = [session.catalog.storage.uri(place.path) for place in places]
    numbers = pa.array(range(len(places)), pa.int32())
    session.keep(f"__files_{name}", pa.table({"filename": uris, "file": numbers}))
    if hub is None:
        listed = ", ".join(map(sql_text, uris))
        rows = f"read_parquet([{listed}], filename = true, file_row_number = true)"
    else:
        rows = f"__distant_{name}"
        session.keep(rows, _distant_rows(session, hub, places, columns))
    return f"{rows} join __files_{name} using (filename)"


def _distant_rows(
    session: Session, hub: HubRepo, places: Sequence[Place], columns: Sequence[str]
) -> pa.Table:
    from tokenize_jobs.feed_sources import read_columns

    tables = []
    for place in places:
        with hub.open_file(place.path) as file:
            rows = read_columns(file, [*columns, "shard", "created"])
        uri = pa.repeat(session.catalog.storage.uri(place.path), rows.num_rows)
        tables.append(rows.append_column("filename", uri))
    return pa.concat_tables(tables)


def _known_columns(session: Session, names: Sequence[str]) -> list[str]:
    known = [*_WINDOW_COLUMNS, *wide_columns(session)]
    for name in names:
        if name not in known:
            raise NotFoundError(
                f"there is no column {name!r} to join to tokens",
                allowed="captions, captions:KIND, columns of the windows and of the view clips",
                hint=nearest(name, [*known, _CAPTIONS]),
            )
    return list(names)


def _rows(session: Session, wanted: Wanted, names: Sequence[str]) -> pa.Table:
    own = {"file", "row", "grids", "spec_hash", "weights_hash", "transform_hash"}
    select = [f"w.{name}" for name in sorted(own)]
    extra = [name for name in names if name not in own]
    select += [f"{'w' if n in _WINDOW_COLUMNS else 'c'}.{sql_name(n)}" for n in extra]
    joined = [n for n in extra if n not in _WINDOW_COLUMNS]
    clips = "left join clips c on c.clip_id = w.clip_id" if joined else ""
    return session.sql(
        f"select {', '.join(select)} from __windows w {clips} order by w.file, w.row"
    ).arrow()


def _captions(
    session: Session, wanted: Wanted, hub: HubRepo | None
) -> tuple[pa.ListArray | None, TextIndex | None]:
    """For each window the captions of its clip, less those of other parts of the clip, and where
    their tokens are."""
    if wanted.caption_kind is None:
        return None, None
    of_kind = f"and t.kind = {sql_text(wanted.caption_kind)}" if wanted.caption_kind else ""
    found, tokens = "", ""
    if wanted.text is not None:
        _make_texts(session, wanted.text, hub)
        found = f", {_LISTED.format('{file: x.file, row: x.row, count: x.count}')} as found"
        tokens = (
            "left join __texts x on x.clip_id = t.clip_id "
            f"and x.text_hash = {TEXT_HASH.format('t.text')} "
        )
    rows = session.sql(
        f"select {_LISTED.format('t.text')} as texts {found} "
        "from __windows w left join clips c on c.clip_id = w.clip_id "
        f"left join captions t on t.clip_id = w.clip_id {of_kind} "
        "and coalesce(t.start_s < w.__end_s - coalesce(c.start_s, 0), true) "
        "and coalesce(t.end_s > w.__start_s - coalesce(c.start_s, 0), true) "
        f"{tokens} group by w.file, w.row order by w.file, w.row"
    ).arrow()
    texts = rows["texts"].combine_chunks().cast(pa.list_(pa.string()))
    if wanted.text is None:
        return texts, None
    lists = rows["found"].combine_chunks()
    check_text(lists, wanted.text)
    catalog = session.catalog
    stream = one_stream(packings(catalog.columns(wanted.text)), wanted.text)
    return texts if wanted.told else None, TextIndex(*stream, _places(catalog, wanted.text), lists)


def _make_texts(session: Session, table: str, hub: HubRepo | None) -> None:
    """A relation `__texts`: where the tokens of each text are."""
    stream, _ = one_stream(packings(session.catalog.columns(table)), table)
    columns = ["clip_id", "transform_hash", f"{stream}_grid"]
    rows = _stored_rows(session, "texts", _places(session.catalog, table), columns, hub)
    session.connection.execute(
        "create temp table __texts as select clip_id, transform_hash as text_hash, file, "
        f"file_row_number as row, {sql_name(stream + '_grid')}[1] as count from {rows}"
    )


def _same_tokenizer(rows: pa.Table, wanted: Wanted) -> tuple[str, str]:
    """Refuse windows of several weights or transforms, unless they were asked for."""
    for column in ("weights_hash", "transform_hash"):
        found = sorted(pc.unique(rows[column]).to_pylist())
        if len(found) > 1 and column not in (wanted.windows or ""):
            raise UsageError(
                f"{wanted.table} has windows of {len(found)} different {column} values",
                allowed=", ".join(map(str, found)),
                hint=f"choose with windows=\"{column} = '{found[0]}'\"",
            )
    return str(rows["spec_hash"][0]), str(rows["weights_hash"][0])


def _buckets(
    texts: pa.Array, streams: Sequence[str]
) -> tuple[NDArray[np.int32], list[dict[str, tuple[int, ...]]]]:
    coded = texts.dictionary_encode()
    order = pc.array_sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    ordered = coded.dictionary.take(pa.array(order)).to_pylist()
    grids = [
        {name: tuple(grid) for name, grid in zip(streams, json.loads(text), strict=True)}
        for text in ordered
    ]
    return rank[coded.indices.to_numpy()], grids


def _column(values: pa.ChunkedArray, name: str) -> pa.Array:
    """Numbers without gaps, or texts; a text that is missing is empty."""
    array = values.combine_chunks()
    if pa.types.is_string(array.type):
        return pc.fill_null(array, "")
    if pa.types.is_floating(array.type):
        return pc.fill_null(array.cast(pa.float64()), float("nan"))
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        if array.null_count:
            raise SchemaError(
                f"column {name!r} is NULL for {array.null_count} windows",
                hint=f'leave them out: where="{name} is not null"',
            )
        return array.cast(pa.int64()) if pa.types.is_integer(array.type) else array
    raise SchemaError(
        f"column {name!r} is {array.type} and cannot be put into a batch",
        allowed="numbers, flags and texts",
    )
