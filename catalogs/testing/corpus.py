"""The demo's corpus: a folder of rendered footage and takes, with what must come out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from catalogs.errors import NotFoundError, nearest
from catalogs.testing.copies import render_copy, truncate_file, zero_byte
from catalogs.testing.mocap import render_take
from catalogs.testing.take_truth import TakeTruth
from catalogs.testing.video import render_video
from catalogs.testing.video_truth import Dissolve, Fade, Shot, VideoTruth

__all__ = ["CorpusFile", "CorpusTruth", "render_corpus"]

OPEN_LICENSE = "CC-BY-4.0"


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One file of the corpus and what a curator must make of it."""

    name: str
    """Path relative to the corpus folder."""
    kind: Literal["video", "mocap"]
    license: str = OPEN_LICENSE
    """What to record as the source's licence."""
    outcome: Literal["ok", "quarantine"] = "ok"
    reason: Literal["empty", "truncated"] | None = None
    """Why a file is quarantined."""
    duplicate_of: str | None = None
    """Name of the file that this one is a re-encode of."""
    video: VideoTruth | None = None
    take: TakeTruth | None = None

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        plain["video"] = self.video.to_dict() if self.video else None
        plain["take"] = self.take.to_dict() if self.take else None
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> CorpusFile:
        typed = {
            "video": VideoTruth.from_dict(plain["video"]) if plain["video"] else None,
            "take": TakeTruth.from_dict(plain["take"]) if plain["take"] else None,
        }
        return cls(**(plain | typed))


@dataclass(frozen=True, slots=True)
class CorpusTruth:
    """What `render_corpus` wrote."""

    folder: Path
    seed: int
    files: list[CorpusFile]

    def __getitem__(self, name: str) -> CorpusFile:
        for file in self.files:
            if file.name == name:
                return file
        names = [file.name for file in self.files]
        raise NotFoundError(
            f"the corpus has no file {name!r}",
            allowed=", ".join(names),
            hint=nearest(name, names),
        )

    def path(self, name: str) -> Path:
        """Where a file of the corpus lies."""
        return self.folder / self[name].name

    @property
    def readable(self) -> list[CorpusFile]:
        """Files that must become rows of `sources`."""
        return [file for file in self.files if file.outcome == "ok"]

    def to_json(self) -> str:
        return json.dumps(
            {
                "folder": str(self.folder),
                "seed": self.seed,
                "files": [file.to_dict() for file in self.files],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> CorpusTruth:
        plain = json.loads(text)
        files = [CorpusFile.from_dict(file) for file in plain["files"]]
        return cls(Path(plain["folder"]), plain["seed"], files)


def render_corpus(folder: str | Path, *, takes: bool = True, seed: int = 0) -> CorpusTruth:
    """Render some twenty small files with known truth into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = list(_footage(folder, 100 * seed))
    files += _doubtful_footage(folder, next(file.video for file in files if file.video))
    if takes:
        files += _takes(folder, seed)
    return CorpusTruth(folder, seed, files)


def _footage(folder: Path, seed: int) -> Iterator[CorpusFile]:
    """Sound videos, one trait each."""
    recipes: dict[str, tuple[list[Shot], dict[str, Any]]] = {
        "cuts.mp4": (
            [
                Shot("pan_left", 40, 1),
                Shot("moving_shapes", 32, 2),
                Shot("shake", 44, 3),
                Shot("pan_right", 36, 4),
            ],
            {},
        ),
        "dissolve.mp4": (
            [Shot("pan_right", 40, 21), Shot("moving_shapes", 56, 24, transition=Dissolve(16))],
            {},
        ),
        "fades.mp4": (
            [
                Shot("moving_shapes", 48, 7, transition=Fade(12), ending=Fade(12)),
                Shot("pan_left", 48, 8, transition=Fade(12), ending=Fade(12)),
            ],
            {},
        ),
        "pan.mp4": ([Shot("pan_right", 72, 9)], {"audio": "tone"}),
        "zoom.mp4": ([Shot("zoom_in", 72, 10)], {"fps": Fraction(30000, 1001)}),
        "shake.mp4": ([Shot("shake", 60, 11)], {"fps": 25}),
        "slide.mp4": ([Shot("slide_text", 60, 12)], {"size": (640, 360)}),
        "flash.mp4": ([Shot("flash", 72, 13)], {}),
        "black_lead_in.mp4": ([Shot("black", 24), Shot("pan_left", 48, 14)], {}),
        "subtitle.mp4": ([Shot("subtitle", 60, 15)], {"size": (640, 360)}),
        "letterbox.mkv": ([Shot("letterbox", 60, 16)], {}),
        "portrait.mp4": (
            [Shot("moving_shapes", 60, 17)],
            {"size": (180, 320), "rotate_deg": 90, "audio": "silence"},
        ),
        "screen.mp4": ([Shot("screen_recording", 60, 18)], {"size": (640, 360)}),
        "uneven.mp4": (
            [Shot("pan_left", 30, 19), Shot("shake", 30, 20)],
            {"pts": _uneven_pts(60)},
        ),
    }
    licenses = {"subtitle.mp4": "CC-BY-NC-4.0", "screen.mp4": "proprietary"}
    for name, (shots, options) in recipes.items():
        truth = render_video(folder / name, shots, seed=seed, **options)
        yield CorpusFile(name, "video", licenses.get(name, OPEN_LICENSE), video=truth)


def _uneven_pts(frames: int) -> list[int]:
    """A phone's variable rate: every fourth frame comes late, in ticks of 1/90000 s."""
    return [3750 * frame + (1500 if frame % 4 == 3 else 0) for frame in range(frames)]


def _doubtful_footage(folder: Path, original: VideoTruth) -> Iterator[CorpusFile]:
    """A re-encode of `original` and files that cannot be read."""
    copied = render_copy(original, folder / "cuts_copy.mp4", size=(240, 136), logo=True)
    yield CorpusFile("cuts_copy.mp4", "video", duplicate_of=original.path.name, video=copied)
    truncate_file(original.path, folder / "truncated.mp4", 0.6)
    yield CorpusFile("truncated.mp4", "video", outcome="quarantine", reason="truncated")
    zero_byte(folder / "empty.mp4")
    yield CorpusFile("empty.mp4", "video", outcome="quarantine", reason="empty")


def _takes(folder: Path, seed: int) -> Iterator[CorpusFile]:
    recipes: dict[str, dict[str, Any]] = {
        "walk.bvh": {"action": "walk"},
        "jump.bvh": {"action": "jump", "count": 2, "rig": "cmu"},
        "turn.bvh": {"action": "turn", "turn_deg": 90.0, "unit": "m", "up_axis": "z"},
        "wave.bvh": {"action": "wave", "side": "left", "rig": "smpl", "channel_order": "XYZ"},
        "walk_nan.bvh": {"action": "walk", "defect": "nan"},
        "walk_skate.bvh": {"action": "walk", "defect": "foot_skate"},
    }
    for name, options in recipes.items():
        truth = render_take(folder / name, seed=seed, **options)
        yield CorpusFile(name, "mocap", take=truth)
