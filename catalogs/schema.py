"""Every table of a catalog: its columns, their units and meanings, and the format version.

A unit that matters stands in the column's name (`duration_s`, `luma_mean_255`); the `unit` of a
column says it again for readers of `clipmill schema`. Units and meanings travel inside the tables
as field metadata, so a catalog explains itself without this module.

Tables that an operator, a signal set, an embedding model or a tokenizer owns have a few columns
fixed here (`FAMILIES`) and bring the rest as declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from catalogs.errors import NotFoundError, SchemaError, UsageError, nearest

__all__ = [
    "FAMILIES",
    "FORMAT_VERSION",
    "TABLES",
    "Column",
    "TableSpec",
    "as_table",
    "spec_of",
    "view_name",
]

FORMAT_VERSION = 2
"""Raised when a catalog written by this version can no longer be read by the one before."""

TEXT, INT, LONG, REAL, FLAG = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
INSTANT = pa.timestamp("us", tz="UTC")
TRISTATE = pa.struct([("redistribute", TEXT), ("commercial", TEXT), ("derive", TEXT)])
SERIES, TICKS, REALS = pa.list_(pa.float32()), pa.list_(pa.int64()), pa.list_(pa.float64())

_NAME = re.compile(r"[a-z0-9_][A-Za-z0-9_.@-]*")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it holds, in which unit, and what it means in a line."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""

    def field(self) -> pa.Field:
        return pa.field(self.name, self.type, metadata={"unit": self.unit, "meaning": self.meaning})

    @classmethod
    def of(cls, field: pa.Field) -> Column:
        """A column read back from a stored table's field."""
        notes = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        return cls(field.name, field.type, notes.get("meaning", ""), notes.get("unit", ""))


