"""From coded pixels to the picture as displayed: rotation, sample aspect, target size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from catalogs.errors import UsageError

__all__ = ["Geometry", "geometry_of"]

_SANE_ASPECT = (Fraction(1, 8), Fraction(8))


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a decoded frame becomes the displayed picture."""

    coded_width: int
    coded_height: int
    sample_aspect: Fraction
    """Width of a coded pixel divided by its height."""
    rotation_deg: int
    """Clockwise turn that shows the picture upright: 0, 90, 180 or 270."""

    @property
    def turned(self) -> bool:
        """Whether display swaps width and height."""
        return self.rotation_deg in (90, 270)

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height as displayed, square pixels, upright."""
        width = max(1, round(self.coded_width * self.sample_aspect))
        return (self.coded_height, width) if self.turned else (width, self.coded_height)

    def fit(self, short_side: int | None, even: bool) -> tuple[int, int]:
        """Displayed size with its shorter side at most `short_side`; never larger than the source.

        `even` rounds both sides to even numbers, as formats with halved chroma need.
        """
        width, height = self.display_size
        if short_side is not None:
            if short_side < 1:
                raise UsageError(f"short_side {short_side} is not positive", allowed="1 or more")
            if short_side < min(width, height):
                scale = Fraction(short_side, min(width, height))
                width, height = round(width * scale), round(height * scale)
        if even:
            width, height = 2 * max(1, round(width / 2)), 2 * max(1, round(height / 2))
        return max(1, width), max(1, height)


def geometry_of(stream: Any, frame: Any) -> Geometry:
    """Geometry of a stream, with the rotation that its decoded frames carry."""
    return Geometry(
        frame.width, frame.height, _aspect(stream.sample_aspect_ratio), _clockwise(frame.rotation)
    )


def _aspect(ratio: Fraction | None) -> Fraction:
    aspect = Fraction(ratio) if ratio else Fraction(1)
    low, high = _SANE_ASPECT
    return aspect if low <= aspect <= high else Fraction(1)


def _clockwise(rotation: int) -> int:
    """Quarter turns only: a display matrix that is damaged or at an odd angle turns nothing."""
    return -rotation % 360 if rotation % 90 == 0 and abs(rotation) <= 360 else 0
