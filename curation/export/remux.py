"""Copying the coded frames of a span, where that gives exactly the span.

A copy is possible when the clip starts at a keyframe that needs nothing before it, and when the
frames that follow in decoding order are those of the clip and no others up to the clip's end.
Where B-frames reach over the end, where an edit list hides frames, or where the codec does not
belong in MP4, the answer is no and the caller encodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from curation.export.mp4 import Written, muxed, open_mp4
from curation.export.pictures import Clock
from curation.export.sound import AudioEncoder
from curation.export.spans import ClipSpan
from curation.media.door import OpenedVideo, open_video
from curation.media.health import DecodeHealth
from curation.media.stream import demuxed

__all__ = ["NotCopyableError", "copy_frames"]

_TAGS = {"h264": "avc1", "hevc": "hvc1", "av1": "av01", "vp9": "vp09", "mpeg4": "mp4v"}
"""Codecs that MP4 players know, and the sample entry to use."""

_MOST_REORDERED = 32
"""No codec shows a frame before more than this many that are coded before it."""

_H264_SLICES = range(1, 6)
_H264_IDR = 5
_HEVC_SLICES = range(32)
_HEVC_RANDOM_ACCESS = range(16, 24)


class NotCopyableError(Exception):
    """Why the frames have to be encoded instead."""


def copy_frames(path: str, span: ClipSpan, clock: Clock, target: str, *, audio: bool) -> Written:
    """Write the clip by copying its packets; sound is encoded anew, cut to the sample."""
    with open_video(path) as video:
        coded = [clock.ticks(packet.pts) for packet in _run(video, span)]
    done = Written(sorted(coded))
    with open_video(path) as video, open_mp4(target, clock.scale) as container:
        context = video.stream.codec_context
        if context.format is not None:
            done.bit_depth = max(component.bits for component in context.format.components)
        stream = container.add_stream_from_template(video.stream, opaque=True)
        stream.codec_context.codec_tag = _TAGS[context.codec.canonical_name]
        stream.time_base = Fraction(1, clock.scale)
        sound = AudioEncoder(container, path, span) if audio else None
        muxed(container, _copied(video, span, coded, stream), sound)
    done.audio = "aac" if sound and sound.stream else None
    return done


def _copied(video: OpenedVideo, span: ClipSpan, coded: list[int], stream: Any) -> Iterator[Any]:
    for packet, pts, dts in zip(_run(video, span), coded, decode_times(coded), strict=True):
        packet.pts, packet.dts = pts, dts
        packet.duration = (packet.duration or 0) * span.time_base.numerator
        packet.time_base = stream.time_base
        packet.stream = stream
        yield packet


def decode_times(coded: list[int]) -> list[int]:
    """Decoding times for frames that are shown at `coded`, which stand in decoding order.

    Containers such as Matroska store none. A frame is decoded as many frames early as the most
    delayed one needs, at the shown times themselves, so that uneven times stay possible.
    """
    shown = sorted(coded)
    rank = {pts: place for place, pts in enumerate(shown)}
    early = max((place - rank[pts] for place, pts in enumerate(coded)), default=0)
    step = shown[1] - shown[0] if len(shown) > 1 else 1
    before = [shown[0] - step * (early - place) for place in range(min(early, len(coded)))]
    return before + shown[: len(coded) - len(before)]


def _run(video: OpenedVideo, span: ClipSpan) -> Iterator[Any]:
    """The clip's packets in decoding order, if they stand together and alone."""
    codec = video.stream.codec_context.codec.canonical_name
    if codec not in _TAGS:
        raise NotCopyableError(f"{codec} is not copied into MP4")
    after = 0
    started = False
    for packet in _from_keyframe(video, span):
        if not packet.size:
            break
        if packet.pts is None:
            raise NotCopyableError("a packet has no timestamp")
        if packet.is_discard or packet.is_corrupt:
            raise NotCopyableError("a packet is damaged or hidden by an edit list")
        if after > _MOST_REORDERED or (packet.dts is not None and packet.dts >= span.end_pts):
            break
        if packet.pts < span.start_pts:
            raise NotCopyableError("frames before the clip are coded after its first frame")
        if packet.pts >= span.end_pts:
            after += 1
            continue
        if after:
            raise NotCopyableError("frames of the clip are coded after frames that follow it")
        if not started and not _stands_alone(packet, video.stream.codec_context):
            raise NotCopyableError("the first frame may need frames before it")
        started = True
        yield packet


def _from_keyframe(video: OpenedVideo, span: ClipSpan) -> Iterator[Any]:
    """Packets from the keyframe that is shown at the clip's start."""
    from av.error import FFmpegError

    try:
        video.container.seek(span.start_pts, stream=video.stream, backward=True)
    except FFmpegError as error:
        raise NotCopyableError("the file cannot seek") from error
    health = DecodeHealth()
    packets = demuxed(video, health)
    for packet in packets:
        if packet.pts == span.start_pts and packet.is_keyframe:
            yield packet
            break
        if packet.dts is not None and packet.dts >= span.start_pts:
            raise NotCopyableError("the clip does not start at a keyframe")
    yield from packets
    if health.read_errors:
        raise NotCopyableError("the file breaks off")


def _stands_alone(packet: Any, context: Any) -> bool:
    """Whether decoders may start here; some containers flag frames that only nearly allow it."""
    if context.name not in ("h264", "hevc"):
        return True
    extradata = context.extradata or b""
    prefixed = extradata[:1] == b"\x01"
    width = 1 + (extradata[4 if context.name == "h264" else 21] & 3) if prefixed else 0
    for head in _unit_heads(bytes(packet), width):
        kind = head & 31 if context.name == "h264" else (head >> 1) & 63
        if context.name == "h264" and kind in _H264_SLICES:
            return kind == _H264_IDR
        if context.name == "hevc" and kind in _HEVC_SLICES:
            return kind in _HEVC_RANDOM_ACCESS
    return False


def _unit_heads(data: bytes, width: int) -> Iterator[int]:
    """The first byte of every NAL unit; `width` bytes of length before each, or start codes."""
    place = 0
    while width and place + width < len(data):
        length = int.from_bytes(data[place : place + width], "big")
        yield data[place + width]
        place += width + length
    while not width and 0 <= (place := data.find(b"\0\0\1", place)) < len(data) - 3:
        yield data[place + 3]
        place += 3
