"""The tokens of a clip: which there are, their ids, and what they decode to.

Only models that lie on this machine decode: looking at a clip fetches nothing. They run in a
guarded child, which keeps the last one loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import NotFoundError, UsageError
from catalogs.query import Session
from catalogs.schema import view_name
from catalogs.timebase import Span
from clipmill.web.sources import FoundClip
from tokenize_jobs.clips import ChosenClip, frame_times
from tokenize_jobs.shards import packings, unpack
from tokenize_jobs.takes import FEATURES, take_windows
from tokenize_jobs.transform import Transform
from tokenize_jobs.windows import clip_windows

__all__ = [
    "MOST_POSITIONS",
    "StoredWindow",
    "Wanted",
    "as_joints",
    "shown_window",
    "token_sets",
    "wanted",
]

MOST_POSITIONS = 100_000
"""Larger windows are not drawn."""
_PREFIX = "tokens/"
_KEYS = "window_index, start_pts, end_pts, time_base_num, time_base_den, frames, fps, run_id"

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class StoredWindow:
    """One window of tokens as it is stored."""

    row: Mapping[str, Any]
    streams: Mapping[str, Array]


@dataclass(frozen=True, eq=False, slots=True)
class Wanted:
    """What decoding a window needs: the model, the tokens, and the way back to the original."""

    model: str
    window: StoredWindow
    transform: Transform
    pts: Array | None
    """Timestamps of the frames that were encoded, of video."""
    values: Array | None
    """The features that were encoded, of takes."""


def token_sets(session: Session, clip_id: str) -> list[dict[str, Any]]:
    """Every table that has tokens of a clip, with the clip's windows."""
    sets = []
    for table in session.catalog.tables():
        if not table.startswith(_PREFIX):
            continue
        streams = packings(session.catalog.columns(table))
        grids = ", ".join(f'"{name}_grid"' for name in streams)
        rows = session.sql(
            f"select {_KEYS}, spec_hash, weights_hash, {grids} from {view_name(table)} "
            "where clip_id = ? order by created, window_index",
            [clip_id],
        ).dicts()
        if rows:
            run = _run(session, rows[0]["run_id"])
            sets.append(
                {
                    "table": table.removeprefix(_PREFIX),
                    "tokenizer": run.get("tokenizer"),
                    "spec_hash": rows[0]["spec_hash"],
                    "weights_hash": rows[0]["weights_hash"],
                    "streams": {name: packing.unit for name, packing in streams.items()},
                    "windows": [_window(row, list(streams)) for row in rows],
                }
            )
    return sets


def _window(row: Mapping[str, Any], streams: list[str]) -> dict[str, Any]:
    tick = row["time_base_num"] / row["time_base_den"]
    return {
        "index": row["window_index"],
        "start_s": row["start_pts"] * tick,
        "end_s": row["end_pts"] * tick,
        "frames": row["frames"],
        "fps": row["fps"],
        "grids": {name: row[f"{name}_grid"] for name in streams},
    }


def shown_window(session: Session, clip_id: str, table: str, index: int) -> dict[str, Any]:
    """The ids of a window, or its latents as colours."""
    window = _stored(session, clip_id, table, index)
    levels = _levels(session, table, window.row["shard"])
    streams = []
    for name, values in window.streams.items():
        if values.size > MOST_POSITIONS * max(1, len(levels.get(name, ()))):
            raise UsageError(
                f"stream {name!r} of this window has {values.size:,} values",
                allowed=f"{MOST_POSITIONS:,} positions are drawn",
            )
        codes = levels.get(name) or []
        grid = values.shape[:-1] if len(codes) > 1 or not codes else values.shape
        shown = values if codes else _colours(values)
        streams.append(
            {"name": name, "grid": list(grid), "codes": codes, "values": shown.ravel().tolist()}
        )
    return {"streams": streams}


def _colours(latents: Array) -> Array:
    """Red, green and blue, 0 to 255, from the first three channels."""
    three = latents[..., :3].astype(np.float32)
    if three.shape[-1] < 3:
        three = np.repeat(three[..., :1], 3, axis=-1)
    low, high = np.nanpercentile(three, [2, 98], axis=tuple(range(three.ndim - 1)))
    scaled = (three - low) / np.maximum(high - low, 1e-6)
    return np.nan_to_num(scaled * 255).clip(0, 255).astype(np.uint8)


def _stored(session: Session, clip_id: str, table: str, index: int) -> StoredWindow:
    name = _PREFIX + table
    if name not in session.catalog.tables():
        known = [t.removeprefix(_PREFIX) for t in session.catalog.tables() if t.startswith(_PREFIX)]
        raise NotFoundError(f"there are no tokens {table!r}", allowed=", ".join(known) or None)
    rows: pa.Table = session.sql(
        f"select * from {view_name(name)} where clip_id = ? and window_index = ? "
        "order by created desc limit 1",
        [clip_id, index],
    ).arrow()
    if not rows.num_rows:
        raise NotFoundError(f"clip {clip_id} has no window {index} in {table!r}")
    (streams,) = unpack(rows, session.catalog.columns(name))
    return StoredWindow(rows.to_pylist()[0], streams)


def _levels(session: Session, table: str, shard: str) -> dict[str, list[int]]:
    """Codes of each level, by stream; empty for latents."""
    rows = session.sql(
        "select stream, levels from token_shards where tokens = ? and shard = ?",
        [_PREFIX + table, shard],
    ).rows()
    return {stream: list(levels or ()) for stream, levels in rows}


def _run(session: Session, run_id: str | None) -> dict[str, Any]:
    """The settings of the run that made tokens."""
    rows = session.sql("select settings from runs where run_id = ?", [run_id]).rows()
    settings: dict[str, Any] = json.loads(rows[0][0] or "{}") if rows else {}
    return settings


def wanted(session: Session, found: FoundClip, table: str, index: int) -> Wanted:
    """What decoding a window needs, from the records alone."""
    clip = found.clip
    window = _stored(session, clip["clip_id"], table, index)
    settings = _run(session, window.row["run_id"])
    if "tokenizer" not in settings or "transform" not in settings:
        raise NotFoundError(
            "the run that made these tokens is not recorded, so their model is unknown"
        )
    transform = _transform(settings["transform"])
    span = Span(
        clip["start_pts"],
        clip["end_pts"],
        Fraction(clip["time_base_num"], clip["time_base_den"]),
    )
    pts = values = None
    if clip["kind"] == "mocap":
        chosen = ChosenClip(clip["clip_id"], "", span, dict(clip))
        values = take_windows(session, chosen, transform)[index].values
    else:
        times = frame_times(session, clip["source_id"])
        cut = clip_windows(clip["clip_id"], span, times, None, transform)
        pts = next(item.pts for item in cut if item.window.index == index)
    return Wanted(settings["tokenizer"], window, transform, pts, values)


def as_joints(features: str, values: Array) -> Array:
    """Features of a take as joints: (frames, joints, 3) in metres."""
    return np.asarray(FEATURES[features].joints(values.astype(np.float64)), np.float32)


def _transform(stored: Mapping[str, Any]) -> Transform:
    """The inverse of `Transform.to_json`."""
    return Transform(
        **{
            **stored,
            "fps": Fraction(stored["fps"]) if stored["fps"] else None,
            "size": tuple(stored["size"]) if stored["size"] else None,
        }
    )
