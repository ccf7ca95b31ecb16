"""What a file is: container, stream, size as displayed, exact rate and time span.

`probe` reads every packet header and decodes up to the first picture. Counts and times are
therefore those of the data, not those that a header claims, and a file that passes has shown that
it can be decoded at all.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from catalogs.timebase import Span, Timestamp
from curation.media.door import OpenedVideo, PathInput, decoder_words, open_video, shown_path
from curation.media.errors import ErrorClass, MediaError
from curation.media.geometry import Geometry, geometry_of
from curation.media.health import DecodeHealth
from curation.media.packets import PacketIndex, frame_rate, is_uniform, packet_pts
from curation.media.stream import demuxed

__all__ = ["AudioProbe", "Scan", "SourceProbe", "probe", "probe_packets", "scan"]

_STILL_CONTAINERS = frozenset(("jpeg_pipe", "png_pipe", "webp_pipe"))
_ENCRYPTION = {"encryption_info", "encryption_init_info"}
_HDR_TRANSFERS = {16: "pq", 18: "hlg"}


@dataclass(frozen=True, slots=True)
class AudioProbe:
    """The first audio stream."""

    codec: str
    channels: int
    sample_rate_hz: int


@dataclass(frozen=True, slots=True)
class SourceProbe:
    """One video source, measured."""

    kind: Literal["video", "image"]
    container: str
    """FFmpeg's name of the demuxer: mov (also mp4), matroska (also webm), mpegts, ..."""
    codec: str
    pix_fmt: str
    stream_index: int
    video_streams: int
    """Video streams in the file, attached pictures apart; the first one is the source."""
    coded_width: int
    coded_height: int
    width: int
    """As displayed: sample aspect and rotation applied."""
    height: int
    rotation_deg: int
    """Clockwise turn that shows the picture upright: 0, 90, 180 or 270."""
    sample_aspect: Fraction
    fps: Fraction
    """Average frames per second."""
    is_vfr: bool
    """Whether frames leave the even grid of a constant rate, dropped frames included."""
    frames: int
    """Frames that are shown, counted from packets."""
    discarded_frames: int
    """Frames that an edit list hides."""
    lost_frames: int
    """Frames that the header promises and the file does not hold: a download that broke off."""
    start_pts: int
    end_pts: int
    """First tick after the last frame."""
    time_base: Fraction
    bit_depth: int
    has_alpha: bool
    hdr_transfer: str | None
    """pq (SMPTE 2084) or hlg (ARIB STD-B67); None for standard range."""
    audio: AudioProbe | None
    keyframe_pts: tuple[int, ...]
    file_bytes: int

    @property
    def duration(self) -> Timestamp:
        """Length of the shown frames, exactly."""
        return Timestamp(self.end_pts - self.start_pts, self.time_base)

    @property
    def span(self) -> Span:
        return Span(self.start_pts, self.end_pts, self.time_base)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """All that one walk over the packets tells, as the backends need it."""

    demuxer: str
    video_streams: int
    index: PacketIndex
    geometry: Geometry


def probe(path: PathInput) -> SourceProbe:
    """Measure a source; raises `MediaError` when it cannot be used, with the reason."""
    with open_video(path) as video:
        return probe_packets(video, path, demuxed(video, DecodeHealth()))


def probe_packets(video: OpenedVideo, path: PathInput, packets: Iterable[Any]) -> SourceProbe:
    """Measure a source that is open already, from all packets of its stream."""
    index, first, has_alpha_blocks = _read_packets(video, path, packets)
    geometry = geometry_of(video.stream, first)
    return _measured(video, index, first, geometry, has_alpha_blocks, os.stat(path).st_size)


def scan(path: PathInput) -> Scan:
    """Every frame's timestamp and the geometry, without decoding more than one frame."""
    with open_video(path) as video:
        index, first, _ = _read_packets(video, path, demuxed(video, DecodeHealth()))
        return Scan(video.demuxer, video.video_streams, index, geometry_of(video.stream, first))


