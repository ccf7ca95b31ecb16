"""What a curation run does to each source, as plain values that travel to every worker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from catalogs.recipe import Recipe
from curation.mocap.take import Overrides
from curation.segment import SegmentSettings

__all__ = ["DEFAULT_OPERATORS", "Limits", "MillSettings", "Storyboard"]

DEFAULT_OPERATORS = (
    "audio", "borders", "colour", "compression", "exposure", "flash", "format", "geometry",
    "motion", "redundancy", "sharpness", "stillness", "take_motion", "take_quality", "text",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storyboard:
    """Small pictures kept of every source."""

    per_s: float = 1.0
    """Pictures per second."""
    short_side: int = 256
    quality: int = 80
    """JPEG quality."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one source may cost before it is given up."""

    wall_s: float = 600.0
    """For one chunk."""
    memory_mb: int = 4096
    """For the decoding child."""
    chunk_s: float = 300.0
    """Longer sources are measured in chunks of about this length."""


@dataclass(frozen=True, slots=True)
class MillSettings:
    """Cut how, score what, keep which pictures, within which limits."""

    segment: SegmentSettings = field(default_factory=SegmentSettings)
    operators: tuple[str, ...] = DEFAULT_OPERATORS
    storyboard: Storyboard = field(default_factory=Storyboard)
    limits: Limits = field(default_factory=Limits)
    mocap: Overrides = field(default_factory=Overrides)
    asked: str | None = None
    """Hash of the recipe's segment part as written, by which a selection finds the cutting."""

    @classmethod
    def of(cls, recipe: Recipe | None) -> MillSettings:
        """What a recipe asks for; without one, the defaults."""
        if recipe is None:
            return cls()
        given: dict[str, Any] = {}
        if recipe.segment is not None:
            rules = recipe.segment.to_dict()
            given["asked"] = recipe.segment.cutting
            given["segment"] = SegmentSettings.from_mapping({**rules, **rules.pop("settings", {})})
        if recipe.score:
            given["operators"] = tuple(sorted(score.operator for score in recipe.score))
        if recipe.mocap is not None:
            stated = {name: value for name, value in asdict(recipe.mocap).items() if value}
            given["mocap"] = Overrides.from_recipe(stated)
        return cls(**given)

    @property
    def cutting(self) -> str:
        """The name of the cutting that these settings make."""
        return self.segment.cutting

    @property
    def needs_network(self) -> bool:
        """Whether the decode pass has to run the shot network, too."""
        return self.segment.detector == "transnet"

    @property
    def needs_edges(self) -> bool:
        """Whether the decode pass has to measure edges, too; only content detection weighs them."""
        weights = self.segment.detector_settings().get("weights", ())
        return len(weights) == 4 and bool(weights[3])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the `runs` table."""
        return {
            "segment": asdict(self.segment),
            "operators": list(self.operators),
            "storyboard": asdict(self.storyboard),
            "limits": asdict(self.limits),
            "mocap": asdict(self.mocap),
        }
