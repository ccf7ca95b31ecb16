"""Pictures of clips for the grid: stored ones for footage, a drawn figure for takes.

A page of the grid asks for some fifty pictures at once, one by one. So when its clips are asked
for, their posters are fetched together in the background (`Posters.fetch`), and a request for one
waits for that. Nothing is decoded: the stored JPEG is served as it is.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.errors import NotFoundError
from catalogs.files import DataFile
from catalogs.query import Session
from clipmill.web.clip_table import ClipTable
from clipmill.web.state import Edition

__all__ = ["SPAN", "Posters", "picture_at", "picture_times"]

KEPT_BYTES = 64 << 20
FIGURE_PX = 240
WAIT_S = 30
SPAN = ("clip_id", "kind", "start_pts", "end_pts", "start_frame", "end_frame")
"""What of a clip its pictures are found by."""


@dataclass(frozen=True)
class Poster:
    """The picture that stands for a clip."""

    data: bytes
    media_type: str


class Posters:
    """The posters of an edition's clips, those used last kept in memory."""

    def __init__(self, edition: Edition, table: ClipTable):
        self._edition = edition
        self._table = table
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[Poster | None]] = OrderedDict()
        self._bytes = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="posters")

    def fetch(self, places: Iterable[int]) -> list[Future[Poster | None]]:
        """The posters of clips; those that are not there are fetched together from now on."""
        found: list[Future[Poster | None]] = []
        missing: dict[int, Future[Poster | None]] = {}
        with self._lock:
            for place in places:
                if place in self._kept:
                    self._kept.move_to_end(place)
                else:
                    self._kept[place] = missing[place] = Future()
                found.append(self._kept[place])
        if missing:
            self._worker.submit(self._fill, missing)
        return found

    def get(self, place: int) -> Poster | None:
        """A clip's poster; None where no picture of it is stored."""
        (poster,) = self.fetch([place])
        return poster.result(timeout=WAIT_S)

    def _fill(self, wanted: dict[int, Future[Poster | None]]) -> None:
        try:
            with self._edition.session() as session:
                made = _posters(session, self._table, list(wanted))
        except BaseException as error:
            with self._lock:
                for place in wanted:
                    self._kept.pop(place, None)
            for future in wanted.values():
                future.set_exception(error)
            return
        for place, future in wanted.items():
            future.set_result(made.get(place))
        with self._lock:
            self._bytes += sum(len(poster.data) for poster in made.values())
            while self._bytes > KEPT_BYTES and next(iter(self._kept.values())).done():
                poster = self._kept.popitem(last=False)[1].result()
                self._bytes -= len(poster.data) if poster else 0


def _posters(session: Session, table: ClipTable, places: Sequence[int]) -> dict[int, Poster]:
    rows = table.rows(session, np.array(places, np.int32), SPAN)
    clips = dict(zip(places, rows, strict=True))
    films = {place: row for place, row in clips.items() if row["kind"] != "mocap"}
    found = {place: Poster(data, "image/jpeg") for place, data in _jpegs(session, films).items()}
    for place, row in clips.items():
        if row["kind"] == "mocap" and (figure := _figure(session, row)) is not None:
            found[place] = figure
    return found


def _jpegs(session: Session, clips: dict[int, dict[str, Any]]) -> dict[int, bytes]:
    """The stored picture nearest to the middle of each clip."""
    if not clips or "storyboards" not in session.catalog.tables():
        return {}
    wanted = pa.table(
        {
            "place": pa.array(clips, pa.int32()),
            **{
                name: [row[name] for row in clips.values()]
                for name in ("source_id", "start_pts", "end_pts")
            },
        }
    )
    stored = session.scan("storyboards", _files(session, wanted["source_id"].to_pylist()))
    session.connection.register("__wanted", wanted)
    try:
        rows = session.connection.execute(
            f"""
            with pictures as materialized (
                select w.place, arg_min(s.pts, abs(2 * s.pts - w.start_pts - w.end_pts)) as pts,
                    any_value(w.source_id) as source_id
                from ({stored}) s join __wanted w
                    on s.source_id = w.source_id and s.pts >= w.start_pts and s.pts < w.end_pts
                group by w.place
            )
            select place, jpeg from ({stored}) s join pictures using (source_id, pts)
            """
        ).fetchall()
    finally:
        session.connection.unregister("__wanted")
    return dict(rows)


def _files(session: Session, source_ids: Sequence[str]) -> list[DataFile]:
    """Files that can hold pictures of these sources."""
    low, high = min(source_ids), max(source_ids)
    return [
        item
        for item in session.catalog.files("storyboards")
        if item.smallest.get("source_id", low) <= high
        and item.largest.get("source_id", high) >= low
    ]


def _figure(session: Session, row: dict[str, Any]) -> Poster | None:
    """The posture in the middle of a take; None where no body is stored."""
    from curation.mocap.figure import Figure
    from curation.mocap.stored import stored_motion

    try:
        motion = stored_motion(session, row)
        picture = Figure(motion, FIGURE_PX).draw(len(motion) // 2)
    except NotFoundError:
        return None
    data = io.BytesIO()
    picture.save(data, "png", compress_level=3)
    return Poster(data.getvalue(), "image/png")


def picture_times(session: Session, clip: dict[str, Any]) -> list[int]:
    """When the stored pictures of a clip were taken, in ticks."""
    if "storyboards" not in session.catalog.tables():
        return []
    stored = session.scan("storyboards", _files(session, [clip["source_id"]]))
    rows = session.connection.execute(
        f"select pts from ({stored}) where source_id = ? and pts >= ? and pts < ? order by pts",
        [clip["source_id"], clip["start_pts"], clip["end_pts"]],
    ).fetchall()
    return [pts for (pts,) in rows]


def picture_at(session: Session, clip: dict[str, Any], pts: int) -> bytes:
    """The stored picture of a clip at one of its times."""
    if not clip["start_pts"] <= pts < clip["end_pts"]:
        raise NotFoundError(f"tick {pts} is not in clip {clip['clip_id']}")
    stored = session.scan("storyboards", _files(session, [clip["source_id"]]))
    rows = session.connection.execute(
        f"select jpeg from ({stored}) where source_id = ? and pts = ?", [clip["source_id"], pts]
    ).fetchall()
    if not rows:
        raise NotFoundError(f"no picture is stored at tick {pts} of clip {clip['clip_id']}")
    data: bytes = rows[0][0]
    return data
