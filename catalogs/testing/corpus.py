"""The demo's corpus: a folder of rendered footage and takes, with what must come out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from catalogs.testing.take_truth import TakeTruth
from catalogs.testing.video_truth import VideoTruth

__all__ = ["CorpusFile", "CorpusTruth", "render_corpus"]


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One file of the corpus and what a curator must make of it."""

    name: str
    """Path relative to the corpus folder."""
    kind: Literal["video", "mocap"]
    license: str
    """What to record as the source's licence."""
    outcome: Literal["ok", "quarantine"] = "ok"
    reason: str | None = None
    """Why a file is quarantined: `empty` or `truncated`."""
    duplicate_of: str | None = None
    """Name of the file that this one is a re-encode of."""
    video: VideoTruth | None = None
    take: TakeTruth | None = None


@dataclass(frozen=True, slots=True)
class CorpusTruth:
    """What `render_corpus` wrote."""

    folder: Path
    seed: int
    files: list[CorpusFile] = field(default_factory=list)

    def __getitem__(self, name: str) -> CorpusFile:
        return next(file for file in self.files if file.name == name)

    def to_json(self) -> str:
        raise NotImplementedError

    @classmethod
    def from_json(cls, text: str) -> CorpusTruth:
        raise NotImplementedError


def render_corpus(folder: str | Path, *, takes: bool = True, seed: int = 0) -> CorpusTruth:
    """Render some twenty small files with known truth into `folder`."""
    raise NotImplementedError