@dataclass(frozen=True)
class TableSpec:
    """A table: its columns, the key that makes a row unique, and the order it is compacted in.

    `pruned_by` names the columns whose smallest and largest value is kept for each file, so that
    queries skip whole files. Compaction never puts rows that differ in the columns `apart` into one
    file, so that a query for one cutting or the newest version reads whole files and no others.
    The binary columns of a `direct` table are stored as they are, so that a reader who maps a file
    into memory finds the bytes of any row without decoding.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    pruned_by: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    direct: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([column.field() for column in self.columns])

    def column(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        names = [column.name for column in self.columns]
        raise NotFoundError(
            f"table {self.name!r} has no column {name!r}", hint=nearest(name, names)
        )

    def conform(self, rows: pa.Table) -> pa.Table:
        """`rows` in the column order and types of this table; missing columns become NULL."""
        unknown = [name for name in rows.column_names if name not in self.schema.names]
        if unknown:
            raise SchemaError(
                f"table {self.name!r} has no column {unknown[0]!r}",
                allowed=", ".join(self.schema.names),
                hint=nearest(unknown[0], self.schema.names),
            )
        arrays = []
        for field in self.schema:
            if field.name in rows.column_names:
                arrays.append(self._cast(rows, field))
            elif field.name in self.key and rows.num_rows:
                raise SchemaError(f"rows for {self.name!r} lack the key column {field.name!r}")
            else:
                arrays.append(pa.nulls(rows.num_rows, field.type))
        return pa.table(arrays, schema=self.schema)

    def _cast(self, rows: pa.Table, field: pa.Field) -> pa.ChunkedArray:
        column = rows.column(field.name)
        try:
            column = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaError(
                f"column {field.name!r} of {self.name!r} cannot hold {column.type}: {error}",
                allowed=str(field.type),
            ) from error
        if field.name in self.key and column.null_count:
            raise SchemaError(f"key column {field.name!r} of {self.name!r} holds NULL")
        return column

    def extended(self, name: str, columns: Iterable[Column]) -> TableSpec:
        """This family's table for one owner, with the owner's declared columns."""
        declared = tuple(columns)
        taken = {column.name for column in self.columns}
        for column in declared:
            if column.name in taken:
                raise SchemaError(f"{name!r} declares column {column.name!r} twice")
            taken.add(column.name)
        return replace(self, name=name, columns=self.columns + declared)


def _clip_time() -> tuple[Column, ...]:
    return (
        Column("start_pts", LONG, "first instant of the span", "ticks"),
        Column("end_pts", LONG, "first instant after the span", "ticks"),
        Column("time_base_num", LONG, "numerator of one tick's length", "s"),
        Column("time_base_den", LONG, "denominator of one tick's length", "1/s"),
    )


SOURCE_ID = Column("source_id", TEXT, "first 32 hex digits of the sha256 of the source's bytes")
CLIP_ID = Column("clip_id", TEXT, "first 32 hex digits of sha256(source, exact span)")
RUN_ID = Column("run_id", TEXT, "the run that wrote the row")
CREATED = Column("created", INSTANT, "when the row was written", "UTC")

_TABLES = (
    TableSpec(
        "commits",
        "one row per commit: the versions of all tables that are visible together",
        (
            Column("version", LONG, "the catalog's version"),
            Column("created", INSTANT, "when it was committed", "UTC"),
            Column("message", TEXT, "what the commit did"),
            Column("author", TEXT, "host and process that committed"),
            Column("tables", pa.map_(TEXT, LONG), "table name to its own version"),
            Column("rows_added", pa.map_(TEXT, LONG), "table name to rows appended", "rows"),
            Column("oldest", LONG, "oldest catalog version whose files still exist"),
        ),
        key=("version",),
    ),
    TableSpec(
        "sources",
        "one row per distinct file content",
        (
            SOURCE_ID,
            Column("uri", TEXT, "where the bytes were last seen"),
            Column("kind", TEXT, "video, mocap or image"),
            Column("bytes", LONG, "file size", "bytes"),
            Column("sha256", TEXT, "sha256 of the bytes, 64 hex digits"),
            Column("container", TEXT, "container or file format"),
            Column("codec", TEXT, "video codec"),
            Column("pix_fmt", TEXT, "pixel format as coded"),
            Column("bit_depth", INT, "bits per colour component", "bits"),
            Column("has_alpha", FLAG, "carries transparency"),
            Column("width", INT, "width as displayed: rotation and sample aspect applied", "px"),
            Column("height", INT, "height as displayed", "px"),
            Column("rotation_deg", INT, "clockwise rotation applied for display", "degrees"),
            Column("fps", REAL, "average frame rate", "1/s"),
            Column("fps_num", LONG, "numerator of the exact average frame rate"),
            Column("fps_den", LONG, "denominator of the exact average frame rate"),
            Column("is_vfr", FLAG, "frames are not evenly spaced"),
            Column("frames", LONG, "decoded frames in presentation order", "frames"),
            Column("duration_s", REAL, "from the first frame's start to the last one's end", "s"),
            Column("start_pts", LONG, "presentation time of the first frame", "ticks"),
            Column("end_pts", LONG, "first instant after the last frame", "ticks"),
            Column("time_base_num", LONG, "numerator of one tick's length", "s"),
            Column("time_base_den", LONG, "denominator of one tick's length", "1/s"),
            Column("audio_codec", TEXT, "codec of the first audio stream, NULL without audio"),
            Column("audio_channels", INT, "channels of the first audio stream"),
            Column("audio_rate_hz", INT, "sample rate of the first audio stream", "Hz"),
            Column("hdr_transfer", TEXT, "HDR transfer function (pq, hlg), NULL for SDR"),
            Column("damaged_frames", LONG, "frames that were missing, corrupt or repeated"),
            Column("skeleton", TEXT, "mocap: rig that the joint names belong to"),
            Column("joints", INT, "mocap: number of joints", "joints"),
            Column("unit", TEXT, "mocap: unit of length in the file"),
            Column("up_axis", TEXT, "mocap: axis that points up in the file"),
            Column("subject_height_m", REAL, "mocap: height of the subject", "m"),
            Column("collection", TEXT, "the collection that the file came with"),
            Column("license", TEXT, "SPDX identifier or licence text"),
            Column("license_terms", TRISTATE, "what the licence permits: yes, no or unknown each"),
            Column("meta", TEXT, "free-form metadata, JSON"),
            CREATED,
            RUN_ID,
        ),
        key=("source_id",),
    ),
    TableSpec(
        "quarantine",
        "files that could not be used, with the reason",
        (
            Column("uri", TEXT, "where the file was seen"),
            Column("source_id", TEXT, "its content id, NULL when it could not be read at all"),
            Column("bytes", LONG, "file size", "bytes"),
            Column("stage", TEXT, "what was being done: read, probe, decode, score, ..."),
            Column("error_class", TEXT, "short class of the failure, for grouping"),
            Column("detail", TEXT, "the failure in words"),
            Column("signal", TEXT, "signal that ended the decoding child, if any"),
            Column("host", TEXT, "machine that met the failure"),
            CREATED,
            RUN_ID,
        ),
        key=("uri", "stage"),
    ),
    TableSpec(
        "clips",
        "one row per clip and cutting; a clip is a span of a source",
        (
            CLIP_ID,
            Column("cutting", TEXT, "hash of the segment settings that cut it"),
            SOURCE_ID,
            Column("kind", TEXT, "video, mocap or image"),
            *_clip_time(),
            Column("start_frame", LONG, "first frame of the clip", "frames"),
            Column("end_frame", LONG, "first frame after the clip", "frames"),
            Column("start_s", REAL, "start, from start_pts", "s"),
            Column("end_s", REAL, "end (exclusive), from end_pts", "s"),
            Column("duration_s", REAL, "length", "s"),
            Column("frames", LONG, "number of frames", "frames"),
            Column("fps", REAL, "frames / duration_s", "1/s"),
            Column("starts_with", TEXT, "cut, dissolve, fade, file end or split"),
            Column("ends_with", TEXT, "cut, dissolve, fade, file end or split"),
            Column("detector", TEXT, "detector and version that cut it"),
            CREATED,
            RUN_ID,
        ),
        key=("clip_id", "cutting"),
        pruned_by=("clip_id", "cutting", "created"),
        apart=("cutting",),
    ),
    TableSpec(
        "cuttings",
        "one row per source and cutting: the source was cut, even if no clip came out",
        (
            SOURCE_ID,
            Column("cutting", TEXT, "hash of the segment settings"),
            Column("asked", TEXT, "hash of the recipe's segment part that asked for it"),
            Column("detector", TEXT, "detector and version that cut it"),
            Column("settings", TEXT, "the segment settings, JSON"),
            Column("boundaries", LONG, "changes of shot that were found"),
            Column("clips", LONG, "clips that came out"),
            CREATED,
            RUN_ID,
        ),
        key=("source_id", "cutting"),
        pruned_by=("cutting",),
    ),
    TableSpec(
        "storyboards",
        "small pictures of a source, about one a second, taken in the decode pass",
        (
            SOURCE_ID,
            Column("pts", LONG, "presentation time, in the source's time base", "ticks"),
            Column("width", INT, "width of the picture", "px"),
            Column("height", INT, "height of the picture", "px"),
            Column("jpeg", pa.binary(), "the picture as displayed, JPEG"),
            CREATED,
            RUN_ID,
        ),
        key=("source_id", "pts"),
        pruned_by=("source_id",),
    ),
    TableSpec(
        "captions",
        "texts that describe a clip or a window of it",
        (
            Column("caption_id", TEXT, "hash of clip, window, kind, model and prompt"),
            CLIP_ID,
            Column("kind", TEXT, "brief, detailed, motion, camera, label, ..."),
            Column("text", TEXT, "the caption"),
            Column("language", TEXT, "BCP 47 tag"),
            Column("start_s", REAL, "start of the window it describes, from the clip's start", "s"),
            Column("end_s", REAL, "end of the window", "s"),
            Column("origin", TEXT, "rules, import, model or rewrite"),
            Column("model", TEXT, "rule set, file or model that wrote it"),
            Column("revision", TEXT, "version of that model"),
            Column("prompt_id", TEXT, "name of the prompt"),
            Column("prompt_hash", TEXT, "hash of the prompt's text and settings"),
            Column("evidence", TEXT, "measurements that the text rests on, JSON"),
            Column("tokens", LONG, "tokens spent", "tokens"),
            Column("seconds", REAL, "time spent", "s"),
            CREATED,
            RUN_ID,
        ),
        key=("caption_id",),
    ),
    TableSpec(
        "selections",
        "the clips that a recipe kept, with their split",
        (
            Column("selection", TEXT, "name given by the user"),
            Column("selection_id", TEXT, "hash of recipe, catalog version and name"),
            CLIP_ID,
            SOURCE_ID,
            Column("split", TEXT, "train, val, test or NULL"),
            Column("duration_s", REAL, "length of the clip", "s"),
            CREATED,
            RUN_ID,
        ),
        key=("selection_id", "clip_id"),
        pruned_by=("selection", "selection_id", "clip_id"),
    ),
    TableSpec(
        "decisions",
        "the ledger: every gate's verdict on every clip",
        (
            Column("selection_id", TEXT, "the selection that was being made"),
            CLIP_ID,
            Column("stage", TEXT, "gate, dedup, balance or split"),
            Column("gate", TEXT, "name of the gate"),
            Column("value", TEXT, "the measured value that decided"),
            Column("predicate", TEXT, "the SQL of the gate"),
            Column("passed", FLAG, "whether the clip passed"),
            Column("reason", TEXT, "why it failed, NULL when it passed"),
        ),
        key=("selection_id", "clip_id", "stage", "gate"),
        pruned_by=("selection_id", "clip_id"),
    ),
    TableSpec(
        "token_shards",
        "what was encoded together: code sizes, use of the codes, quality and versions",
        (
            Column("tokens", TEXT, "the table that holds the rows, such as tokens/NAME@SPEC"),
            Column("shard", TEXT, "hash of the rows' keys; rows name it"),
            Column("stream", TEXT, "name of the stream"),
            Column("spec_hash", TEXT, "hash of the tokenizer's specification"),
            Column("weights_hash", TEXT, "sha256 of the tokenizer's weights"),
            Column("dtype", TEXT, "type that the values are stored in"),
            Column("levels", TICKS, "codes of each level; empty for latents"),
            Column("channels", INT, "width of a latent; 0 for ids"),
            Column("windows", LONG, "windows that were encoded"),
            Column("positions", LONG, "grid positions of all windows"),
            Column("bytes", LONG, "size of the packed values", "bytes"),
            Column("codes_used", TICKS, "distinct codes by level; NULL above 2^24 codes"),
            Column("quality", TEXT, "errors of the round trip on a sample, JSON"),
            Column("tiling", TEXT, "how larger inputs were cut for the model, empty if not"),
            Column("versions", TEXT, "package versions, JSON"),
            CREATED,
            RUN_ID,
        ),
        key=("tokens", "shard", "stream"),
        pruned_by=("tokens",),
    ),
    TableSpec(
        "searched",
        "sources that a search for duplicates has gone through",
        (
            Column("search", TEXT, "hash of the search's settings"),
            SOURCE_ID,
            Column("against", TEXT, "id of another catalog that was searched, empty for this one"),
            Column("content", TEXT, "hash of what every frame shows, whatever the container"),
            Column("hashes", LONG, "hashes that were looked at", "hashes"),
            Column("held_from_s", REALS, "stretches held back, for nothing tells them apart", "s"),
            Column("held_to_s", REALS, "ends of these stretches", "s"),
            CREATED,
            RUN_ID,
        ),
        key=("search", "source_id", "against"),
        pruned_by=("search", "source_id", "against"),
        apart=("search",),
    ),
    TableSpec(
        "anchors",
        "the few hashes of each source that others are compared with when they come",
        (
            SOURCE_ID,
            Column("scheme", INT, "version of how they are chosen"),
            Column("min_quality", INT, "least quality of a picture that counts", "0..100"),
            Column("kept", pa.binary(), "256-bit hashes of the whole picture, one a second"),
            Column("asked", pa.binary(), "the same, as many as the picture changes"),
            Column("halves", pa.binary(), "of its upper and lower half, one a second"),
            Column("crops", pa.binary(), "of smaller windows, one every other second"),
            Column("inside", pa.binary(), "of what lies inside of bars"),
            CREATED,
            RUN_ID,
        ),
        key=("source_id", "scheme", "min_quality"),
        pruned_by=("source_id", "scheme", "min_quality"),
    ),
    TableSpec(
        "matches",
        "stretches of two sources that show the same",
        (
            Column("search", TEXT, "hash of the search's settings"),
            Column("kind", TEXT, "exact (every frame is equal) or near"),
            SOURCE_ID,
            Column("other_id", TEXT, "the other source"),
            Column("against", TEXT, "id of the catalog that the other source is of, empty if here"),
            Column("start_pts", LONG, "first instant of the stretch", "ticks"),
            Column("end_pts", LONG, "first instant after it", "ticks"),
            Column("other_start_pts", LONG, "the same of the other source", "ticks"),
            Column("other_end_pts", LONG, "the same of the other source", "ticks"),
            Column("start_s", REAL, "start, from start_pts", "s"),
            Column("end_s", REAL, "end, from end_pts", "s"),
            Column("other_start_s", REAL, "the same of the other source", "s"),
            Column("other_end_s", REAL, "the same of the other source", "s"),
            Column("alignment", INT, "stretches of a pair with one number lie at one offset"),
            Column("rate", REAL, "seconds of the other source for one of this"),
            Column("mirrored", FLAG, "left and right are swapped"),
            Column("turned_deg", INT, "clockwise turn that makes the other of this", "degrees"),
            Column("window", REAL, "share of one's width and height that the other shows", "0..1"),
            Column("share", REAL, "hashes within the limit, of those compared in it", "0..1"),
            Column("distance", REAL, "median of those within the limit", "bits of 256"),
            CREATED,
            RUN_ID,
        ),
        key=("search", "source_id", "other_id", "against", "start_pts", "other_start_pts"),
        pruned_by=("search", "source_id", "against"),
        apart=("search",),
    ),
    TableSpec(
        "neighbours",
        "pairs of clips with like embeddings: those that tie the groups of any threshold",
        (
            Column("model", TEXT, "the model whose embeddings were compared"),
            Column("model_version", TEXT, "revision of the model"),
            Column("cutting", TEXT, "the cutting whose clips were compared"),
            CLIP_ID,
            Column("other_clip", TEXT, "the other clip"),
            Column("cosine", REAL, "cosine of the two vectors", "-1..1"),
            CREATED,
            RUN_ID,
        ),
        key=("model", "cutting", "clip_id", "other_clip"),
        pruned_by=("model", "cutting"),
        apart=("model", "cutting"),
    ),
    TableSpec(
        "runs",
        "what was run, by which versions, with what result",
        (
            RUN_ID,
            Column("verb", TEXT, "the command: curate, recut, select, tokenize, ..."),
            Column("name", TEXT, "name of the result, e.g. of the selection"),
            Column("status", TEXT, "done, interrupted or failed"),
            Column("started", INSTANT, "when it began", "UTC"),
            Column("finished", INSTANT, "when it ended", "UTC"),
            Column("catalog_version", LONG, "the catalog version that it read"),
            Column("recipe", TEXT, "the recipe's YAML, if one was used"),
            Column("recipe_hash", TEXT, "hash of the recipe's settings"),
            Column("settings", TEXT, "arguments, JSON"),
            Column("versions", TEXT, "package versions, JSON"),
            Column("hosts", TEXT, "machines that took part, JSON list"),
            Column("counts", TEXT, "what came out, JSON"),
            Column("timings", TEXT, "seconds per stage, JSON"),
        ),
        key=("run_id",),
    ),
)

TABLES: dict[str, TableSpec] = {spec.name: spec for spec in _TABLES}

FAMILIES: dict[str, TableSpec] = {
    "signals": TableSpec(
        "signals",
        "per-frame measurements, one row per source chunk and a list column per signal",
        (
            SOURCE_ID,
            Column("chunk", INT, "number of the chunk in the source, from 0"),
            Column("of_chunks", INT, "how many chunks the source has"),
            Column("set_version", INT, "version of the signal set"),
            Column("frames", LONG, "frames in the chunk", "frames"),
            Column("time_base_num", LONG, "numerator of one tick's length", "s"),
            Column("time_base_den", LONG, "denominator of one tick's length", "1/s"),
            Column("pts", TICKS, "presentation time of each frame", "ticks"),
            Column("end_pts", LONG, "first instant after the last frame", "ticks"),
            CREATED,
            RUN_ID,
        ),
        key=("source_id", "chunk", "set_version"),
        pruned_by=("set_version",),
        apart=("set_version",),
    ),
    "scores": TableSpec(
        "scores",
        "one operator's measurements of clips",
        (CLIP_ID, Column("op_version", INT, "version of the operator"), CREATED, RUN_ID),
        key=("clip_id", "op_version"),
        pruned_by=("clip_id", "op_version"),
        apart=("op_version",),
    ),
    "embeddings": TableSpec(
        "embeddings",
        "one model's vectors of clips, rounded to float16",
        (
            CLIP_ID,
            Column("model_version", TEXT, "revision of the model"),
            Column("vector", SERIES, "the embedding"),
            CREATED,
            RUN_ID,
        ),
        key=("clip_id", "model_version"),
        pruned_by=("clip_id", "model_version"),
        apart=("model_version",),
    ),
    "tokens": TableSpec(
        "tokens",
        "one tokenizer's tokens: one row per window, and two columns per stream of ids or latents",
        (
            CLIP_ID,
            Column("window_index", INT, "number of the window in the clip, from 0"),
            *_clip_time(),
            Column("frames", LONG, "frames that were encoded", "frames"),
            Column("fps", REAL, "frame rate at which they were taken", "1/s"),
            Column("transform_hash", TEXT, "hash of fps, size, crop and window settings"),
            Column("spec_hash", TEXT, "hash of the tokenizer's specification"),
            Column("weights_hash", TEXT, "sha256 of the tokenizer's weights"),
            Column("shard", TEXT, "the row of token_shards that tells how it was made"),
            CREATED,
            RUN_ID,
        ),
        key=("clip_id", "window_index", "transform_hash", "spec_hash", "weights_hash"),
        pruned_by=("clip_id", "transform_hash"),
        direct=True,
    ),
}


def spec_of(table: str, columns: Sequence[Column] = ()) -> TableSpec:
    """The specification of a table by name; `family/owner` names take the owner's columns."""
    if table in TABLES:
        if columns:
            raise UsageError(f"table {table!r} has fixed columns", allowed="catalogs/schema.py")
        return TABLES[table]
    family, _, owner = table.partition("/")
    if family in FAMILIES and _NAME.fullmatch(owner):
        return FAMILIES[family].extended(table, columns)
    names = [*TABLES, *(f"{family}/<name>" for family in FAMILIES)]
    raise NotFoundError(
        f"no table is called {table!r}", allowed=", ".join(names), hint=nearest(table, names)
    )


def as_table(table: str, columns: Iterable[Column]) -> TableSpec:
    """The specification of a table that has exactly these columns, in this order."""
    return replace(spec_of(table), name=table, columns=tuple(columns))


def view_name(table: str) -> str:
    """The SQL name of a table: `scores/exposure` is `scores_exposure`."""
    return re.sub(r"[^a-z0-9]+", "_", table.lower())
