"""Rendering of short videos whose every frame is known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

from catalogs.testing.video_truth import Shot, VideoTruth

__all__ = ["render_video"]


def render_video(
    path: str | Path,
    shots: Sequence[Shot],
    *,
    size: tuple[int, int] = (320, 180),
    fps: Fraction = Fraction(24),
    codec: str = "libx264",
    gop: int = 48,
    seed: int = 0,
    rotate_deg: int = 0,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 90000),
    audio: Literal["tone", "silence"] | None = None,
) -> VideoTruth:
    """Render `shots` one after another; the container follows the suffix of `path`.

    Args:
        path: .mp4, .mov, .mkv, .webm or .avi.
        shots: what to show.
        size: width and height as displayed.
        fps: constant frame rate, unless `pts` is given.
        codec: an encoder of PyAV's FFmpeg.
        gop: most frames between keyframes.
        seed: added to the seed of every shot.
        rotate_deg: 0, 90, 180 or 270: store the picture turned and say so in the metadata.
        pts: presentation time of every frame in ticks of `time_base` (variable frame rate).
        time_base: the tick of `pts`.
        audio: a soundtrack of that kind.
    """
    raise NotImplementedError
