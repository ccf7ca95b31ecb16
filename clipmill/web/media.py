"""What plays a clip: its source as it is, or a small film of just the span.

Browsers decode few codecs. A source in one of these is served as it is, by range, and the page
holds to the span; of any other the span is copied or encoded into an MP4 file by the exporter, in a
guarded child with limits of time and memory. These films lie in a temporary folder that is bounded
and gone when the viewer ends: nothing is written beside the catalog.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from clipmill.web.answers import BusyError
from clipmill.web.clip_tokens import Wanted
from clipmill.web.decoded import Array, decode
from clipmill.web.guarded import first_instant
from clipmill.web.sources import FoundClip, SourceFiles
from curation.export.make import make_clip
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan
from curation.media.errors import MediaError
from curation.media.guard import GuardedWorker
from tokenize_jobs.read import read_windows

__all__ = ["Media", "Playable", "browser_plays"]

LONGEST_S = 120
"""Of a longer clip that has to be encoded, so much is shown from its start."""
MOST_BYTES = 1 << 30
"""Films that are kept at a time."""
WAITING = 4
"""Films, or decoded tokens, that may be asked for at once; more are refused."""
DECODER_MB, DECODER_S = 8192, 120
REMEMBERED = 4096

COPIED = MediaSettings(preset="veryfast", crf=23, gop=24, wall_s=60, memory_mb=2048)
ENCODED = replace(COPIED, uniform=True, short_side=720)

_CODECS = {
    "mov": frozenset({"h264", "vp9", "av1"}),
    "matroska": frozenset({"vp8", "vp9", "av1"}),
}
"""What browsers decode, by container; a Matroska file has to be a WebM file, too."""
_COPYABLE = frozenset({"h264", "vp9", "av1"})
_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_SOUND = frozenset({None, "aac", "mp3", "opus", "vorbis", "flac"})
_IMAGES = {"png_pipe": "image/png", "jpeg_pipe": "image/jpeg", "webp_pipe": "image/webp"}
_TYPES = {"mov": "video/mp4", "matroska": "video/webm"}
_HEAD_BYTES = 4096

How = Literal["source", "copy", "encode", "image"]


@dataclass(frozen=True, slots=True)
class Playable:
    """A file that plays a clip, and where in it the clip lies."""

    how: How
    """The source itself (`source`, `image`), or a film whose pictures were copied or encoded."""
    path: Path
    type: str
    start_s: float
    """On the clock of the browser, for which the file begins at 0."""
    end_s: float
    is_whole: bool
    """Whether the file holds the clip to its end."""
    source: Mapping[str, Any] | None
    """The source's record, where the file is the source; it has to be checked again."""


def browser_plays(source: Mapping[str, Any]) -> bool:
    """Whether a source's codec and pixels are those that browsers decode, by its record."""
    return (
        source["codec"] in _CODECS.get(source["container"], ())
        and source["pix_fmt"] in _PIXELS
        and source["audio_codec"] in _SOUND
    )


