"""What a run did, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from curation.jobs.progress import duration_text

__all__ = ["Report"]


@dataclass(slots=True)
class Report:
    """What a run did."""

    run_id: str
    status: str
    inputs: int = 0
    measured: int = 0
    finished: int = 0
    unchanged: int = 0
    moved: int = 0
    duplicates: int = 0
    quarantined: int = 0
    still_quarantined: int = 0
    clips: int = 0
    frames: int = 0
    media_s: float = 0.0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage."""
    wall_s: float = 0.0
    catalog_version: int = 0
    hosts: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def lines(self) -> Iterator[str]:
        """The closing summary."""
        speed = self.media_s / self.wall_s if self.wall_s else 0.0
        yield f"{self.inputs} files: {self.measured} measured, {self.unchanged} unchanged"
        for count, text in (
            (self.moved, "found at a new address"),
            (self.duplicates, "with the same bytes as another file"),
            (self.quarantined, "quarantined (clipmill quarantine shows why)"),
            (self.still_quarantined, "in quarantine already (--retry tries them again)"),
        ):
            if count:
                yield f"{count} {text}"
        yield (
            f"{self.media_s / 3600:.3f} h of media, {self.frames} frames, {self.clips} clips in "
            f"{duration_text(self.wall_s)} ({speed:.1f} h/h)"
        )
        if self.status != "done":
            yield f"the run was {self.status}; run it again to go on from here"
