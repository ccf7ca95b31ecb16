"""A source's signals over time with its cuts, small enough for a page however long the source is.

A page is so many pixels wide: for each signal the smallest and largest value of every bin is sent,
so that a single frame's spike stays to be seen in ten hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.query import Session, sql_name
from clipmill.web.sources import FoundClip
from curation.signals import SIGNALS

__all__ = ["MOST_BINS", "MOST_CLIPS", "binned", "timeline_of"]

MOST_BINS = 4000
MOST_CLIPS = 2000
"""Of a source with more clips those nearest to the one that is looked at are sent."""

Values = NDArray[np.float32]
Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Shown:
    """One curve: the name for people, and SQL of its values, frame by frame."""

    label: str
    columns: tuple[str, ...]
    unit: str
    meaning: str


def _video(label: str, name: str) -> _Shown:
    return _Shown(label, (name,), SIGNALS[name].unit, SIGNALS[name].meaning)


_VIDEO = (
    _Shown(
        "content change",
        ("hue_delta", "sat_delta", "lum_delta"),
        "0..255",
        "mean change of hue, saturation and value since the frame before",
    ),
    _video("motion", "motion"),
    _video("luma", "luma_mean"),
    _video("sharpness", "sharpness"),
)
_TAKE = (
    _Shown("speed", ("root_speed_m_s",), "m/s", "speed of the pelvis over the floor"),
    _Shown("height", ("root_height_m",), "m", "height of the pelvis above the floor"),
    _Shown("hands", ("hands_speed_m_s",), "m/s", "speed of the faster wrist, the root's removed"),
    _Shown("turning", ("turn_deg_s",), "degrees/s", "turning rate, positive to the left"),
)


def timeline_of(
    session: Session, found: FoundClip, bins: int, around: float | None = None
) -> dict[str, Any]:
    """Signals of a clip's source in bins, and the clips of the same cutting.

    Args:
        session: of the catalog.
        found: the clip.
        bins: places along the time.
        around: show so many lengths of the clip on both sides of it; None shows the whole source.
    """
    source = found.source
    start_s, end_s = _extent(source)
    if around is not None:
        margin = around * found.clip["duration_s"]
        start_s = max(start_s, found.clip["start_s"] - margin)
        end_s = min(end_s, found.clip["end_s"] + margin)
    is_take = source["kind"] == "mocap"
    shown = _TAKE if is_take else _VIDEO
    times, curves = _stored(session, source["source_id"], shown, "motion" if is_take else "video")
    edges = np.linspace(start_s, end_s, bins + 1)
    return {
        "source_id": source["source_id"],
        "start_s": start_s,
        "end_s": end_s,
        "bins": bins,
        "frames": len(times),
        "signals": [
            {"name": item.label, "unit": item.unit, "meaning": item.meaning}
            | binned(times, values, edges)
            for item, values in zip(shown, curves, strict=True)
        ],
        "clips": _clips(session, found, start_s, end_s),
    }


def _extent(source: Any) -> tuple[float, float]:
    tick = source["time_base_num"] / source["time_base_den"]
    return source["start_pts"] * tick, source["end_pts"] * tick


def _stored(
    session: Session, source_id: str, shown: tuple[_Shown, ...], owner: str
) -> tuple[Times, list[Values]]:
    """When each frame is shown, and the values of each curve."""
    known = {column.name for column in session.catalog.columns(f"signals/{owner}")}
    wanted = [name for item in shown for name in item.columns]
    names = ", ".join(sql_name(name) for name in wanted if name in known)
    rows = session.sql(
        f"select time_base_num, time_base_den, pts, {names} from signals_{owner} "
        "where source_id = ? qualify set_version = max(set_version) over () order by chunk",
        [source_id],
    ).arrow()
    if not rows.num_rows:
        return np.zeros(0), [np.zeros(0, np.float32) for _ in shown]
    tick = rows["time_base_num"][0].as_py() / rows["time_base_den"][0].as_py()
    times = _flat(rows, "pts").astype(np.float64) * tick
    curves = []
    for item in shown:
        parts = [_flat(rows, name) for name in item.columns if name in known]
        parts = [part for part in parts if len(part) == len(times)]
        whole = np.mean(parts, axis=0, dtype=np.float32) if parts else np.full(len(times), np.nan)
        curves.append(np.asarray(whole, np.float32))
    return times, curves


def _flat(rows: pa.Table, name: str) -> NDArray[Any]:
    """A list column of all chunks, end to end."""
    return rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)


def binned(times: Times, values: Values, edges: Times) -> dict[str, Any]:
    """Smallest and largest value in each bin, None where there is none, and over all."""
    good = np.isfinite(values) & (times >= edges[0]) & (times < edges[-1])
    times, values = times[good], values[good]
    if not len(values):
        return {"low": [], "high": [], "smallest": None, "largest": None}
    places = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(edges) - 2)
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    low: list[float | None] = [None] * (len(edges) - 1)
    high = list(low)
    for place, least, most in zip(
        places[starts].tolist(),
        np.minimum.reduceat(values, starts).tolist(),
        np.maximum.reduceat(values, starts).tolist(),
        strict=True,
    ):
        low[place], high[place] = _short(least), _short(most)
    return {
        "low": low,
        "high": high,
        "smallest": float(values.min()),
        "largest": float(values.max()),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _clips(
    session: Session, found: FoundClip, start_s: float, end_s: float
) -> list[dict[str, Any]]:
    """The clips of the source that were cut together with this one, in order of time."""
    rows = session.sql(
        "select clip_id, start_s, end_s, starts_with, ends_with from clips_all "
        "where source_id = ? and cutting = ? and end_s > ? and start_s < ? "
        "order by abs(start_s - ?), clip_id limit ?",
        [
            found.source["source_id"],
            found.clip["cutting"],
            start_s,
            end_s,
            found.clip["start_s"],
            MOST_CLIPS,
        ],
    ).dicts()
    return sorted(rows, key=lambda row: (row["start_s"], row["clip_id"]))