class Media:
    """The files that play the clips of one viewer; one for each viewer, shared by its threads."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="clipmill-viewer-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.files = SourceFiles(self._folder)
        self._known: OrderedDict[str, Playable] = OrderedDict()
        self._films: OrderedDict[Path, int] = OrderedDict()
        self._reader = GuardedWorker(memory_mb=1024)
        self._maker = _Workplace(COPIED.memory_mb)
        self._decoder = _Workplace(DECODER_MB)
        self._writing = threading.Lock()

    def playable(self, clip_id: str, find: Callable[[], FoundClip]) -> Playable:
        """What plays a clip; made if need be. Raises `MediaError` when the source is not there."""
        known = self._known.get(clip_id)
        if known is not None and self._still_there(known):
            return known
        found = find()
        path = self.files.path(found.source)
        if found.source["kind"] == "image" and found.source["container"] in _IMAGES:
            playable = _image(found, path)
        elif browser_plays(found.source) and _is_webm_or_mp4(found.source, path):
            playable = self._as_it_is(found, path)
        else:
            playable = self._film(found, path)
        with self._writing:
            self._known[clip_id] = playable
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return playable

    def _still_there(self, known: Playable) -> bool:
        if known.source is None:
            return known.path.is_file()
        try:
            return self.files.path(known.source) == known.path
        except MediaError:
            return False

    def _as_it_is(self, found: FoundClip, path: Path) -> Playable:
        first_s = self._reader.call(first_instant, str(path), wall_s=30)
        tick = _tick(found.clip)
        start, end = (float(found.clip[name] * tick - first_s) for name in ("start_pts", "end_pts"))
        kind = _TYPES[found.source["container"]]
        return Playable("source", path, kind, start, end, True, found.source)

    def _film(self, found: FoundClip, path: Path) -> Playable:
        span, is_whole = _shown_span(found)
        film = self._folder / f"{span.clip_id}.mp4"
        copyable = found.source["codec"] in _COPYABLE and found.source["pix_fmt"] in _PIXELS
        settings = COPIED if copyable and is_whole else ENCODED
        with self._maker.entered() as worker:
            made = worker.call(
                make_clip, str(path), span, str(self._folder), settings, wall_s=settings.wall_s
            )
        self._keep(film)
        how: How = "copy" if made.how == "copy" else "encode"
        return Playable(how, film, "video/mp4", 0.0, float(span.duration_s), is_whole, None)

    def _keep(self, film: Path) -> None:
        """Note a film, and drop those that were made first when all take too much room."""
        with self._writing:
            self._films.pop(film, None)
            self._films[film] = film.stat().st_size
            while sum(self._films.values()) > MOST_BYTES and len(self._films) > 1:
                self._films.popitem(last=False)[0].unlink(missing_ok=True)

    def decoded(self, found: FoundClip, want: Wanted) -> tuple[Array, Array, float]:
        """What a window of tokens was made of, what it decodes to, and the error of that."""
        original = want.values if want.values is not None else self._frames(found, want)
        with self._decoder.entered() as worker:
            back, error = worker.call(
                decode,
                want.model,
                want.window.row["spec_hash"],
                want.window.streams,
                original,
                want.transform,
                wall_s=DECODER_S,
            )
        return original, back, error

    def _frames(self, found: FoundClip, want: Wanted) -> Array:
        """The frames of a window of video, read again."""
        source = found.source
        path = self.files.path(source)
        size = source["height"], source["width"]
        frame_ticks = float(1 / (source["fps"] * _tick(found.clip)))
        with self._maker.entered() as worker:
            windows = [want.pts]
            read = worker.stream(
                read_windows, str(path), windows, want.transform, size, frame_ticks, wall_s=60
            )
            ((_, frames),) = read
        return frames


class _Workplace:
    """A guarded child for one task at a time, with few places to wait for it."""

    def __init__(self, memory_mb: int):
        self._worker = GuardedWorker(memory_mb=memory_mb)
        self._room = threading.BoundedSemaphore(WAITING)
        self._busy = threading.Lock()

    @contextmanager
    def entered(self) -> Iterator[GuardedWorker]:
        if not self._room.acquire(blocking=False):
            raise BusyError(
                "too many clips are being made ready at once", hint="try again in a moment"
            )
        try:
            with self._busy:
                yield self._worker
        finally:
            self._room.release()


def _image(found: FoundClip, path: Path) -> Playable:
    kind = _IMAGES[found.source["container"]]
    return Playable("image", path, kind, 0.0, float(found.clip["duration_s"]), True, found.source)


def _is_webm_or_mp4(source: Mapping[str, Any], path: Path) -> bool:
    if source["container"] != "matroska":
        return True
    with path.open("rb") as file:
        return b"webm" in file.read(_HEAD_BYTES)


def _tick(clip: Mapping[str, Any]) -> Fraction:
    return Fraction(clip["time_base_num"], clip["time_base_den"])


def _shown_span(found: FoundClip) -> tuple[ClipSpan, bool]:
    """What is made of a clip, and whether that is all of it."""
    clip, source = found.clip, found.source
    tick = _tick(clip)
    end = min(clip["end_pts"], clip["start_pts"] + int(LONGEST_S / tick))
    is_whole = end == clip["end_pts"]
    span = ClipSpan(
        clip_id=clip["clip_id"],
        split="",
        kind=clip["kind"],
        source_id=clip["source_id"],
        uri=source["uri"],
        sha256=source["sha256"] or "",
        start_pts=clip["start_pts"],
        end_pts=end,
        time_base=tick,
        frames=clip["frames"] if is_whole else None,
        estimated_bytes=0.0,
    )
    return span, is_whole
