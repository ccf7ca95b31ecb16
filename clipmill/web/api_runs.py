"""What was run and what runs now, with rates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from catalogs.query import Session, sql_text
from catalogs.runs import live_runs, recorded_runs
from clipmill.web.answers import answer
from clipmill.web.state import ViewerState

__all__ = ["router"]

router = APIRouter(prefix="/api")

SILENT_S = 60.0
"""A run commits every few seconds; one that has not for so long was killed, or a file holds it."""


@router.get("/runs")
def runs(viewer: ViewerState) -> Response:
    """The runs that have ended, the one that began last first."""
    edition = viewer.edition
    with edition.session() as session:
        found = [run.to_dict() for run in recorded_runs(session)]
    return answer({"version": edition.version, "runs": found})


@router.get("/runs/live")
def live(viewer: ViewerState) -> Response:
    """The runs that work at this moment, with the clips that they made last."""
    edition = viewer.edition
    now = datetime.now(UTC)
    with edition.session() as session:
        found = []
        for run in live_runs(session):
            silent = (now - run.last).total_seconds()
            clips = _clips(session, run.last_clips)
            told = {"silent_s": silent, "is_silent": silent > SILENT_S, "clips": clips}
            found.append(run.to_dict() | told)
    return answer({"version": edition.version, "live": found})


def _clips(session: Session, clip_ids: tuple[str, ...]) -> list[dict[str, Any]]:
    """Clips of any cutting with their files' names, in the order of the ids."""
    if not clip_ids:
        return []
    ids = ", ".join(map(sql_text, clip_ids))
    rows = session.sql(
        "select distinct on (clip_id) clip_id, kind, start_s, end_s, source_id from clips_all "
        f"where clip_id in ({ids})"
    ).dicts()
    sources = ", ".join(sql_text(row["source_id"]) for row in rows)
    uris = dict(
        session.sql(f"select source_id, uri from sources where source_id in ({sources})").rows()
    )
    by_id = {
        row["clip_id"]: {**row, "name": Path(uris.get(row["source_id"]) or "").name} for row in rows
    }
    return [by_id[clip_id] for clip_id in clip_ids if clip_id in by_id]
