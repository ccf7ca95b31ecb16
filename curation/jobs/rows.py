"""Between what was measured and what is stored: rows of the catalog, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.licence import terms_of
from catalogs.query import Session, sql_text
from catalogs.schema import Column
from curation.jobs.finish import Measured, Stored
from curation.jobs.job import Identified
from curation.jobs.measure import MeasuredVideo
from curation.jobs.measure_take import MeasuredTake
from curation.jobs.sound import WINDOWS_PER_S
from curation.media.health import DecodeHealth
from curation.mocap.captions import RULES_VERSION
from curation.mocap.signals import SIGNALS as MOTION_SIGNALS
from curation.mocap.signals import SIGNALS_VERSION as MOTION_VERSION
from curation.operators import Clip, Operator, StoryFrame
from curation.signals import (
    PICTURE_COLUMNS,
    READABLE_VERSIONS,
    SIGNALS,
    VideoSignals,
    join_signals,
)

__all__ = [
    "MOTION_COLUMNS",
    "SOUND_COLUMNS",
    "VIDEO_COLUMNS",
    "StoredClips",
    "arrival",
    "load_measured",
    "signal_row",
    "sound_row",
    "source_row",
    "story_rows",
    "take_rows",
]

BODY_JOINTS = 22
SOUND_VERSION = 1
SOUND_COLUMNS = (Column("level_db", pa.list_(pa.float32()), "RMS level of the window", "dBFS"),)
"""Of `signals/sound`, whose frames are windows of a tenth of a second."""

_STORED = {"float16": pa.float32(), "float32": pa.float32(), "int64": pa.int64()}
MOTION_COLUMNS = (
    *(
        Column(spec.name, pa.list_(pa.float32()), spec.meaning, spec.unit)
        for spec in MOTION_SIGNALS.values()
    ),
    Column(
        "body_joints",
        pa.list_(pa.float32()),
        "x, y, z of the 22 body joints, y up, frame after frame; NULL for other skeletons",
        "m",
    ),
)
VIDEO_COLUMNS = (
    *(
        Column(signal.name, pa.list_(_STORED[signal.storage]), signal.meaning, signal.unit)
        for signal in SIGNALS.values()
    ),
    Column("small_width", pa.int32(), "width of the frames that were measured", "px"),
    Column("small_height", pa.int32(), "height of the frames that were measured", "px"),
    Column("thumb_width", pa.int32(), "width of the luma thumbnails", "px"),
    Column("thumb_height", pa.int32(), "height of the luma thumbnails", "px"),
    Column("thumbs", pa.binary(), "luma thumbnail of every frame, as changes between frames"),
    *(
        Column(name, pa.list_(pa.int32()) if name == "hash_frames" else pa.binary(), meaning)
        for name, meaning in PICTURE_COLUMNS.items()
    ),
)


def arrival(item: Identified) -> dict[str, Any]:
    """The columns of `sources` that are known before the file is opened."""
    terms = terms_of(item.input.license).overridden(item.input.license_terms)
    return {
        "source_id": item.source_id,
        "uri": item.input.uri,
        "bytes": item.bytes,
        "sha256": item.sha256,
        "collection": item.input.collection,
        "license": item.input.license,
        "license_terms": {
            use: getattr(terms, use) for use in ("redistribute", "commercial", "derive")
        },
        "meta": json.dumps(item.input.meta, sort_keys=True) if item.input.meta else None,
    }


def source_row(item: Identified, found: MeasuredVideo) -> dict[str, Any]:
    """A row of `sources` for a video."""
    probe = found.probe
    whole = found.chunk.of == 1
    return arrival(item) | {
        "kind": probe.kind,
        "container": probe.container,
        "codec": probe.codec,
        "pix_fmt": probe.pix_fmt,
        "bit_depth": probe.bit_depth,
        "has_alpha": probe.has_alpha,
        "width": probe.width,
        "height": probe.height,
        "rotation_deg": probe.rotation_deg,
        "fps": float(probe.fps),
        "fps_num": probe.fps.numerator,
        "fps_den": probe.fps.denominator,
        "is_vfr": probe.is_vfr,
        "frames": len(found.signals) if whole else probe.frames,
        "duration_s": float(probe.duration),
        "start_pts": probe.start_pts,
        "end_pts": probe.end_pts,
        "time_base_num": probe.time_base.numerator,
        "time_base_den": probe.time_base.denominator,
        "audio_codec": probe.audio.codec if probe.audio else None,
        "audio_channels": probe.audio.channels if probe.audio else None,
        "audio_rate_hz": probe.audio.sample_rate_hz if probe.audio else None,
        "hdr_transfer": probe.hdr_transfer,
        "damaged_frames": _damaged(found.health),
    }


def _damaged(health: DecodeHealth) -> int:
    return (
        health.corrupt_frames
        + health.repeated_pts
        + health.untimed_frames
        + health.missing_frames
        + health.undecoded_frames
    )


def signal_row(source_id: str, found: MeasuredVideo) -> dict[str, Any]:
    """A row of `signals/video` for a source or a chunk of it."""
    stored = found.signals.to_row()
    packed = {
        name: values.tobytes()
        for name, values in stored.items()
        if isinstance(values, np.ndarray) and values.dtype == np.uint8
    }
    return (
        stored
        | packed
        | {
            "source_id": source_id,
            "chunk": found.chunk.index,
            "of_chunks": found.chunk.of,
            "frames": len(found.signals),
        }
    )


def sound_row(source_id: str, levels: NDArray[np.float32]) -> dict[str, Any]:
    """A row of `signals/sound`."""
    return {
        "source_id": source_id,
        "chunk": 0,
        "of_chunks": 1,
        "set_version": SOUND_VERSION,
        "frames": len(levels),
        "time_base_num": 1,
        "time_base_den": WINDOWS_PER_S,
        "pts": np.arange(len(levels)),
        "end_pts": len(levels),
        "level_db": levels,
    }


def take_rows(item: Identified, found: MeasuredTake) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of `sources` and one of `signals/motion` for a take."""
    arrived = arrival(item)
    meta = json.loads(arrived["meta"] or "{}") | json.loads(found.source["meta"])
    source = arrived | found.source | {"meta": json.dumps(meta, sort_keys=True)}
    return source, {
        "source_id": item.source_id,
        "chunk": 0,
        "of_chunks": 1,
        "set_version": MOTION_VERSION,
        "frames": found.source["frames"],
        "time_base_num": found.source["time_base_num"],
        "time_base_den": found.source["time_base_den"],
        "pts": np.arange(found.source["frames"]),
        "end_pts": found.source["frames"],
        "body_joints": found.joints.ravel() if found.joints is not None else None,
        **found.signals,
    }


