"""decord as a second opinion: sequential passes only, over files that it reads right.

decord has not been maintained since 2022. It shows frames that edit lists hide, picks its own
video stream, gives time as 32-bit seconds, follows playlists and can hang. So it only sees files
that `open_video` has accepted and that have none of these traits; timestamps come from the
packets; a wrong number of frames is an error; and callers run it inside the guard.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.media.door import PathInput, shown_path
from curation.media.errors import MediaError
from curation.media.frames import FrameBatch, PixelFormat
from curation.media.geometry import Geometry
from curation.media.packets import count_gaps
from curation.media.probe import scan
from curation.media.reader import BatchReader
from curation.media.sniff import HEAD_BYTES, looks_like_playlist

__all__ = ["DecordReader", "decord_installed"]

_CONTAINERS = ("mov", "matroska")


def decord_installed() -> bool:
    """Whether decord can be imported here (it has wheels for x86-64 Linux only)."""
    return importlib.util.find_spec("decord") is not None


class DecordReader(BatchReader):
    """Batches of frames that decord decodes from the start of the source on.

    Only what lies in `[start_pts, end_pts)` is delivered; codec motion vectors never are.
    """

    def __init__(
        self,
        path: PathInput,
        *,
        short_side: int | None,
        pixel_format: PixelFormat,
        start_pts: int | None,
        end_pts: int | None,
        batch_frames: int,
    ):
        super().__init__()
        self._path = path
        self._pts, self._keyframe, geometry = _fit_for_decord(path)
        self._first, self._end = _index_range(self._pts, start_pts, end_pts)
        even = short_side is not None or pixel_format == "yuv420p"
        self._size = geometry.fit(short_side, even)
        self._convert = _from_rgb(pixel_format)
        self._batch_frames = batch_frames

    def _read(self) -> Generator[FrameBatch, None, None]:
        reader = self._opened()
        health = self.health
        health.expected_frames = self._end - self._first
        for _ in range(self._first):
            self._next_frame(reader)
        for start in range(self._first, self._end, self._batch_frames):
            end = min(start + self._batch_frames, self._end)
            images = np.stack([self._convert(self._next_frame(reader)) for _ in range(start, end)])
            health.frames += end - start
            yield FrameBatch(self._pts[start:end], images, self._keyframe[start:end])
        health.missing_frames = count_gaps(self._pts[self._first : self._end])

    def _opened(self) -> Any:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        width, height = self._size
        try:
            reader = decord.VideoReader(
                os.path.abspath(os.fsdecode(self._path)), width=width, height=height, num_threads=1
            )
        except (RuntimeError, AssertionError, decord.DECORDError) as error:
            raise self._error("undecodable", _last_words(error)) from error
        if len(reader) != len(self._pts):
            detail = f"decord counts {len(reader)} frames, the packets {len(self._pts)}"
            raise self._error("mismatch", detail)
        return reader

    def _next_frame(self, reader: Any) -> Any:
        import decord

        width, height = self._size
        try:
            image = reader.next().asnumpy()
        except StopIteration as error:
            detail = f"decord stopped after {self.health.decoded_frames} frames"
            raise self._error("undecodable", detail) from error
        except (RuntimeError, decord.DECORDError) as error:
            raise self._error("undecodable", _last_words(error)) from error
        if image.shape != (height, width, 3):
            raise self._error("undecodable", f"decord made a picture of shape {image.shape}")
        self.health.decoded_frames += 1
        return image

    def _error(self, error_class: Any, detail: str) -> MediaError:
        return MediaError("decode", error_class, detail, source=shown_path(self._path))


def _index_range(
    pts: NDArray[np.int64], start_pts: int | None, end_pts: int | None
) -> tuple[int, int]:
    first = 0 if start_pts is None else int(np.searchsorted(pts, start_pts))
    end = len(pts) if end_pts is None else int(np.searchsorted(pts, end_pts))
    return first, max(first, end)


def _from_rgb(pixel_format: PixelFormat) -> Callable[[NDArray[np.uint8]], Any]:
    import cv2

    codes = {"gray": cv2.COLOR_RGB2GRAY, "yuv420p": cv2.COLOR_RGB2YUV_I420}
    code = codes.get(pixel_format)
    return (lambda image: image) if code is None else (lambda image: cv2.cvtColor(image, code))


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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
        "a file name that is not UTF-8": not _is_utf8(os.fsencode(path)),
    }
    unfit = [reason for reason, holds in reasons.items() if holds]
    if unfit:
        detail = f"decord is not trusted with {', '.join(unfit)}"
        raise MediaError("open", "backend_unfit", detail, source=shown_path(path))
    return found.index.pts, found.index.keyframe, found.geometry
