"""decord as a second opinion: sequential passes only, over files that it reads right.

decord has not been maintained since 2022. It shows frames that edit lists hide, picks its own
video stream, gives time as 32-bit seconds, follows playlists and can hang. So it only sees files
that `open_video` has accepted and that have none of these traits; timestamps come from the
packets; a wrong number of frames is an error; and callers run it inside the guard.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from curation.media.door import PathInput, shown_path
from curation.media.errors import MediaError
from curation.media.frames import FrameBatch
from curation.media.geometry import Geometry
from curation.media.health import DecodeHealth
from curation.media.packets import count_gaps
from curation.media.probe import scan
from curation.media.sniff import HEAD_BYTES, looks_like_playlist

__all__ = ["DecordReader", "decord_installed"]

_CONTAINERS = ("mov", "matroska")


def decord_installed() -> bool:
    """Whether decord can be imported here (it has wheels for x86-64 Linux only)."""
    return importlib.util.find_spec("decord") is not None


class DecordReader(Iterator[FrameBatch]):
    """Batches of rgb24 frames of a whole source, decoded by decord."""

    def __init__(self, path: PathInput, *, short_side: int | None, batch_frames: int):
        self.health = DecodeHealth()
        self._path = path
        self._pts, self._keyframe, geometry = _fit_for_decord(path)
        self._size = geometry.fit(short_side, even=short_side is not None)
        self._batch_frames = batch_frames
        self._batches = self._read()

    def __next__(self) -> FrameBatch:
        return next(self._batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file before the end of the pass."""
        self._batches.close()

    def _read(self) -> Any:
        reader = self._opened()
        self.health.expected_frames = len(self._pts)
        for start in range(0, len(self._pts), self._batch_frames):
            pts = self._pts[start : start + self._batch_frames]
            images = np.stack([self._next_frame(reader) for _ in pts])
            self.health.frames += len(pts)
            self.health.decoded_frames += len(pts)
            yield FrameBatch(pts, images, self._keyframe[start : start + self._batch_frames])
        self.health.missing_frames = count_gaps(self._pts)

    def _opened(self) -> Any:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        width, height = self._size
        try:
            reader = decord.VideoReader(
                shown_path(self._path), width=width, height=height, num_threads=1
            )
        except (RuntimeError, AssertionError, decord.DECORDError) as error:
            raise self._error("undecodable", _last_words(error)) from error
        if len(reader) != len(self._pts):
            detail = f"decord counts {len(reader)} frames, the packets {len(self._pts)}"
            raise self._error("mismatch", detail)
        return reader

    def _next_frame(self, reader: Any) -> Any:
        import decord

        try:
            return reader.next().asnumpy()
        except StopIteration as error:
            detail = f"decord stopped after {self.health.frames} frames"
            raise self._error("undecodable", detail) from error
        except (RuntimeError, decord.DECORDError) as error:
            raise self._error("undecodable", _last_words(error)) from error

    def _error(self, error_class: Any, detail: str) -> MediaError:
        return MediaError("decode", error_class, detail, source=shown_path(self._path))


def _last_words(error: Exception) -> str:
    """The innermost of decord's nested messages, without its build machine's paths."""
    line = next((line for line in str(error).splitlines() if line.strip()), "decord failed")
    return line.rsplit("] ", 1)[-1].rsplit(".cc:", 1)[-1].split(": ", 1)[-1].strip()


def _fit_for_decord(path: PathInput) -> tuple[Any, Any, Geometry]:
    """Timestamps, keyframes and geometry of a file that decord reads as PyAV does."""
    if not decord_installed():
        raise MediaError("open", "backend_unfit", "decord is not installed")
    found = scan(path)
    with open(path, "rb") as file:
        hides_playlist = looks_like_playlist(file.read(HEAD_BYTES))
    reasons = {
        f"the {found.demuxer} container": found.demuxer not in _CONTAINERS,
        "text of a playlist in its head": hides_playlist,
        "several video streams": found.video_streams > 1,
        "frames that an edit list hides": bool(found.index.discarded),
        "packets without timestamps": bool(found.index.untimed),
        "two frames at one instant": bool((np.diff(found.index.pts) <= 0).any()),
        "a file name that is not UTF-8": "\\x" in shown_path(path),
    }
    unfit = [reason for reason, holds in reasons.items() if holds]
    if unfit:
        detail = f"decord is not trusted with {', '.join(unfit)}"
        raise MediaError("open", "backend_unfit", detail, source=shown_path(path))
    return found.index.pts, found.index.keyframe, found.geometry
