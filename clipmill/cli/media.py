"""The options of `export` that say how the files of clips look."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from curation.export.run import ClipExport
    from curation.export.settings import MediaSettings

__all__ = [
    "Audio", "Crf", "Encode", "Fps", "MediaOptions", "PictureKind", "Preset", "ShardMb",
    "ShardSamples", "Size", "Workers", "count_clips", "note_failures",
]  # fmt: skip

Size = Annotated[
    str | None,
    typer.Option(metavar="N|WxH", help="Shorter side at most N, or exactly WxH with black around."),
]
Fps = Annotated[
    str | None, typer.Option(metavar="RATE", help="An even frame rate: 16, 29.97, 30000/1001.")
]
PictureKind = Annotated[
    str | None, typer.Option("--pictures", metavar="jpg|png|mp4", help="What a clip becomes.")
]
Crf = Annotated[int | None, typer.Option(help="x264's quality: 0 lossless, 18 fine, 51 worst.")]
Preset = Annotated[str | None, typer.Option(help="x264's preset: ultrafast ... veryslow.")]
Encode = Annotated[bool, typer.Option("--encode", help="Never copy coded frames.")]
Audio = Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")]
ShardSamples = Annotated[int | None, typer.Option(help="Most clips in a shard.")]
ShardMb = Annotated[int | None, typer.Option(help="Megabytes that a shard should hold at most.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Files worked on at a time.")]


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """The options as they were given; None or False where they were not."""

    size: str | None = None
    fps: str | None = None
    pictures: str | None = None
    crf: int | None = None
    preset: str | None = None
    encode: bool = False
    no_audio: bool = False
    shard_samples: int | None = None
    shard_mb: int | None = None
    workers: int | None = None

    def given(self) -> list[str]:
        """The options that somebody gave, as they are written."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return [
            f"--{name.replace('_', '-')}" for name, value in values if value not in (None, False)
        ]

    def settings(self) -> MediaSettings:
        from curation.export.settings import MediaSettings

        chosen: dict[str, Any] = {
            "pictures": self.pictures,
            "crf": self.crf,
            "preset": self.preset,
            "shard_samples": self.shard_samples,
            "shard_bytes": self.shard_mb << 20 if self.shard_mb is not None else None,
            **_size(self.size),
        }
        if self.fps is not None:
            chosen["fps"] = _rate(self.fps)
        known = {name: value for name, value in chosen.items() if value is not None}
        return MediaSettings(copy=not self.encode, audio=not self.no_audio, **known)


def _size(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if text.isdecimal():
        return {"short_side": int(text)}
    if (sides := re.fullmatch(r"(\d+)x(\d+)", text)) is None:
        raise typer.BadParameter(f"{text!r} is neither N nor WxH", param_hint="--size")
    return {"size": (int(sides[1]), int(sides[2]))}


def _rate(text: str) -> Any:
    """29.97 and its kin mean the broadcast rates."""
    from fractions import Fraction

    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is no frame rate", param_hint="--fps") from None
    broadcast = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
    close = rate.denominator != 1 and abs(rate - broadcast) < Fraction(1, 100)
    return broadcast if close else rate


def count_clips(done: int, total: int) -> None:
    """Progress in one line, for people who watch."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done:,} of {total:,} clips", end=end, file=sys.stderr, flush=True)


def note_failures(done: ClipExport) -> None:
    """Name the clips that could not be made, and fail."""
    from clipmill.cli.output import note

    for failure in done.failures:
        note(
            f"failed: {failure.clip_id}: {failure.detail} [{failure.stage}, {failure.error_class}]"
        )
    if done.failures:
        raise typer.Exit(1)
