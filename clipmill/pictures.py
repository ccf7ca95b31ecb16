"""Pictures of clips from what a catalog stores; no media file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from catalogs import Session

__all__ = ["postures"]


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
