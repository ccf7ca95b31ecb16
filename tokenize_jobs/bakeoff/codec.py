"""What an ordinary video codec makes of the same bits: the yardstick of every tokenizer.

Each clip is coded alone, from its first frame, with one thread. The quantiser is searched until the
packets are as many bits as the tokens, or just fewer; container bytes are not counted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CODECS", "Coded", "VideoCodec", "at_most_bits", "available"]

Pictures = NDArray[np.uint8]

_START_CODE = re.compile(rb"\x00\x00\x01")
_H264_SEI = b"\x06"


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """An encoder of FFmpeg's and the range of its quantiser."""

    name: str
    encoder: str
    decoder: str
    finest: int
    coarsest: int
    options: tuple[tuple[str, str], ...]


CODECS = (
    VideoCodec("h264", "libx264", "h264", 0, 51, (("preset", "medium"),)),
    VideoCodec("av1", "libsvtav1", "libdav1d", 1, 63, (("preset", "6"),)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A coded clip, as it comes back."""

    bits: int
    crf: int
    frames: Pictures


@cache
def available() -> tuple[VideoCodec, ...]:
    """The codecs whose encoder is built into this FFmpeg."""
    import av

    built_in = av.codecs_available
    return tuple(c for c in CODECS if c.encoder in built_in and c.decoder in built_in)


def at_most_bits(codec: VideoCodec, frames: Pictures, fps: Fraction, bits: float) -> Coded | None:
    """The best coding of a clip in so many bits; None where even the coarsest takes more."""
    low, high = codec.finest, codec.coarsest
    best: Coded | None = None
    while low <= high:
        middle = (low + high) // 2
        made = _coded(codec, frames, fps, middle)
        if made.bits <= bits:
            best, high = made, middle - 1
        else:
            low = middle + 1
    return best


def _coded(codec: VideoCodec, frames: Pictures, fps: Fraction, crf: int) -> Coded:
    import av

    os.environ.setdefault("SVT_LOG", "1")  # it tells its life on stderr otherwise
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", 1 / fps, fps
    encoder.thread_count = 1
    encoder.options = {**dict(codec.options), "crf": str(crf)}
    packets = list(_packets(encoder, frames))
    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    shown = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    shown.sort(key=lambda frame: frame.pts)
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    size = sum(_size(bytes(packet), codec) for packet in packets)
    return Coded(8 * size, crf, pictures)


def _size(data: bytes, codec: VideoCodec) -> int:
    """Bytes of a packet, without the half kilobyte in which x264 tells its settings."""
    if codec.encoder != "libx264":
        return len(data)
    told = sum(len(unit) for unit in _START_CODE.split(data) if unit[:1] == _H264_SEI)
    return len(data) - told


def _packets(encoder: Any, frames: Pictures) -> Iterator[Any]:
    import av

    for number, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = number
        yield from encoder.encode(frame)
    yield from encoder.encode(None)
