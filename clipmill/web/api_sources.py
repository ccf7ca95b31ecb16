"""Sources with what came of them, and the quarantine with its reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from catalogs.query import Session
from clipmill.web.answers import answer
from clipmill.web.state import ViewerState

__all__ = ["router"]

router = APIRouter(prefix="/api")

MOST_ROWS = 500
_SOURCE = (
    "source_id, uri, kind, container, codec, width, height, fps, frames, duration_s, bytes, "
    "audio_codec, joints, skeleton, damaged_frames, is_vfr, collection, license, license_terms"
)

Text = Annotated[str, Query(max_length=500)]
Start = Annotated[int, Query(alias="from", ge=0)]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]


@router.get("/sources")
def sources(
    viewer: ViewerState, text: Text = "", kind: Text = "", start: Start = 0, limit: Limit = 100
) -> Response:
    """Sources by name: those whose address holds a text, of one kind if it is given."""
    with viewer.session() as session:
        where = "(? = '' or contains(lower(uri), lower(?))) and (? = '' or kind = ?)"
        asked = [text, text, kind, kind]
        total = session.sql(f"select count(*) from sources where {where}", asked).value()
        rows = session.sql(
            f"select {_SOURCE} from sources where {where} order by uri, source_id "
            f"limit {limit:d} offset {start:d}",
            asked,
        ).dicts()
        kinds = session.sql("select kind, count(*) from sources group by 1 order by 2 desc").rows()
        counts = _clips_of(session, [row["source_id"] for row in rows])
    for row in rows:
        row["name"] = Path(row["uri"] or "").name
        row["clips"] = counts.get(row["source_id"], 0)
    return answer({"total": total, "from": start, "kinds": dict(kinds), "sources": rows})


def _clips_of(session: Session, source_ids: list[str]) -> dict[str, int]:
    """Clips in the newest cutting, by source."""
    if not source_ids:
        return {}
    marks = ", ".join("?" * len(source_ids))
    query = f"select source_id, count(*) from clips where source_id in ({marks}) group by 1"
    return dict(session.sql(query, source_ids).rows())


@router.get("/quarantine")
def quarantine(
    viewer: ViewerState,
    stage: Text = "",
    reason: Text = "",
    start: Start = 0,
    limit: Limit = 100,
) -> Response:
    """Why files could not be used, and the files, those that failed last first."""
    with viewer.session() as session:
        reasons = session.sql(
            "select stage, error_class as reason, count(*) as files from quarantine "
            "group by all order by files desc, stage, reason"
        ).dicts()
        where = "(? = '' or stage = ?) and (? = '' or error_class = ?)"
        rows: list[dict[str, Any]] = session.sql(
            "select uri, source_id, bytes, stage, error_class as reason, detail, signal, host, "
            f"created from quarantine where {where} order by created desc, uri, stage "
            f"limit {limit:d} offset {start:d}",
            [stage, stage, reason, reason],
        ).dicts()
    for row in rows:
        row["name"] = Path(row["uri"] or "").name
    total = sum(
        item["files"]
        for item in reasons
        if stage in ("", item["stage"]) and reason in ("", item["reason"])
    )
    return answer({"reasons": reasons, "total": total, "from": start, "files": rows})
