"""The chosen clips, source by source, with all that planning and reading need to know of them.

Timestamps of video frames come from stored signals, body joints of takes from stored motion:
nothing is opened before the frames themselves are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.chosen import Chosen, choose
from catalogs.errors import NotFoundError
from catalogs.query import Session, sql_text
from catalogs.timebase import Span

__all__ = ["ChosenClip", "ChosenSource", "chosen_sources", "frame_times"]

Kind = Literal["video", "mocap"]

_COLUMNS = (
    "c.clip_id, c.source_id, c.kind, c.start_pts, c.end_pts, c.time_base_num, c.time_base_den, "
    "c.start_frame, c.end_frame, k.split, s.uri, s.sha256, s.bytes, s.width, s.height, s.fps_num, "
    "s.fps_den"
)


@dataclass(frozen=True, slots=True)
class ChosenClip:
    """A clip, and its row of `clips` where a take's motion is read by it."""

    clip_id: str
    split: str
    span: Span
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChosenSource:
    """A source and its chosen clips in the order of time."""

    source_id: str
    kind: Kind
    uri: str
    bytes: int
    size: tuple[int, int]
    """Height and width as displayed; 0 for takes."""
    fps: Fraction
    clips: tuple[ChosenClip, ...]

    def frame_ticks(self) -> float:
        """The usual distance of two frames in ticks."""
        return float(1 / (self.fps * self.clips[0].span.time_base))


def chosen_sources(
    catalog: Catalog,
    *,
    kind: Kind,
    selection: str | None = None,
    where: str | None = None,
) -> Iterator[tuple[Session, ChosenSource]]:
    """Every source with chosen clips of a kind, and a session that reads what is stored of it."""
    with choose(catalog, selection=selection, where=where) as chosen:
        found = False
        for source in _sources(chosen, kind):
            found = True
            yield chosen.session, source
        if not found:
            raise NotFoundError(
                f"no {kind} clip was chosen by {selection or where or 'the whole catalog'}",
                hint="clipmill funnel CATALOG shows where clips are lost",
            )


def _sources(chosen: Chosen, kind: Kind) -> Iterator[ChosenSource]:
    rows = chosen.sql(
        f"select {_COLUMNS} from chosen k join clips c on c.clip_id = k.clip_id "
        f"join sources s on s.source_id = k.source_id where c.kind = {sql_text(kind)} "
        "order by c.source_id, c.start_pts, c.clip_id"
    )
    for source_id, group in groupby(rows.arrow().to_pylist(), key=lambda row: row["source_id"]):
        clips = [(row, _clip(row)) for row in group]
        head = clips[0][0]
        yield ChosenSource(
            source_id,
            kind,
            head["uri"] or "",
            head["bytes"] or 0,
            (head["height"] or 0, head["width"] or 0),
            Fraction(head["fps_num"], head["fps_den"]),
            tuple(clip for _, clip in clips),
        )


def _clip(row: dict[str, Any]) -> ChosenClip:
    base = Fraction(row["time_base_num"], row["time_base_den"])
    span = Span(row["start_pts"], row["end_pts"], base)
    return ChosenClip(row["clip_id"], row["split"], span, row)


def frame_times(session: Session, source_id: str) -> NDArray[np.int64]:
    """Timestamps of all frames of a source, as the newest measurement stored them."""
    rows = session.sql(
        "select pts from signals_video where source_id = ? "
        "qualify set_version = max(set_version) over () order by chunk",
        [source_id],
    ).rows()
    if not rows:
        raise NotFoundError(
            f"no frame times are stored of source {source_id}",
            hint="clipmill curate measures what is missing",
        )
    return np.concatenate([np.asarray(pts, np.int64) for (pts,) in rows])
