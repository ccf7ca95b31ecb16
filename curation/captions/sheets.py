"""Contact sheets for models that look at one picture, kept for as long as they are in use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from curation.captions.base import Picture
from curation.choose_frames import sheet
from curation.operators import StoryFrame

__all__ = ["contact_sheet_of"]

COLUMNS = 3
KEPT = 256


def contact_sheet_of(pictures: Sequence[Picture]) -> bytes:
    """One JPEG that holds all pictures, row by row."""
    return _sheet(tuple(picture.jpeg for picture in pictures))


@lru_cache(maxsize=KEPT)
def _sheet(jpegs: tuple[bytes, ...]) -> bytes:
    return sheet([StoryFrame(number, jpeg) for number, jpeg in enumerate(jpegs)], columns=COLUMNS)