def story_rows(source_id: str, found: MeasuredVideo) -> list[dict[str, Any]]:
    """Rows of `storyboards`."""
    width, height = found.story_size
    return [
        {
            "source_id": source_id,
            "pts": item.pts,
            "width": width,
            "height": height,
            "jpeg": item.jpeg,
        }
        for item in found.story
    ]


class StoredClips(Stored):
    """What the catalog of a session already has."""

    def __init__(self, session: Session):
        self._session = session

    def unscored(self, operator: Operator, clips: Sequence[Clip]) -> Sequence[Clip]:
        written = f"op_version = {operator.version}"
        return self._lacking(f"scores/{operator.name}", written, clips)

    def uncaptioned(self, clips: Sequence[Clip]) -> Sequence[Clip]:
        written = f"origin = 'rules' and revision = {sql_text(str(RULES_VERSION))}"
        return self._lacking("captions", written, clips)

    def _lacking(self, table: str, written: str, clips: Sequence[Clip]) -> Sequence[Clip]:
        if not clips or table not in self._session.catalog.tables():
            return clips
        ids = pa.table({"clip_id": pa.array([clip.clip_id for clip in clips], pa.string())})
        self._session.connection.register("wanted_clips", ids)
        rows = self._session.connection.sql(
            f"select clip_id from ({self._session.scan(table)}) "
            f"semi join wanted_clips using (clip_id) where {written}"
        ).fetchall()
        there = {row[0] for row in rows}
        return [clip for clip in clips if clip.clip_id not in there]


def load_measured(session: Session, source_ids: Sequence[str], cutting: str) -> list[Measured]:
    """Everything that is stored of some sources, with their clips in one cutting."""
    reader = _Reader(session, source_ids)
    sources = {row["source_id"]: row for row in reader.rows("sources")}
    video = reader.grouped("signals/video", "chunk", where=_NEWEST_READABLE)
    sound = reader.grouped("signals/sound", "chunk", where=f"set_version = {SOUND_VERSION}")
    motion = reader.grouped("signals/motion", "chunk", where=f"set_version = {MOTION_VERSION}")
    story = reader.grouped("storyboards", "pts")
    chosen = f"cutting = {sql_text(cutting)}"
    cut = reader.grouped("cuttings", "cutting", where=chosen)
    clips = reader.grouped("clips", "start_pts", where=chosen)
    loaded = []
    for source_id in source_ids:
        item = Measured(sources[source_id])
        if chunks := video.get(source_id):
            item.video = join_signals([_signals(row) for row in chunks])
        if levels := sound.get(source_id):
            item.audio_db = np.asarray(levels[0]["level_db"], np.float32)
        if take := motion.get(source_id):
            item.motion = {name: take[0][name] for name in MOTION_SIGNALS}
            item.joints = _joints(take[0]["body_joints"])
        item.story = [StoryFrame(row["pts"], row["jpeg"]) for row in story.get(source_id, ())]
        item.clips = clips.get(source_id, []) if source_id in cut else None
        loaded.append(item)
    return loaded


_NEWEST_READABLE = f"set_version in {READABLE_VERSIONS} " + (
    "qualify set_version = max(set_version) over (partition by source_id)"
)


def _signals(row: Mapping[str, Any]) -> VideoSignals:
    return VideoSignals.from_row({**row, "thumbs": np.frombuffer(row["thumbs"], np.uint8)})


def _joints(flat: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if flat is None else flat.reshape(-1, BODY_JOINTS, 3)


class _Reader:
    """Stored rows of some sources, table by table."""

    def __init__(self, session: Session, source_ids: Sequence[str]):
        self._session = session
        wanted = pa.table({"source_id": pa.array(source_ids, pa.string())})
        session.connection.register("wanted_sources", wanted)

    def rows(self, table: str, order: str = "source_id", where: str = "true") -> list[Any]:
        if table not in self._session.catalog.tables():
            return []
        body = self._session.scan(table)
        found = self._session.connection.sql(
            f"select t.* from ({body}) t semi join wanted_sources using (source_id) "
            f"where {where} order by source_id, {order}"
        ).to_arrow_table()
        return _records(found)

    def grouped(self, table: str, order: str, where: str = "true") -> dict[str, list[Any]]:
        groups: dict[str, list[Any]] = {}
        for row in self.rows(table, order, where):
            groups.setdefault(row["source_id"], []).append(row)
        return groups


def _records(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts; lists of numbers stay arrays, for speed."""
    table = table.combine_chunks()
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_list(column.type):
            columns[name] = [
                None if not item.is_valid else item.values.to_numpy(zero_copy_only=False)
                for item in column
            ]
        else:
            columns[name] = column.to_pylist()
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
