"""The grid: clips by position in a filtered and sorted view, histograms, storyboards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from catalogs.histograms import histograms, ranges_of
from catalogs.ledger import selections
from catalogs.query import sql_name
from clipmill.columns import columns_of
from clipmill.web.answers import ClipId, answer
from clipmill.web.clip_table import ClipTable, mentioned
from clipmill.web.state import Edition, ViewerState
from clipmill.web.storyboards import SPAN, TAKE, Posters, picture_at, picture_times
from clipmill.web.views import MISSING, Asked, clip_table, find_view
from curation.embed.load import captions_of

__all__ = ["router"]

router = APIRouter(prefix="/api")

MOST_CELLS = 500
MOST_VALUES = 40
MOST_COLUMNS = 64
RECENT = 8
CELL = ("clip_id", "kind", "start_s", "end_s", "duration_s")
USUAL = (
    "kind", "duration_s", "motion_px", "sharpness_median", "luma_mean_255", "text_area",
    "shake_px", "short_side_px", "speed_mean_m_s", "foot_skate_h_s", "license", "collection",
)  # fmt: skip
"""What people filter by, whatever the recipes ask."""

Text = Annotated[str, Query(max_length=10_000)]
Texts = Annotated[list[str], Query(max_length=MOST_COLUMNS)]
PICTURE = {"Cache-Control": "private, max-age=3600"}
"""A clip's pictures never change: its id holds the source's bytes and the span."""


def asked(
    where: Text = "",
    text: Text = "",
    like: Annotated[str, Query(pattern="^[0-9a-f]{0,32}$")] = "",
    sort: Text = "",
    ranges: Annotated[list[str], Query(alias="range", max_length=MOST_COLUMNS)] = [],  # noqa: B006
    values: Annotated[list[str], Query(alias="value", max_length=1_000)] = [],  # noqa: B006
) -> Asked:
    """The view that a request asks for."""
    return Asked(tuple(ranges), tuple(values), where, text, like, sort)


View = Annotated[Asked, Depends(asked)]


@router.get("/about")
def about(viewer: ViewerState) -> Response:
    """What is served, and what its grid can do."""
    edition = viewer.edition
    table = clip_table(edition)
    tables = edition.catalog.tables()
    return answer(
        {
            "name": Path(viewer.path).name or viewer.path,
            "path": viewer.path,
            "version": edition.version,
            "cutting": table.cutting,
            "clips": len(table),
            "kinds": table.kinds,
            "reviewer": viewer.reviewer,
            "captions": "captions" in tables,
            "models": [name.partition("/")[2] for name in tables if name.startswith("embeddings/")],
        }
    )


@router.get("/columns")
def columns(viewer: ViewerState) -> Response:
    """Columns of `clips` with their meanings, and which of them to offer as filters first."""
    edition = viewer.edition

    def described() -> dict[str, Any]:
        rows = columns_of(edition.catalog, "clips")
        known = [row["column"] for row in rows]
        return {
            "columns": [{**row, "role": _role(row["type"])} for row in rows],
            "filters": _first_filters(edition, known),
            "tables": sorted({"clips", "clips_all", *edition.catalog.tables()} - {"commits"}),
        }

    return answer(edition.kept("columns", described))


def _role(kind: str) -> str:
    """How a column is filtered, by its type."""
    if kind.startswith(("double", "float", "halffloat", "int", "uint", "decimal")):
        return "number"
    return {"string": "text", "large_string": "text", "bool": "text"}.get(kind, "other")


def _first_filters(edition: Edition, known: list[str]) -> list[str]:
    """The columns that the gates of recent selections ask of, and the usual ones."""
    made = {item.name: item for item in selections(edition.catalog.at(edition.version))[:RECENT]}
    gates = " ".join(gate for item in made.values() for gate in item.recipe.gates.values())
    asked_of = mentioned(gates, known)
    first = [name for name in USUAL if name in known]
    return [*first, *(name for name in asked_of if name not in first)]


@router.get("/clips")
def clips(
    viewer: ViewerState,
    view: View,
    start: Annotated[int, Query(alias="from", ge=0)] = 0,
    limit: Annotated[int, Query(ge=0, le=MOST_CELLS)] = 60,
    columns: Texts = [],  # noqa: B006
) -> Response:
    """Clips `from` to `from + limit` of a view, with its size."""
    edition = viewer.edition
    table = clip_table(edition)
    found = find_view(edition, view)
    places = found.page(start, limit)
    shown = [table.known(name) for name in dict.fromkeys([*CELL, *columns])]
    _posters(edition, table).fetch(places.tolist())
    rows = table.rows(places, shown)
    with edition.session() as session:
        captions = captions_of(session, [row["clip_id"] for row in rows])
    for row in rows:
        row["name"] = Path(row["uri"] or "").name
        row["caption"] = next(iter(captions.get(row["clip_id"], ())), None)
    return answer(
        {
            "version": edition.version,
            "total": len(found.places),
            "of": len(table),
            "condition": found.condition,
            "from": start,
            "clips": rows,
        }
    )


@router.get("/histograms")
def column_histograms(viewer: ViewerState, columns: Texts) -> Response:
    """How the numbers of some columns are spread over all clips of the cutting."""
    edition = viewer.edition
    table = clip_table(edition)
    names = tuple(table.known(name) for name in dict.fromkeys(columns))

    def made() -> dict[str, Any]:
        table.load(names)
        with edition.session() as session, table.relation(session, names) as relation:
            ranges = ranges_of(session.sql, relation, names)
            charts = histograms(session.sql, relation, ranges)
            examples = ", ".join(f"any_value({sql_name(name)})" for name in names)
            found = session.sql(f"select {examples} from {relation}").one()
        return {
            name: {"example": value, "chart": _chart(charts[name]) if name in charts else None}
            for name, value in zip(names, found, strict=True)
        }

    return answer(edition.kept(f"histograms {names}", made) if names else {})


def _chart(histogram: Any) -> dict[str, Any]:
    return {
        "low": histogram.low,
        "high": histogram.high,
        "counts": list(histogram.counts),
        "below": histogram.below,
        "above": histogram.above,
    }


@router.get("/values")
def column_values(viewer: ViewerState, column: Text) -> Response:
    """The values of a column that occur most, with how many clips have each."""
    edition = viewer.edition
    table = clip_table(edition)
    name = table.known(column)

    def counted() -> dict[str, Any]:
        table.load([name])
        with edition.session() as session, table.relation(session, [name]) as relation:
            rows = session.sql(
                f"select {sql_name(name)}::varchar as value, count(*) as clips from {relation} "
                f"group by 1 order by 2 desc, 1 limit {MOST_VALUES + 1}"
            ).rows()
        values = [
            {"value": MISSING if value is None else value, "clips": count}
            for value, count in rows[:MOST_VALUES]
        ]
        return {"values": values, "more": len(rows) > MOST_VALUES}

    return answer(edition.kept(f"values {name}", counted))


def _posters(edition: Edition, table: ClipTable) -> Posters:
    return edition.kept("posters", lambda: Posters(edition, table))


@router.get("/storyboard/{clip_id}")
def storyboard(clip_id: ClipId, viewer: ViewerState, place: int = -1) -> Response:
    """The picture that stands for a clip; no content where none is stored.

    `place`, where it is known, spares a search for it.
    """
    edition = viewer.edition
    table = clip_table(edition)
    poster = _posters(edition, table).get(table.place_of(clip_id, place))
    if poster is None:
        return Response(status_code=204)
    return Response(poster.data, media_type=poster.media_type, headers=PICTURE)


@router.get("/storyboard/{clip_id}/times")
def storyboard_times(clip_id: ClipId, viewer: ViewerState) -> Response:
    """When the pictures of a clip were taken, in ticks of its time base."""
    clip = _clip(viewer.edition, clip_id)
    with viewer.session() as session:
        return answer({"pts": picture_times(session, clip)})


@router.get("/storyboard/{clip_id}/{pts}")
def storyboard_picture(clip_id: ClipId, pts: int, viewer: ViewerState) -> Response:
    """The picture of a clip at one of its times."""
    edition = viewer.edition
    picture = picture_at(edition, _clip(edition, clip_id), pts)
    return Response(picture.data, media_type=picture.media_type, headers=PICTURE)


def _clip(edition: Edition, clip_id: str) -> dict[str, Any]:
    table = clip_table(edition)
    place = np.array([table.place_of(clip_id)], np.int32)
    clip = table.rows(place, SPAN)[0]
    return table.rows(place, TAKE)[0] if clip["kind"] == "mocap" else clip
