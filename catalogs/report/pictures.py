"""Pictures of clips as data URIs, made small, within a budget for the whole page.

Videos come from the storyboards that the decode pass left in the catalog. Takes have no stored
pictures: whoever can draw a body gives a function that does (`draw_take`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias

from PIL import Image

from catalogs.query import Session

__all__ = ["DrawTake", "Picture", "Pictures"]

DrawTake: TypeAlias = Callable[[Session, Mapping[str, Any], int], Sequence[Image.Image]]
"""So many postures of a take, along the way. It is given the clip's row of `clips`."""

SIDE_PX = 176
QUALITY = 62
BUDGET_BYTES = 4_000_000
"""Of the data URIs of a page; later pictures are left out, and the page says so."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a page can hold."""

    uri: str
    width: int
    height: int


class Pictures:
    """The pictures of a session's clips."""

    def __init__(
        self, session: Session, draw_take: DrawTake | None = None, budget: int = BUDGET_BYTES
    ):
        self._session = session
        self._draw_take = draw_take
        self._left = budget
        self._made: dict[tuple[str, int], tuple[Picture, ...]] = {}
        self.left_out = 0
        """Clips that were shown without pictures because the budget was spent."""

    def of(self, clip: Mapping[str, Any], count: int) -> tuple[Picture, ...]:
        """Up to `count` pictures along a clip, given by its row of `clips`."""
        key = str(clip["clip_id"]), count
        if key not in self._made:
            self._made[key] = self._make(clip, count)
        pictures = self._made[key]
        size = sum(len(picture.uri) for picture in pictures)
        if size > self._left:
            self.left_out += 1
            return ()
        self._left -= size
        return pictures

    def _make(self, clip: Mapping[str, Any], count: int) -> tuple[Picture, ...]:
        if clip["kind"] == "mocap":
            drawn = self._draw_take(self._session, clip, count) if self._draw_take else ()
        else:
            drawn = self._storyboard(clip, count)
        return tuple(map(_embedded, drawn))

    def _storyboard(self, clip: Mapping[str, Any], count: int) -> list[Image.Image]:
        span = [clip["source_id"], clip["start_pts"], clip["end_pts"]]
        there = self._session.sql(
            "select pts from storyboards where source_id = ? and pts >= ? and pts < ? order by pts",
            span,
        ).rows()
        if not there:
            return []
        step = (len(there) - 1) / max(1, count - 1)
        chosen = sorted({there[round(number * step)][0] for number in range(count)})
        marks = ", ".join("?" * len(chosen))
        rows = self._session.sql(
            f"select jpeg from storyboards where source_id = ? and pts in ({marks}) order by pts",
            [clip["source_id"], *chosen],
        ).rows()
        return [Image.open(BytesIO(row[0])) for row in rows]


def _embedded(image: Image.Image) -> Picture:
    image = image.convert("RGB")
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    out = BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=4)
    text = base64.b64encode(out.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{text}", *image.size)
