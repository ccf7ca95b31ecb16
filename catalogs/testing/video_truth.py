"""What a rendered video is known to hold: the request (`Shot`) and the answer (`VideoTruth`).

Frames are counted from 0 in presentation order. The frames of a gradual change belong to the shot
that comes in, so a video is always as long as its shots together and every shot starts where the
frames before it end:

    >>> shots = [Shot("pan_left", 48), Shot("zoom_in", 48, seed=2, transition=Dissolve(12))]

renders 96 frames of which 48 to 59 are mixes of both shots. `Fade` goes to or from a flat colour:
as `transition` it opens a shot, as `ending` it closes one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from catalogs.errors import UsageError, nearest

__all__ = ["SHOT_KINDS", "Boundary", "Dissolve", "Fade", "Shot", "ShotKind", "ShotTruth",
           "VideoTruth"]  # fmt: skip

ShotKind = Literal[
    "still",
    "pan_left",
    "pan_right",
    "tilt_up",
    "tilt_down",
    "zoom_in",
    "zoom_out",
    "roll",
    "shake",
    "moving_shapes",
    "fast_motion",
    "slide_text",
    "screen_recording",
    "subtitle",
    "letterbox",
    "pillarbox",
    "flash",
    "black",
    "white",
    "noise",
]
SHOT_KINDS: tuple[str, ...] = get_args(ShotKind)


@dataclass(frozen=True, slots=True)
class Dissolve:
    """The first `frames` frames of a shot are mixes with the shot before, which runs on."""

    frames: int


@dataclass(frozen=True, slots=True)
class Fade:
    """`frames` frames on the way from (or to) a flat colour, the flat one included."""

    frames: int
    colour: Literal["black", "white"] = "black"


@dataclass(frozen=True, slots=True)
class Shot:
    """A stretch of one scene; the seed decides its colours and structure."""

    kind: ShotKind
    frames: int
    seed: int = 0
    transition: Dissolve | Fade | None = None
    """How the shot begins; None is a hard cut."""
    ending: Fade | None = None
    """How the shot ends; None leaves that to the next shot."""

    def __post_init__(self) -> None:
        if self.kind not in SHOT_KINDS:
            raise UsageError(
                f"shot kind {self.kind!r} is unknown",
                allowed=", ".join(SHOT_KINDS),
                hint=nearest(self.kind, SHOT_KINDS),
            )
        gradual = (self.transition.frames if self.transition else 0) + (
            self.ending.frames if self.ending else 0
        )
        if self.frames < max(1, gradual):
            raise UsageError(
                f"a shot of {self.frames} frames cannot hold {gradual} frames of transitions",
                allowed=f"frames >= {max(1, gradual)}",
            )


@dataclass(frozen=True, slots=True)
class ShotTruth:
    """One shot of a rendered file."""

    start: int
    """First frame, mixed ones included."""
    end: int
    """First frame after the shot."""
    kind: str
    seed: int
    params: dict[str, Any] = field(default_factory=dict)
    """What the scene does, by kind: `pan_x_px`, `pan_y_px` (camera travel per frame, right and
    down positive), `zoom_per_frame`, `roll_deg_per_frame`, `bar_top_px`, `bar_side_px`, `text`,
    `text_box` (left, top, right, bottom)."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A change of shot as a detector would report it."""

    kind: Literal["cut", "dissolve", "fade_in", "fade_out"]
    frame: int
    """First frame of the new shot, or the first altered frame of a gradual change."""
    end_frame: int
    """Last altered frame of a gradual change; equal to `frame` for a cut."""


@dataclass(frozen=True, slots=True)
class VideoTruth:
    """Everything that is known of a rendered video."""

    path: Path
    frames: int
    fps: Fraction
    """The nominal rate; the average one when `is_vfr`."""
    size: tuple[int, int]
    """Width and height as displayed, rotation applied."""
    time_base: Fraction
    pts: list[int]
    """Of every frame, in ticks of `time_base`."""
    cuts: list[int] = field(default_factory=list)
    """First frame of each shot that begins with a hard cut."""
    dissolves: list[tuple[int, int]] = field(default_factory=list)
    """First and last mixed frame."""
    fades: list[tuple[str, int, int]] = field(default_factory=list)
    """`fade_in` or `fade_out`, first and last dimmed frame."""
    flashes: list[int] = field(default_factory=list)
    shots: list[ShotTruth] = field(default_factory=list)
    codec: str = "libx264"
    rotate_deg: int = 0
    """Counter-clockwise turn of the stored picture that a player applies."""
    audio: str | None = None
    is_vfr: bool = False

    @property
    def seconds(self) -> list[Fraction]:
        """The exact presentation time of every frame."""
        return [pts * self.time_base for pts in self.pts]

    @property
    def boundaries(self) -> list[Boundary]:
        """Cuts, dissolves and fades in the order of their first frames."""
        found = [Boundary("cut", frame, frame) for frame in self.cuts]
        found += [Boundary("dissolve", first, last) for first, last in self.dissolves]
        found += [
            Boundary("fade_in" if kind == "fade_in" else "fade_out", first, last)
            for kind, first, last in self.fades
        ]
        return sorted(found, key=lambda boundary: (boundary.frame, boundary.end_frame))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; fractions are strings."""
        plain = asdict(self)
        plain.update(path=str(self.path), fps=str(self.fps), time_base=str(self.time_base))
        return plain

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> VideoTruth:
        width, height = plain["size"]
        typed = {
            "path": Path(plain["path"]),
            "fps": Fraction(plain["fps"]),
            "time_base": Fraction(plain["time_base"]),
            "size": (width, height),
            "dissolves": [(first, last) for first, last in plain["dissolves"]],
            "fades": [(kind, first, last) for kind, first, last in plain["fades"]],
            "shots": [ShotTruth(**shot) for shot in plain["shots"]],
        }
        return cls(**(plain | typed))

    @classmethod
    def from_json(cls, text: str) -> VideoTruth:
        return cls.from_dict(json.loads(text))
