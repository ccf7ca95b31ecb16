"""One clip: its span, scores with their verdicts, captions, twins, tokens and lineage."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from catalogs.ledger import Selection, selections
from clipmill.web.answers import ClipId, answer
from clipmill.web.api_media import MediaState
from clipmill.web.clip_facts import clip_facts, twins_of
from clipmill.web.clip_tokens import as_joints, shown_window, token_sets, wanted
from clipmill.web.decoded import packed_pair
from clipmill.web.sources import find_clip
from clipmill.web.state import Viewer, ViewerState
from clipmill.web.timeline import MOST_BINS, timeline_of

__all__ = ["router"]

router = APIRouter(prefix="/api/clip/{clip_id}")

TokenTable = Annotated[str, Path(pattern="^[A-Za-z0-9_.@-]{1,200}$")]
Window = Annotated[int, Path(ge=0, le=1_000_000)]


def _selections(viewer: Viewer) -> list[Selection]:
    """All selections of the catalog, the one made last first."""
    edition = viewer.edition
    return edition.kept("selections", lambda: selections(viewer.catalog))


@router.get("")
def clip(
    viewer: ViewerState,
    clip_id: ClipId,
    selection: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """All that the catalog knows of a clip, and what a selection said about it."""
    with viewer.session() as session:
        return answer(clip_facts(session, clip_id, _selections(viewer), selection))


@router.get("/timeline")
def timeline(
    viewer: ViewerState,
    clip_id: ClipId,
    bins: Annotated[int, Query(ge=1, le=MOST_BINS)] = 800,
    around: Annotated[float | None, Query(ge=0, le=1000)] = None,
) -> Response:
    """The signals of the clip's source, and where it was cut."""
    with viewer.session() as session:
        return answer(timeline_of(session, find_clip(session, clip_id), bins, around))


@router.get("/twins")
def twins(viewer: ViewerState, clip_id: ClipId) -> Response:
    """Clips that show the same, with the spans that they share."""
    with viewer.session() as session:
        return answer(twins_of(session, clip_id, _selections(viewer)))


@router.get("/tokens")
def tokens(viewer: ViewerState, clip_id: ClipId) -> Response:
    """Which tokens the clip has: tokenizers, windows, grids."""
    with viewer.session() as session:
        return answer(token_sets(session, clip_id))


@router.get("/tokens/{table}/{window}")
def token_window(
    viewer: ViewerState, clip_id: ClipId, table: TokenTable, window: Window
) -> Response:
    """The ids of one window."""
    with viewer.session() as session:
        return answer(shown_window(session, clip_id, table, window))


@router.get("/tokens/{table}/{window}/decoded")
def decoded_window(
    viewer: ViewerState, media: MediaState, clip_id: ClipId, table: TokenTable, window: Window
) -> Response:
    """What was encoded and what its tokens decode to; see `clipmill.web.decoded.packed_pair`."""
    with viewer.session() as session:
        found = find_clip(session, clip_id)
        want = wanted(session, found, table, window)
    original, back, error = media.decoded(found, want)
    if want.transform.features:
        original, back = (as_joints(want.transform.features, array) for array in (original, back))
    row = want.window.row
    tick = Fraction(row["time_base_num"], row["time_base_den"])
    head = {
        "model": want.model,
        "error": error,
        "unit": "mm" if want.transform.features else "dB",
        "fps": row["frames"] / float((row["end_pts"] - row["start_pts"]) * tick),
        "is_take": bool(want.transform.features),
    }
    return Response(packed_pair(head, original, back), media_type="application/octet-stream")
