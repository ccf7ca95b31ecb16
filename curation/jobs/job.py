"""The pieces of work that travel to workers."""

from __future__ import annotations

from dataclasses import dataclass

from curation.jobs.scan import Input
from curation.media.probe import SourceProbe

__all__ = ["Chunk", "FinishJob", "Identified", "IdentifyJob", "MeasureJob"]


@dataclass(frozen=True, slots=True)
class Identified:
    """An input whose bytes were hashed."""

    input: Input
    sha256: str
    source_id: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a source that is measured on its own, `[start_pts, end_pts)`."""

    index: int
    of: int
    start_pts: int
    end_pts: int | None
    probe: SourceProbe | None = None
    """Of the source, without keyframes: one of several chunks need not read all packets again."""


@dataclass(frozen=True, slots=True)
class IdentifyJob:
    """Hash some inputs."""

    inputs: tuple[Input, ...]
    attempt: int = 0

    @property
    def label(self) -> str:
        return f"hashing {len(self.inputs)} files from {self.inputs[0].uri}"


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """Decode one source, or one chunk of it, and measure it."""

    identified: Identified
    chunk: Chunk | None = None
    attempt: int = 0

    @property
    def label(self) -> str:
        part = f" (chunk {self.chunk.index + 1}/{self.chunk.of})" if self.chunk else ""
        return f"measuring {self.identified.input.uri}{part}"


@dataclass(frozen=True, slots=True)
class FinishJob:
    """Cut and score sources that are measured already."""

    source_ids: tuple[str, ...]
    wanted: tuple[str, ...]
    """Operators whose scores are missing."""
    attempt: int = 0

    @property
    def label(self) -> str:
        return f"cutting and scoring {len(self.source_ids)} sources from {self.source_ids[0]}"
