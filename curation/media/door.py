"""The one place where FFmpeg opens a file.

Files come in as Python file objects, so FFmpeg sees neither a name to interpret (`%03d`, colons
and leading dashes are harmless, bytes that are not UTF-8 too) nor a protocol to speak. The
demuxer is fixed by `sniff`, nested opens (playlists, external tracks) are refused, and both
white-lists are set for demuxers that open others inside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from curation.media.errors import MediaError
from curation.media.sniff import HEAD_BYTES, sniff

__all__ = ["OpenedVideo", "PathInput", "decoder_words", "open_video", "shown_path", "sniff_file"]

PathInput = str | bytes | os.PathLike[str]

_IO_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class OpenedVideo:
    """An open container and the video stream that stands for it."""

    demuxer: str
    container: Any
    stream: Any
    """The first video stream that is not an attached picture (an `av` VideoStream)."""
    video_streams: int
    """How many video streams the file offers, attached pictures apart."""


def sniff_file(path: PathInput) -> str:
    """Name the demuxer of the file at `path`."""
    with _regular_file(path) as file:
        return sniff(file.read(HEAD_BYTES))


@contextmanager
def open_video(path: PathInput) -> Iterator[OpenedVideo]:
    """Open a file for demuxing and decoding; raises `MediaError` when it holds no video."""
    import av

    av.logging.set_level(None)
    with _regular_file(path) as file:
        try:
            demuxer = sniff(file.read(HEAD_BYTES))
            file.seek(0)
            container = _open_container(file, demuxer)
        except MediaError as error:
            raise error.located(shown_path(path)) from error
        with container:
            yield _with_stream(container, demuxer, path)


def decoder_words(error: BaseException) -> str:
    """The decoder's own words, without file names or numbers."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def shown_path(path: PathInput) -> str:
    """A path as printable text, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def _regular_file(path: PathInput) -> Iterator[BinaryIO]:
    """Open a regular file; a FIFO or device would block for ever."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise MediaError("open", "unreadable", "not a regular file", source=shown_path(path))
        file = open(path, "rb", buffering=0)  # noqa: SIM115 closed by the `with` below
    except FileNotFoundError as error:
        raise MediaError("open", "missing", "no such file", source=shown_path(path)) from error
    except OSError as error:
        words = decoder_words(error)
        raise MediaError("open", "unreadable", words, source=shown_path(path)) from error
    with file:
        yield file


def _refuse_nested_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"a media file asked to open {url!r}")


def _open_container(file: BinaryIO, demuxer: str) -> Any:
    import av

    try:
        return av.open(
            file,
            mode="r",
            format=demuxer,
            buffer_size=_IO_BUFFER_BYTES,
            io_open=_refuse_nested_open,
            metadata_errors="replace",
            container_options={"format_whitelist": demuxer, "protocol_whitelist": "none"},
        )
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        words = f"{demuxer} demuxer: {decoder_words(error)}"
        raise MediaError("open", "bad_container", words) from error


def _with_stream(container: Any, demuxer: str, path: PathInput) -> OpenedVideo:
    from av.stream import Disposition

    pictures = Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & pictures]
    if not streams:
        kind = "audio_only" if container.streams.audio else "no_video"
        held = ", ".join(s.type for s in container.streams) or "none"
        detail = f"no video stream (streams: {held})"
        raise MediaError("open", kind, detail, source=shown_path(path))  # type: ignore[arg-type]
    stream = streams[0]
    if stream.codec_context is None:
        raise MediaError("open", "no_decoder", "no decoder for this codec", source=shown_path(path))
    return OpenedVideo(demuxer, container, stream, len(streams))
