"""The one decode pass over a video: probe, signals, storyboard, sound. Runs in a guarded child.

Every frame is decoded once. The planes of 8-bit 4:2:0 frames, which is nearly all footage, are
measured where the decoder left them, without a copy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.jobs.job import Chunk
from curation.jobs.settings import MillSettings, Storyboard
from curation.jobs.sound import sound_levels
from curation.media.decode import Backend, read_sequential
from curation.media.door import open_video
from curation.media.errors import MediaError
from curation.media.frames import FrameConverter
from curation.media.geometry import Geometry, geometry_of
from curation.media.health import DecodeHealth
from curation.media.probe import SourceProbe, probe_packets
from curation.media.stream import LoopFilter, StreamDecoder, demuxed
from curation.media.studio import Plane, Planes, StudioPlanes
from curation.operators import StoryFrame
from curation.signals import TransNet, VideoMeter, VideoSignals, load_transnet

__all__ = ["MeasuredVideo", "chunks_of", "measure_video", "measure_whole", "warm_up"]

KEPT_BYTES = 64 << 20
"""Streams up to this size are read once: their packets stay from the probe for the pass."""

WHOLE_S = 1e9
"""A length of chunks that no source reaches."""

LOOP_FILTER: LoopFilter = "nokey"
"""The loop filter smooths block borders, which small frames do not show; leaving it out between key
frames saves a quarter of the decoding time."""


@dataclass(slots=True)
class MeasuredVideo:
    """What one pass over a source, or a chunk of it, gave."""

    probe: SourceProbe
    chunk: Chunk
    signals: VideoSignals
    story: list[StoryFrame]
    story_size: tuple[int, int]
    audio_db: NDArray[np.float32]
    health: DecodeHealth
    seconds: dict[str, float] = field(default_factory=dict)


def chunks_of(found: SourceProbe, length_s: float) -> list[Chunk]:
    """A long source in stretches that begin at keyframes; a short one as a single stretch."""
    step = Fraction(length_s) / found.time_base
    starts = [found.start_pts]
    for pts in found.keyframe_pts:
        if pts - starts[-1] >= step and found.end_pts - pts >= step / 2:
            starts.append(pts)
    ends: list[int | None] = [*starts[1:], None]
    known = replace(found, keyframe_pts=()) if len(starts) > 1 else None
    return [
        Chunk(index, len(starts), start, end, known)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def warm_up() -> None:
    """Load the libraries of a pass; those of this module are loaded by asking for it."""
    import av
    import av.audio.resampler  # noqa: F401


def measure_video(
    path: str, settings: MillSettings, chunk: Chunk | None, backend: Backend
) -> MeasuredVideo | list[Chunk]:
    """Measure a source, or say in which chunks it should be measured."""
    cv2.setNumThreads(1)
    clock = [time.perf_counter()]
    health = DecodeHealth()
    with ExitStack() as opened:
        packets: list[Any] = []
        if chunk is not None and chunk.probe is not None:
            found = chunk.probe
        else:
            video = opened.enter_context(open_video(path))
            decoder = StreamDecoder(video, skip_loop_filter=LOOP_FILTER, health=health)
            found, packets = _probed(path, decoder, settings.limits.chunk_s)
        clock.append(time.perf_counter())
        if chunk is None:
            # The network looks both ways in time, so it needs a source in one piece.
            whole = WHOLE_S if settings.needs_network else settings.limits.chunk_s
            chunks = chunks_of(found, whole)
            if len(chunks) > 1:
                return chunks
            chunk = chunks[0]
        if backend == "av" and packets:
            decoder.replay(packets)
            pictures = _av_pictures(decoder, chunk)
        else:
            pictures = _reopened(path, chunk, backend, health)
        turn = found.rotation_deg if backend == "av" else 0
        measured = _measure(found, chunk, settings, pictures, turn, health)
    clock.append(time.perf_counter())
    if found.audio is not None and chunk.index == 0:
        measured.audio_db = sound_levels(path)
    clock.append(time.perf_counter())
    stages = ("probe", "measure", "sound")
    measured.seconds = dict(zip(stages, np.diff(clock).tolist(), strict=True))
    return measured


def measure_whole(path: str, settings: MillSettings) -> MeasuredVideo:
    """Measure a source in one piece, here and now: for trying things out, not for corpora."""
    limits = replace(settings.limits, chunk_s=WHOLE_S)
    measured = measure_video(path, replace(settings, limits=limits), None, "av")
    assert isinstance(measured, MeasuredVideo)
    return measured


@cache
def _network() -> Any:
    return load_transnet()


def _probed(path: str, decoder: StreamDecoder, chunk_s: float) -> tuple[SourceProbe, list[Any]]:
    """What the file is, and its packets when they are few enough to keep."""
    kept: list[Any] = []
    longest = round(Fraction(chunk_s) * 2 / decoder.video.stream.time_base)
    packets = _keeping(demuxed(decoder.video, decoder.health), kept, longest)
    return probe_packets(decoder.video, path, packets), kept


def _keeping(packets: Iterator[Any], kept: list[Any], longest: int) -> Iterator[Any]:
    """Pass packets on and keep them, unless they are too large or span more than `longest`."""
    size, first = 0, None
    for packet in packets:
        yield packet
        size += packet.size
        first = packet.pts if first is None else first
        too_long = packet.pts is not None and packet.pts - first > longest
        if size > KEPT_BYTES or too_long:
            kept.clear()
            yield from packets
            return
        kept.append(packet)


def _measure(
    found: SourceProbe,
    chunk: Chunk,
    settings: MillSettings,
    pictures: Iterator[Picture],
    turn_deg: int,
    health: DecodeHealth,
) -> MeasuredVideo:
    meter = VideoMeter(
        found.width,
        found.height,
        found.time_base,
        turn_deg=turn_deg,
        edges=settings.needs_edges,
        network=TransNet(_network()) if settings.needs_network else None,
    )
    story = _StoryTaker(found, settings.storyboard)
    before: Picture | None = None
    lead_in = 0
    for picture in pictures:
        if chunk.end_pts is not None and picture.pts >= chunk.end_pts:
            break
        if picture.pts < chunk.start_pts and chunk.index:
            before = picture
            continue
        if before is not None:
            meter.add_planes(before.pts, *before.planes())
            story.look(before)
            story.pictures.clear()
            before, lead_in = None, 1
        meter.add_planes(picture.pts, *picture.planes())
        story.look(picture)
        health.frames += 1
    if not health.frames:
        raise MediaError("decode", "undecodable", "no frame decodes")
    is_last = chunk.index == chunk.of - 1
    return MeasuredVideo(
        found,
        chunk,
        meter.finish(skip=lead_in, end_pts=found.end_pts if is_last else chunk.end_pts),
        story.pictures,
        story.size,
        np.zeros(0, np.float32),
        health,
    )


class Picture(Protocol):
    """One decoded frame, whichever backend it came from."""

    pts: int

    def planes(self) -> Planes:
        """8-bit Y, U and V, before the sample aspect is applied."""

    def small_rgb(self, short_side: int) -> Plane:
        """(height, width, 3) as displayed, for the storyboard."""


def _reopened(path: str, chunk: Chunk, backend: Backend, health: DecodeHealth) -> Iterator[Picture]:
    """Pictures of a file that is read again: a long one, or by the other backend."""
    if backend == "av":
        with open_video(path) as video:
            decoder = StreamDecoder(video, skip_loop_filter=LOOP_FILTER, health=health)
            if chunk.index and not decoder.seek(chunk.start_pts - 1):
                video.container.seek(0, stream=video.stream)
            yield from _av_pictures(decoder, chunk)
        return
    with read_sequential(path, pixel_format="yuv420p", backend=backend) as reader:
        for batch in reader:
            health.decoded_frames += len(batch)
            for pts, image in zip(batch.pts.tolist(), batch.images, strict=True):
                yield _PackedPicture(pts, image)


def _av_pictures(decoder: StreamDecoder, chunk: Chunk) -> Iterator[Picture]:
    maker: _AvPictureMaker | None = None
    for pts, frame in decoder.frames(chunk.start_pts if chunk.index else None, chunk.end_pts):
        maker = maker or _AvPictureMaker(geometry_of(decoder.video.stream, frame))
        decoder.health.corrupt_frames += bool(frame.is_corrupt)
        yield _AvPicture(pts, frame, maker)


class _AvPictureMaker:
    """What the pictures of one stream share: geometry and scalers."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.planes = StudioPlanes()
        self._small: FrameConverter | None = None

    def small(self, frame: Any, short_side: int) -> Plane:
        if self._small is None:
            self._small = FrameConverter(self.geometry, "rgb24", short_side, "area")
        return self._small(frame)


