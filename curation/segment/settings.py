"""How a video is cut, as a recipe writes it: strict, comparable, and hashed into a cutting id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from catalogs.errors import RecipeError, nearest
from catalogs.ids import settings_hash
from curation.segment.registry import detector_options, detector_version
from curation.signals import NUMBERS_VERSION

__all__ = ["LongShot", "SegmentSettings"]

LongShot = Literal["split", "keep", "drop"]


@dataclass(frozen=True)
class SegmentSettings:
    """Detector and rules for the clips between its boundaries."""

    detector: str = "shots"
    threshold: float | None = None
    """The detector's own scale and default."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the detector."""
    min_s: float = 0.0
    """Shorter clips are left out."""
    max_s: float | None = None
    """Longer shots meet `long_shot`."""
    long_shot: LongShot = "split"
    """split into equal parts of at most `max_s`, keep whole, or drop."""
    trim_mixed: bool = True
    """Leave the mixed frames of dissolves and fades out of the clips."""
    trim_s: float = 0.0
    """Also leave out this much at every boundary, but not at the ends of the file."""
    stitch_s: float = 0.0
    """Join shots that continue after a flash or cutaway of at most this length; 0 joins none."""

    def __post_init__(self) -> None:
        detector_version(self.detector)
        known = detector_options(self.detector)
        for option in self.detector_settings():
            if option not in known:
                raise RecipeError(
                    f"detector {self.detector!r} has no option {option!r}",
                    allowed=", ".join(known) or "no options",
                    hint=nearest(option, known),
                )
        for name in ("min_s", "trim_s", "stitch_s"):
            if getattr(self, name) < 0:
                raise RecipeError(f"{name} is {getattr(self, name)}", allowed="0 or more seconds")
        if self.max_s is not None and self.max_s <= max(self.min_s, 0.0):
            raise RecipeError(
                f"max_s is {self.max_s} with min_s {self.min_s}", allowed="more than min_s"
            )
        if self.long_shot not in get_args(LongShot):
            raise RecipeError(
                f"long_shot is {self.long_shot!r}",
                allowed=", ".join(get_args(LongShot)),
                hint=nearest(str(self.long_shot), get_args(LongShot)),
            )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SegmentSettings:
        """Settings from the `segment` part of a recipe; unknown keys are refused."""
        known = [item.name for item in fields(cls)]
        for key in mapping:
            if key not in known:
                raise RecipeError(
                    f"segment has no key {key!r}",
                    allowed=", ".join(known),
                    hint=nearest(key, known),
                )
        return cls(**mapping)

    def detector_settings(self) -> dict[str, Any]:
        """Options of the detector, threshold included."""
        own = {} if self.threshold is None else {"threshold": self.threshold}
        return {**self.options, **own}

    @property
    def cutting(self) -> str:
        """The id of all clips cut by these settings and these versions of detector and signals.

        Options left at their defaults count with their values, so that a recipe which writes a
        default out cuts the same cutting.
        """
        rules = {item.name: getattr(self, item.name) for item in fields(self)}
        del rules["threshold"]
        options = {**detector_options(self.detector), **self.detector_settings()}
        return settings_hash(
            {
                **rules,
                "options": {name: _plain(value) for name, value in options.items()},
                "detector_version": detector_version(self.detector),
                "signals_version": NUMBERS_VERSION,
            }
        )


def _plain(value: Any) -> Any:
    """Numbers that are equal hash alike: 3 and 3.0 are one threshold."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
