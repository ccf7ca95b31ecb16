"""Which clips are to be made, in which order, and what is made together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from catalogs.chosen import ORDER, Chosen
from catalogs.query import sql_text
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan

__all__ = ["Unit", "by_source", "in_shards", "permitted_clips"]

_COLUMNS = (
    "c.clip_id, k.split, c.kind, c.source_id, c.start_pts, c.end_pts, c.time_base_num, "
    "c.time_base_den, c.frames, c.duration_s, s.uri, s.sha256, s.bytes, s.width, s.height, "
    "s.duration_s as source_s, s.fps_num, s.fps_den, s.unit, s.up_axis"
)
_PICTURE_BYTES_PER_PIXEL = {"jpg": 0.4, "png": 2.0}
_TAKE_BYTES_PER_FRAME = 1000.0


@dataclass(frozen=True, slots=True)
class Unit:
    """Clips that one worker makes one after another; `offset` counts clips of the split."""

    split: str
    number: int
    offset: int
    clips: tuple[ClipSpan, ...]


def permitted_clips(chosen: Chosen, settings: MediaSettings) -> dict[str, list[ClipSpan]]:
    """The clips of each split that may be exported, in the order of the dataset's rows."""
    order = ", ".join(f"c.{name}" for name in ORDER.split(", "))
    found = {}
    for split in chosen.splits():
        rows = chosen.sql(
            f"select {_COLUMNS} from permitted k join clips c on c.clip_id = k.clip_id "
            f"join sources s on s.source_id = k.source_id where k.split = {sql_text(split)} "
            f"order by {order}"
        )
        found[split] = [_span(row, settings) for row in rows.arrow().to_pylist()]
    return found


def _span(row: dict[str, Any], settings: MediaSettings) -> ClipSpan:
    fps = Fraction(row["fps_num"], row["fps_den"]) if row["fps_num"] and row["fps_den"] else None
    return ClipSpan(
        clip_id=row["clip_id"],
        split=row["split"],
        kind=row["kind"],
        source_id=row["source_id"],
        uri=row["uri"] or "",
        sha256=row["sha256"] or "",
        start_pts=row["start_pts"],
        end_pts=row["end_pts"],
        time_base=Fraction(row["time_base_num"], row["time_base_den"]),
        frames=row["frames"],
        estimated_bytes=_estimated_bytes(row, settings),
        fps=fps,
        size=(row["width"], row["height"]) if row["width"] and row["height"] else None,
        unit=row["unit"],
        up_axis=row["up_axis"],
    )


def _estimated_bytes(row: dict[str, Any], settings: MediaSettings) -> float:
    """Roughly what a clip will take; known before it is made, so that shards can be planned."""
    frames = row["frames"] or 0
    if row["kind"] == "mocap":
        return frames * _TAKE_BYTES_PER_FRAME
    if settings.pictures == "mp4":
        share = (row["duration_s"] or 0.0) / (row["source_s"] or row["duration_s"] or 1.0)
        return float((row["bytes"] or 0) * min(share, 1.0))
    if settings.fps is not None:
        frames = float(settings.fps) * (row["duration_s"] or 0.0)
    pixels = float((row["width"] or 0) * (row["height"] or 0))
    if settings.size:
        pixels = float(settings.size[0] * settings.size[1])
    return frames * pixels * _PICTURE_BYTES_PER_PIXEL[settings.pictures]


def by_source(clips: Iterable[ClipSpan]) -> list[Unit]:
    """One unit for each source: it is fetched and checked once."""
    ordered = sorted(clips, key=lambda clip: (clip.source_id, clip.start_pts, clip.clip_id))
    groups = itertools.groupby(ordered, key=lambda clip: clip.source_id)
    return [Unit("", number, 0, tuple(group)) for number, (_, group) in enumerate(groups)]


def in_shards(split: str, clips: Sequence[ClipSpan], samples: int, size: float) -> Iterator[Unit]:
    """Consecutive clips of a split, as many as fit; the same clips give the same shards."""
    number = start = 0
    while start < len(clips):
        end, total = start + 1, clips[start].estimated_bytes
        while end < len(clips) and end - start < samples:
            total += clips[end].estimated_bytes
            if total > size:
                break
            end += 1
        yield Unit(split, number, start, tuple(clips[start:end]))
        number, start = number + 1, end
