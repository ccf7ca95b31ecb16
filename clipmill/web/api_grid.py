"""The grid: clips by position in a filtered and sorted view, histograms, storyboards."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from clipmill.web.answers import answer
from clipmill.web.state import ViewerState

__all__ = ["router"]

router = APIRouter(prefix="/api")


@router.get("/about")
def about(viewer: ViewerState) -> Response:
    """What is served."""
    with viewer.session() as session:
        kinds = session.sql("select kind, count(*) from clips group by 1 order by 2 desc").rows()
        cutting = session.cutting
    return answer(
        {
            "name": Path(viewer.path).name or viewer.path,
            "path": viewer.path,
            "version": viewer.edition.version,
            "cutting": cutting,
            "clips": sum(count for _, count in kinds),
            "kinds": dict(kinds),
            "reviewer": viewer.reviewer,
        }
    )