@dataclass(slots=True)
class _AvPicture:
    pts: int
    frame: Any
    maker: _AvPictureMaker

    def planes(self) -> Planes:
        return self.maker.planes(self.frame)

    def small_rgb(self, short_side: int) -> Plane:
        return self.maker.small(self.frame, short_side)


@dataclass(slots=True)
class _PackedPicture:
    """A picture as I420, already as displayed."""

    pts: int
    image: Plane

    def planes(self) -> Planes:
        height, width = self.image.shape[0] * 2 // 3, self.image.shape[1]
        blue, red = self.image[height:].reshape(2, height // 2, width // 2)
        return Planes(self.image[:height], blue, red)

    def small_rgb(self, short_side: int) -> Plane:
        rgb = cv2.cvtColor(self.image, cv2.COLOR_YUV2RGB_I420)
        scale = min(1.0, short_side / min(rgb.shape[:2]))
        size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


class _StoryTaker:
    """Keeps the first picture of every stretch of time."""

    def __init__(self, found: SourceProbe, storyboard: Storyboard):
        per_tick = Fraction(storyboard.per_s) * found.time_base
        self._per_ticks, self._ticks = per_tick.numerator, per_tick.denominator
        self._storyboard = storyboard
        self._stretch: int | None = None
        self.pictures: list[StoryFrame] = []
        self.size = (0, 0)

    def look(self, picture: Picture) -> None:
        stretch = picture.pts * self._per_ticks // self._ticks
        if stretch != self._stretch:
            self._stretch = stretch
            self._keep(picture)

    def _keep(self, picture: Picture) -> None:
        rgb = picture.small_rgb(self._storyboard.short_side)
        self.size = (rgb.shape[1], rgb.shape[0])
        options = [cv2.IMWRITE_JPEG_QUALITY, self._storyboard.quality]
        done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
        if not done:
            raise MediaError("decode", "error", f"cannot write a {self.size} picture as JPEG")
        self.pictures.append(StoryFrame(picture.pts, jpeg.tobytes()))
