"""Much media for little work: hour-long files and folders of ten thousand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from catalogs.testing.video_truth import VideoTruth

__all__ = ["render_long_video", "render_many"]


def render_long_video(
    path: str | Path,
    minutes: float,
    *,
    size: tuple[int, int] = (160, 90),
    fps: Fraction = Fraction(10),
    seed: int = 0,
) -> VideoTruth:
    """A long file from one encoded minute whose packets are written again and again."""
    raise NotImplementedError


def render_many(folder: str | Path, count: int, *, seed: int = 0) -> list[Path]:
    """`count` tiny videos, each with bytes of its own."""
    raise NotImplementedError
