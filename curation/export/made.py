"""What making one clip gave: its files, and what is true of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias

__all__ = ["Failure", "How", "Made"]

How: TypeAlias = Literal["copy", "encode", "frames", "take"]


@dataclass(frozen=True, slots=True)
class Made:
    """One clip as files. Names are relative and begin with the clip's id."""

    clip_id: str
    how: How
    files: tuple[str, ...]
    frames: int
    last_time_s: float
    """When the last frame is shown, from the clip's start."""
    width: int | None = None
    height: int | None = None
    bit_depth: int = 8
    audio: str | None = None
    pixel_sums: Mapping[str, Any] = field(default_factory=dict)
    """For statistics of a whole dataset: count, min, max, sum and sum of squares per channel."""

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Made:
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in plain.items() if name in known}
        return cls(**{**values, "files": tuple(values["files"])})


@dataclass(frozen=True, slots=True)
class Failure:
    """A clip that could not be made, and why."""

    clip_id: str
    source_id: str
    stage: str
    error_class: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
