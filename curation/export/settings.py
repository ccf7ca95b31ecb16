"""What exported clips look like: container, size, rate, quality, shards."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias, get_args

from catalogs.errors import UsageError, nearest

__all__ = ["FORMATS", "ClipFormat", "MediaSettings", "Pictures"]

ClipFormat: TypeAlias = Literal["mp4", "webdataset", "frames", "lerobot"]
Pictures: TypeAlias = Literal["mp4", "jpg", "png"]

FORMATS: tuple[ClipFormat, ...] = get_args(ClipFormat)
PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """How the media of clips are written."""

    pictures: Pictures = "mp4"
    """What a clip becomes: one video file, or one picture file per frame."""
    copy: bool = True
    """Copy the coded frames where that gives exactly the clip; otherwise everything is encoded."""
    crf: int = 18
    """x264's constant quality: 0 is lossless, 18 hard to tell from the source, 51 the worst."""
    preset: str = "fast"
    gop: int = 60
    """Most frames between two keyframes of encoded video."""
    audio: bool = True
    short_side: int | None = None
    """Scale pictures down until their shorter side is at most this."""
    size: tuple[int, int] | None = None
    """Width and height of all pictures: fitted inside, the rest black."""
    fps: Fraction | None = None
    """Show each clip on this even grid; without it, frames keep their own times."""
    quality: int = 95
    """Of JPEG files, 1 to 100."""
    uniform: bool = False
    """Encode all clips alike (8 bits, BT.709), so that they can be joined into one file."""
    shard_samples: int = 1000
    shard_bytes: int = 1 << 30
    """What a shard should hold at most, by an estimate made before anything is encoded."""
    wall_s: float = 600.0
    """Longest time that one clip may take."""
    memory_mb: int = 4096

    def __post_init__(self) -> None:
        _one_of("pictures", self.pictures, get_args(Pictures))
        _one_of("preset", self.preset, PRESETS)
        _within("crf", self.crf, 0, 51)
        _within("quality", self.quality, 1, 100)
        for name in ("gop", "shard_samples", "shard_bytes", "memory_mb"):
            _within(name, getattr(self, name), 1)
        if self.short_side is not None:
            _within("short_side", self.short_side, 2)
            if self.size is not None:
                raise UsageError("both size and short_side were given", allowed="one of the two")
        for side in self.size or ():
            _within("size", side, 2)
            if side % 2:
                raise UsageError(f"size {side} is odd", allowed="even numbers")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UsageError(f"fps {self.fps} is no frame rate", allowed="above 0, at most 1000")

    @property
    def may_copy(self) -> bool:
        """Whether coded frames can be taken as they are."""
        changed = self.short_side or self.size or self.fps or self.uniform
        return self.copy and self.pictures == "mp4" and not changed


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{what} {value!r} is unknown",
            allowed=", ".join(allowed),
            hint=nearest(value, allowed),
        )


def _within(what: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        raise UsageError(
            f"{what} {value} is out of range",
            allowed=f"{low} to {high}" if high is not None else f"{low} or more",
        )
