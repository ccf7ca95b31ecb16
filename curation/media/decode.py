"""Reading frames: a whole source in one sequential pass, or single frames by exact timestamp.

    with read_sequential("a.mp4", short_side=144, pixel_format="yuv420p") as reader:
        for batch in reader:
            measure(batch.pts, batch.images)
    print(reader.health)

PyAV reads by default. decord is the second opinion: it serves sequential passes over files that
it is known to read right (see `decord_backend`). docs/media.md holds the measurements.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError
from curation.media.decord_backend import DecordReader
from curation.media.door import PathInput, open_video, shown_path
from curation.media.errors import MediaError
from curation.media.frames import FrameBatch, FrameConverter, Interpolation, PixelFormat, batch_of
from curation.media.geometry import geometry_of
from curation.media.packets import count_gaps
from curation.media.reader import BatchReader
from curation.media.stream import LoopFilter, StreamDecoder

__all__ = ["Backend", "read_exact", "read_sequential"]

Backend = Literal["av", "decord"]

_BATCH_FRAMES = 64
_RESEEK_S = 3
"""Seconds between two asked frames beyond which a seek beats decoding through."""


class SequentialReader(BatchReader):
    """Batches that PyAV decodes, from a verified start."""

    def __init__(
        self,
        path: PathInput,
        *,
        short_side: int | None,
        pixel_format: PixelFormat,
        start_pts: int | None,
        end_pts: int | None,
        skip_loop_filter: LoopFilter,
        interpolation: Interpolation,
        motion_vectors: bool,
        batch_frames: int,
    ):
        if batch_frames < 1:
            raise UsageError(f"batch_frames {batch_frames} is not positive", allowed="1 or more")
        super().__init__()
        self._path = path
        self._shape = (pixel_format, short_side, interpolation)
        self._range = (start_pts, end_pts)
        self._skip_loop_filter: LoopFilter = skip_loop_filter
        self._motion_vectors = motion_vectors
        self._batch_frames = batch_frames
        self._delivered = array("q")

    def _read(self) -> Generator[FrameBatch, None, None]:
        convert: FrameConverter | None = None
        held: list[tuple[int, NDArray[np.uint8], bool, Any]] = []
        for stream, pts, frame in self._frames():
            if convert is None:
                convert = FrameConverter(geometry_of(stream, frame), *self._shape)
            held.append((pts, convert(frame), frame.key_frame, self._vectors(frame)))
            self._count(pts, frame)
            if len(held) == self._batch_frames:
                yield batch_of(held, self._motion_vectors)
                held.clear()
        if held:
            yield batch_of(held, self._motion_vectors)
        self.health.missing_frames = count_gaps(np.frombuffer(self._delivered, np.int64))
        if convert is None and self.health.expected_frames:
            detail = f"none of {self.health.expected_frames} frames decodes"
            raise MediaError("decode", "undecodable", detail, source=shown_path(self._path))

    def _count(self, pts: int, frame: Any) -> None:
        self.health.frames += 1
        self.health.corrupt_frames += frame.is_corrupt
        self._delivered.append(pts)

    def _vectors(self, frame: Any) -> Any:
        if not self._motion_vectors:
            return None
        vectors = frame.side_data.get("MOTION_VECTORS")
        return None if vectors is None else vectors.to_ndarray()

    def _frames(self) -> Iterator[tuple[Any, int, Any]]:
        """Yield `(stream, pts, frame)` of the asked range."""
        start_pts, end_pts = self._range
        decoders = _decoders_at(self._path, start_pts, self._skip_loop_filter, self._motion_vectors)
        with closing(decoders):
            for decoder in decoders:
                self.health = decoder.health
                frames = decoder.frames(start_pts, end_pts)
                first = next(frames, None)
                if _landed_late(decoder, first, start_pts):
                    continue
                for pts, frame in chain([first] if first else [], frames):
                    if end_pts is not None and pts >= end_pts:
                        return
                    if start_pts is None or pts >= start_pts:
                        yield decoder.video.stream, pts, frame
                return


def read_sequential(
    path: PathInput,
    *,
    short_side: int | None = None,
    pixel_format: PixelFormat = "rgb24",
    start_pts: int | None = None,
    end_pts: int | None = None,
    backend: Backend = "av",
    skip_loop_filter: LoopFilter = "none",
    interpolation: Interpolation = "area",
    motion_vectors: bool = False,
    batch_frames: int = _BATCH_FRAMES,
) -> BatchReader:
    """Read the frames in `[start_pts, end_pts)` once, in order, in batches.

    Pictures come as displayed: upright, square pixels, the shorter side at most `short_side`.
    `skip_loop_filter` trades exactness for speed: "bidir" stays within a grey level, "nokey"
    drifts by one or two between keyframes and saves a fifth of the decoding time. decord knows
    neither that, nor `interpolation`, nor `motion_vectors`, and always starts at the beginning.
    """
    if backend == "decord":
        return DecordReader(
            path,
            short_side=short_side,
            pixel_format=pixel_format,
            start_pts=start_pts,
            end_pts=end_pts,
            batch_frames=batch_frames,
        )
    return SequentialReader(
        path,
        short_side=short_side,
        pixel_format=pixel_format,
        start_pts=start_pts,
        end_pts=end_pts,
        skip_loop_filter=skip_loop_filter,
        interpolation=interpolation,
        motion_vectors=motion_vectors,
        batch_frames=batch_frames,
    )


def read_exact(
    path: PathInput,
    pts: Iterable[int],
    *,
    short_side: int | None = None,
    pixel_format: PixelFormat = "rgb24",
    interpolation: Interpolation = "area",
) -> FrameBatch:
    """Read the frames shown exactly at `pts`, ascending.

    Every frame is checked to carry the timestamp that was asked for. What a seek does not give
    is decoded from the start of the file; what that does not give either is a `MediaError`.
    """
    wanted = sorted({int(asked) for asked in pts})
    if not wanted:
        raise UsageError("no timestamps were asked for", allowed="at least one pts")
    found: dict[int, tuple[int, NDArray[np.uint8], bool, Any]] = {}
    shape = (pixel_format, short_side, interpolation)
    with open_video(path) as video:
        decoder = StreamDecoder(video)
        reseek_ticks = round(_RESEEK_S / video.stream.time_base)
        for run in _runs(wanted, reseek_ticks):
            if decoder.seek(run[0]):
                _collect(decoder, run, shape, found)
    missing = [asked for asked in wanted if asked not in found]
    if missing:
        with open_video(path) as video:
            _collect(StreamDecoder(video), missing, shape, found)
    absent = [asked for asked in missing if asked not in found]
    if absent:
        shown = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        detail = f"{len(absent)} of {len(wanted)} frames are not in the stream: pts {shown}"
        raise MediaError("seek", "frame_missing", detail, source=shown_path(path))
    return batch_of([found[asked] for asked in wanted], vectors=False)


def _runs(wanted: Sequence[int], reseek_ticks: int) -> Iterator[list[int]]:
    """Split ascending timestamps where a seek beats decoding through."""
    run = [wanted[0]]
    for pts in wanted[1:]:
        if pts - run[-1] > reseek_ticks:
            yield run
            run = []
        run.append(pts)
    yield run


def _collect(
    decoder: StreamDecoder,
    wanted: Sequence[int],
    shape: tuple[PixelFormat, int | None, Interpolation],
    found: dict[int, tuple[int, NDArray[np.uint8], bool, Any]],
) -> None:
    """Decode on from the current position until all wanted frames have passed."""
    asked = set(wanted)
    convert: FrameConverter | None = None
    for pts, frame in decoder.frames():
        if pts in asked:
            convert = convert or FrameConverter(geometry_of(decoder.video.stream, frame), *shape)
            found[pts] = (pts, convert(frame), frame.key_frame, None)
        if pts >= wanted[-1]:
            return


def _decoders_at(
    path: PathInput, start_pts: int | None, skip_loop_filter: LoopFilter, motion_vectors: bool
) -> Generator[StreamDecoder, None, None]:
    """A decoder that a seek brought to `start_pts`, then one at the start of the file."""
    if start_pts is not None:
        with open_video(path) as video:
            decoder = StreamDecoder(video, skip_loop_filter, motion_vectors)
            if decoder.seek(start_pts):
                yield decoder
    with open_video(path) as video:
        yield StreamDecoder(video, skip_loop_filter, motion_vectors)


def _landed_late(
    decoder: StreamDecoder, first: tuple[int, Any] | None, start_pts: int | None
) -> bool:
    """Whether a seek skipped frames: the keyframe at or before the start did not come out."""
    if not decoder.sought or start_pts is None:
        return False
    return first is None or first[0] > start_pts
