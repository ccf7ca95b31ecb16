"""Pictures of clips from what a catalog stores; no media file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from catalogs import Session

__all__ = ["middle_picture", "postures"]


def postures(
    session: Session, clip: Mapping[str, Any], count: int, size: int = 176
) -> list[Image.Image]:
    """So many figures along a take, in order of time; none where no body is stored.

    Args:
        clip: its row of `clips`.
        size: side of a picture in pixels.
    """
    from catalogs.errors import NotFoundError
    from curation.mocap.figure import Figure
    from curation.mocap.stored import stored_motion

    try:
        motion = stored_motion(session, clip)
    except NotFoundError:
        return []
    figure = Figure(motion, size)
    last = len(motion) - 1
    return [figure.draw(round((number + 0.5) * last / count)) for number in range(count)]


def middle_picture(session: Session, clip: Mapping[str, Any]) -> tuple[bytes, str] | None:
    """The picture that stands for a clip of any cutting, and its media type; None without one.

    Args:
        clip: its row of `clips`.
    """
    if clip["kind"] == "mocap":
        drawn = postures(session, clip, 1)
        if not drawn:
            return None
        out = BytesIO()
        drawn[0].save(out, "PNG")
        return out.getvalue(), "image/png"
    rows = session.sql(
        "select jpeg from storyboards where source_id = ? and pts >= ? and pts < ? "
        "order by abs(2 * pts - ?) limit 1",
        [
            *(clip["source_id"], clip["start_pts"], clip["end_pts"]),
            clip["start_pts"] + clip["end_pts"],
        ],
    ).rows()
    return (rows[0][0], "image/jpeg") if rows else None