def _measured(
    video: OpenedVideo,
    index: PacketIndex,
    first: Any,
    geometry: Geometry,
    has_alpha_blocks: bool,
    file_bytes: int,
) -> SourceProbe:
    stream = video.stream
    width, height = geometry.display_size
    components = first.format.components
    return SourceProbe(
        kind="image" if video.demuxer in _STILL_CONTAINERS else "video",
        container=video.demuxer.removesuffix("_pipe"),
        codec=stream.codec_context.codec.canonical_name,
        pix_fmt=first.format.name,
        stream_index=stream.index,
        video_streams=video.video_streams,
        coded_width=geometry.coded_width,
        coded_height=geometry.coded_height,
        width=width,
        height=height,
        rotation_deg=geometry.rotation_deg,
        sample_aspect=geometry.sample_aspect,
        fps=frame_rate(index, stream.time_base, stream.average_rate),
        is_vfr=not is_uniform(index.pts),
        frames=len(index.pts),
        discarded_frames=index.discarded,
        lost_frames=_lost_frames(stream, index),
        start_pts=int(index.pts[0]),
        end_pts=index.end_pts,
        time_base=Fraction(stream.time_base),
        bit_depth=max(component.bits for component in components),
        has_alpha=has_alpha_blocks or any(component.is_alpha for component in components),
        hdr_transfer=_HDR_TRANSFERS.get(int(first.color_trc)),
        audio=_audio(video.container),
        keyframe_pts=tuple(int(pts) for pts in index.pts[index.keyframe]),
        file_bytes=file_bytes,
    )


def _audio(container: Any) -> AudioProbe | None:
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is not None:
            return AudioProbe(context.codec.canonical_name, context.channels, context.sample_rate)
    return None


def _read_packets(
    video: OpenedVideo, path: PathInput, stream: Iterable[Any]
) -> tuple[PacketIndex, Any, bool]:
    """Index all packets and decode until one picture has come out."""
    first: Any = None
    last_words = ""
    times, durations, keyframe = array("q"), array("q"), array("b")  # an hour holds 100,000
    discarded = untimed = 0
    side_data: set[str] = set()
    for packet in stream:
        if first is None:
            first, words = _first_frame(packet)
            last_words = words or last_words
        if not packet.size:
            continue
        if not times:
            side_data |= {data.data_type for data in packet.iter_sidedata()}
        pts = packet_pts(packet)
        if packet.is_discard:
            discarded += 1
        elif pts is None:
            untimed += 1
        else:
            times.append(pts)
            durations.append(packet.duration or 0)
            keyframe.append(packet.is_keyframe)
    problem = _problem(video, len(times), untimed, side_data, first, last_words)
    if problem is not None:
        error_class, detail = problem
        raise MediaError("probe", error_class, detail, source=shown_path(path))
    has_alpha_blocks = "matroska_block_additional" in side_data
    index = PacketIndex.of(times, keyframe, durations, discarded, untimed)
    return index, first, has_alpha_blocks


def _lost_frames(stream: Any, index: PacketIndex) -> int:
    """Frames between the end of what could be read and the end that the header states.

    A header counts frames that an edit list cuts away too, so its count alone proves nothing.
    """
    held = len(index.pts) + index.discarded + index.untimed
    if not stream.duration or stream.frames <= held or not index.step:
        return 0
    stated_end = (stream.start_time or 0) + stream.duration
    return min(stream.frames - held, max(0, round((stated_end - index.end_pts) / index.step)))


def _problem(
    video: OpenedVideo,
    packets: int,
    untimed: int,
    side_data: set[str],
    first: Any,
    last_words: str,
) -> tuple[ErrorClass, str] | None:
    """Why a stream cannot be used, if it cannot."""
    if side_data & _ENCRYPTION:
        return "encrypted", "the video stream is encrypted"
    promised = video.stream.frames
    if first is None and promised > packets + untimed:
        return "truncated", f"the header promises {promised} frames, the file holds {packets}"
    if not packets and untimed:
        return "no_timestamps", f"{untimed} packets, none with a timestamp"
    if not packets:
        return "no_frames", "the file holds headers but no frames"
    if first is None:
        words = last_words or "no picture came out"
        return "undecodable", f"none of {packets} frames decodes: {words}"
    return None


def _first_frame(packet: Any) -> tuple[Any, str]:
    import av

    try:
        frames = packet.decode()
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        return None, decoder_words(error)
    return (frames[0], "") if frames else (None, "")
