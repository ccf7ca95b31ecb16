"""The media of a clip: the source's bytes by range, remuxed or transcoded where needed."""

from __future__ import annotations

import threading
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response

from catalogs.errors import NotFoundError
from catalogs.query import Session
from clipmill.web.answers import ClipId, answer
from clipmill.web.media import Media
from clipmill.web.sources import FoundClip, find_clip
from clipmill.web.state import Viewer, ViewerState
from clipmill.web.take import joints_in_file, packed, stored_joints
from tokenize_jobs.clips import frame_times

__all__ = ["MediaState", "router"]

router = APIRouter(prefix="/api")

MOST_TIMES = 20_000
"""Clips of more frames are stepped through by their average rate."""


class RangedFile(FileResponse):
    """A file, or one range of it. Who asks for several ranges at once gets the whole file."""

    max_ranges = 1


_starting = threading.Lock()


def _media(request: Request) -> Media:
    """The playable files of a viewer, which outlive the catalog's versions."""
    with _starting:
        if not hasattr(request.app.state, "media"):
            request.app.state.media = Media()
    media: Media = request.app.state.media
    return media


MediaState = Annotated[Media, Depends(_media)]


def _found(viewer: Viewer, clip_id: str) -> FoundClip:
    with viewer.session() as session:
        return find_clip(session, clip_id)


@router.get("/play/{clip_id}")
def play(viewer: ViewerState, media: MediaState, clip_id: ClipId) -> Response:
    """How a clip is played: the file, where in it the clip lies, and when each frame is shown."""
    found = _found(viewer, clip_id)
    playable = media.playable(clip_id, lambda: found)
    with viewer.session() as session:
        ticks = _ticks(session, found)
    return answer(
        {
            "how": playable.how,
            "type": playable.type,
            "url": f"/api/media/{clip_id}",
            "start_s": playable.start_s,
            "end_s": playable.end_s,
            "is_whole": playable.is_whole,
            "has_sound": found.source["audio_codec"] is not None,
            "frames": found.clip["frames"],
            "fps": found.clip["fps"],
            "first_frame": found.clip["start_frame"],
            "start_pts": found.clip["start_pts"],
            "time_base": [found.clip["time_base_num"], found.clip["time_base_den"]],
            "source_start_s": found.clip["start_s"],
            "ticks": ticks,
        }
    )


def _ticks(session: Session, found: FoundClip) -> list[int] | None:
    """Ticks of each frame after the clip's start; None where they are unknown or too many."""
    clip = found.clip
    if clip["kind"] != "video" or (clip["frames"] or 0) > MOST_TIMES:
        return None
    try:
        pts = frame_times(session, clip["source_id"])
    except NotFoundError:
        return None
    first, last = np.searchsorted(pts, [clip["start_pts"], clip["end_pts"]])
    ticks: list[int] = (pts[first:last] - clip["start_pts"]).tolist()
    return ticks


@router.api_route("/media/{clip_id}", methods=["GET", "HEAD"])
def media_file(viewer: ViewerState, media: MediaState, clip_id: ClipId) -> Response:
    """The file that plays a clip; `play` tells where in it the clip lies."""
    playable = media.playable(clip_id, partial(_found, viewer, clip_id))
    return RangedFile(playable.path, media_type=playable.type)


@router.get("/take/{clip_id}")
def take(viewer: ViewerState, media: MediaState, clip_id: ClipId) -> Response:
    """The joints of a take's clip; the form is told in `clipmill.web.take`."""
    with viewer.session() as session:
        found = find_clip(session, clip_id)
        joints = stored_joints(session, found)
    joints = joints or joints_in_file(media.files, found)
    return Response(packed(joints), media_type="application/octet-stream")
