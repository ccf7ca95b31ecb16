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
from PIL import Image

from catalogs.errors import NotFoundError
from catalogs.files import DataFile
from catalogs.query import Session
from clipmill.pictures import postures
from clipmill.web.clip_table import ClipTable
from clipmill.web.state import Edition

__all__ = ["SPAN", "TAKE", "Posters", "picture_at", "picture_times"]

KEPT_BYTES = 64 << 20
FIGURE_PX, POSTURES = 240, 12
"""Side of a drawn figure, and how many of them show a take."""
WAIT_S = 30
SPAN = ("clip_id", "kind", "start_pts", "end_pts")
TAKE = (*SPAN, "start_frame", "end_frame")
"""What of a clip, and of a take, its pictures are found by."""


@dataclass(frozen=True)
class Picture:
    """A picture as it is served."""

    data: bytes
    media_type: str


class Posters:
    """The posters of an edition's clips, those used last kept in memory."""

    def __init__(self, edition: Edition, table: ClipTable):
        self._edition = edition
        self._table = table
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[Picture | None]] = OrderedDict()
        self._bytes = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="posters")

    def fetch(self, places: Iterable[int]) -> list[Future[Picture | None]]:
        """The posters of clips; those that are not there are fetched together from now on."""
        found: list[Future[Picture | None]] = []
        missing: dict[int, Future[Picture | None]] = {}
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

    def get(self, place: int) -> Picture | None:
        """A clip's poster; None where no picture of it is stored."""
        (poster,) = self.fetch([place])
        return poster.result(timeout=WAIT_S)

    def _fill(self, wanted: dict[int, Future[Picture | None]]) -> None:
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


def _posters(session: Session, table: ClipTable, places: Sequence[int]) -> dict[int, Picture]:
    rows = table.rows(np.array(places, np.int32), SPAN)
    clips = dict(zip(places, rows, strict=True))
    films = {place: row for place, row in clips.items() if row["kind"] != "mocap"}
    found = {place: Picture(data, "image/jpeg") for place, data in _jpegs(session, films).items()}
    takes = [place for place, row in clips.items() if row["kind"] == "mocap"]
    if takes:
        rows = table.rows(np.array(takes, np.int32), TAKE)
        for place, row in zip(takes, rows, strict=True):
            for figure in postures(session, row, 1, FIGURE_PX):
                found[place] = _png(figure)
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


def _png(figure: Image.Image) -> Picture:
    data = io.BytesIO()
    figure.save(data, "png", compress_level=3)
    return Picture(data.getvalue(), "image/png")


def picture_times(session: Session, clip: dict[str, Any]) -> list[int]:
    """When the pictures of a clip were taken, or will be drawn, in ticks."""
    first, end = clip["start_pts"], clip["end_pts"]
    if clip["kind"] == "mocap":
        return [first + (end - first) * number // POSTURES for number in range(POSTURES)]
    if "storyboards" not in session.catalog.tables():
        return []
    stored = session.scan("storyboards", _files(session, [clip["source_id"]]))
    rows = session.connection.execute(
        f"select pts from ({stored}) where source_id = ? and pts >= ? and pts < ? order by pts",
        [clip["source_id"], first, end],
    ).fetchall()
    return [pts for (pts,) in rows]


def picture_at(edition: Edition, clip: dict[str, Any], pts: int) -> Picture:
    """The picture of a clip at one of its times."""
    first, end, clip_id = clip["start_pts"], clip["end_pts"], clip["clip_id"]
    if not first <= pts < end:
        raise NotFoundError(f"tick {pts} is not in clip {clip_id}")
    if clip["kind"] == "mocap":
        drawn = edition.kept(f"postures of {clip_id}", lambda: _drawn(edition, clip))
        if not drawn:
            raise NotFoundError(f"no body is stored for clip {clip_id}")
        return drawn[(pts - first) * len(drawn) // (end - first)]
    with edition.session() as session:
        stored = session.scan("storyboards", _files(session, [clip["source_id"]]))
        rows = session.connection.execute(
            f"select jpeg from ({stored}) where source_id = ? and pts = ?", [clip["source_id"], pts]
        ).fetchall()
    if not rows:
        raise NotFoundError(f"no picture is stored at tick {pts} of clip {clip_id}")
    return Picture(rows[0][0], "image/jpeg")


def _drawn(edition: Edition, clip: dict[str, Any]) -> list[Picture]:
    with edition.session() as session:
        return [_png(figure) for figure in postures(session, clip, POSTURES, FIGURE_PX)]
