"""Copies of media that a curator has to recognise or survive: re-encodes, damage, disguises."""

from __future__ import annotations

from pathlib import Path

from catalogs.testing.video_truth import VideoTruth

__all__ = ["corrupt_bytes", "playlist_disguised", "render_copy", "truncate_file", "zero_byte"]


def render_copy(
    source: VideoTruth | str | Path,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    crf: int = 30,
    logo: bool = False,
    trim: tuple[int, int] | None = None,
    gray: bool = False,
) -> VideoTruth:
    """Re-encode a near duplicate: scaled, with a logo, cut to frames [start, end), or gray."""
    raise NotImplementedError


def truncate_file(source: str | Path, target: str | Path, share: float) -> Path:
    """Keep the first `share` of the bytes."""
    raise NotImplementedError


def zero_byte(path: str | Path) -> Path:
    """An empty file."""
    raise NotImplementedError


def corrupt_bytes(source: str | Path, target: str | Path, seed: int = 0) -> Path:
    """Overwrite a few hundred bytes of the payload, leaving the container readable."""
    raise NotImplementedError


def playlist_disguised(path: str | Path, target: str | Path) -> Path:
    """A playlist under a video's name that asks its reader to open `target` (a file or URL)."""
    raise NotImplementedError
