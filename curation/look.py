"""One clip for eyes: what the catalog knows of it, and its picture.

    view = view_clip(catalog, "9f3a2c")
    draw_clip(catalog, view.row, Path("clip.png"))

Takes are drawn as stick figures from their stored joints, videos from their storyboards. No media
file is opened.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.errors import NotFoundError, UsageError
from catalogs.explain import find_clip
from catalogs.query import Session

if TYPE_CHECKING:
    from PIL import Image

    from catalogs.catalog import Catalog

__all__ = ["PICTURE_SUFFIXES", "ClipView", "draw_clip", "view_clip"]

PICTURE_SUFFIXES = (".png", ".gif", ".mp4")
_SHEET_PICTURES = 12
_SLIDES_PER_S = Fraction(2)
_ORIGINS = {"rules": 0, "import": 1}
"""Captions are shown in this order of origins, others after them."""


@dataclass(frozen=True)
class ClipView:
    """A clip with its captions and scores."""

    row: Mapping[str, Any]
    """Its row of the wide view without the scores: span and source."""
    scores: Mapping[str, Any]
    """By column, those that were measured."""
    captions: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.row,
            "scores": dict(self.scores),
            "captions": [dict(caption) for caption in self.captions],
        }


def view_clip(catalog: Catalog, clip: str) -> ClipView:
    """What is known of a clip, given by its id or a unique beginning of it."""
    with Session(catalog, cutting="-") as session:
        clip_id = find_clip(session, clip)
        query = "select cutting from clips_all where clip_id = ? order by created desc limit 1"
        cutting = session.sql(query, [clip_id]).value()
    with Session(catalog, cutting=cutting) as session:
        (wide,) = session.sql("select * from clips where clip_id = ?", [clip_id]).dicts()
        captions = session.sql(
            "select origin, kind, text, start_s, end_s, model from captions where clip_id = ?",
            [clip_id],
        ).dicts()
        operators = session.operators
    captions.sort(
        key=lambda row: (
            _ORIGINS.get(row["origin"], len(_ORIGINS)),
            row["kind"].startswith("part:"),
            row["kind"],
            row["start_s"] or 0.0,
            row["text"],
        )
    )
    scores = {name: wide[name] for name in operators if wide[name] is not None}
    row = {name: value for name, value in wide.items() if name not in operators}
    return ClipView(row, scores, captions)


def draw_clip(catalog: Catalog, row: Mapping[str, Any], path: Path, *, size: int = 320) -> Path:
    """Write the picture of a clip as the sheet or film that the name's ending asks for.

    Args:
        row: the clip's row of `clips`.
        size: longer side of one picture in pixels.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise UsageError(f"cannot draw a clip as {path.name}", allowed=", ".join(PICTURE_SUFFIXES))
    with Session(catalog, cutting="-") as session:
        if row["kind"] == "mocap":
            from curation.mocap.draw import draw_motion
            from curation.mocap.stored import stored_motion

            return draw_motion(stored_motion(session, row), path, size=size)
        return _draw_storyboard(list(_storyboard(session, row)), row, path, size)


def _storyboard(session: Session, row: Mapping[str, Any]) -> Iterator[tuple[Fraction, Image.Image]]:
    """The stored pictures of a clip with their times, from the clip's start."""
    from PIL import Image

    tick = Fraction(row["time_base_num"], row["time_base_den"])
    pictures = session.sql(
        "select pts, jpeg from storyboards where source_id = ? and pts >= ? and pts < ? "
        "order by pts",
        [row["source_id"], row["start_pts"], row["end_pts"]],
    )
    for pts, jpeg in pictures.rows():
        yield (pts - row["start_pts"]) * tick, Image.open(io.BytesIO(jpeg))


def _draw_storyboard(
    pictures: list[tuple[Fraction, Image.Image]], row: Mapping[str, Any], path: Path, size: int
) -> Path:
    from curation.pictures import contact_sheet, fitted, save_film, stamped

    if not pictures:
        raise NotFoundError(
            f"no picture of clip {row['clip_id']} is stored: it lasts {row['duration_s']:.2f} s "
            "and lies between two pictures of the storyboard",
            hint="show a longer clip of the same source",
        )
    shown = [(f"{float(time):.2f} s", fitted(picture, size)) for time, picture in pictures]
    if path.suffix.lower() != ".png":
        save_film([stamped(picture, text) for text, picture in shown], path, _SLIDES_PER_S)
        return path
    step = (len(shown) - 1) / max(1, min(_SHEET_PICTURES, len(shown)) - 1)
    chosen = [shown[round(n * step)] for n in range(min(_SHEET_PICTURES, len(shown)))]
    contact_sheet([picture for _, picture in chosen], [text for text, _ in chosen]).save(path)
    return path
