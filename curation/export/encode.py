"""Encoding a span as H.264: its very frames, at their very times, as they are displayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from curation.export.mp4 import Written, muxed, open_mp4
from curation.export.pictures import Clock, Shaper, Shown, shown_frames
from curation.export.settings import MediaSettings
from curation.export.sound import AudioEncoder
from curation.export.spans import ClipSpan

__all__ = ["encode_frames"]

_BT709 = 1
_STUDIO_RANGE = 1
_SAMPLED_EVERY = 10
_SAMPLED_PIXELS = 4


def encode_frames(
    path: str,
    span: ClipSpan,
    clock: Clock,
    target: str,
    settings: MediaSettings,
    *,
    from_start: bool = False,
) -> Written:
    """Decode the clip and encode it into `target`."""
    done = Written()
    with (
        closing(shown_frames(path, span, clock, from_start=from_start)) as frames,
        open_mp4(target, clock.scale) as container,
    ):
        first = next(frames, None)
        if first is None:
            return done
        deep = not settings.uniform and max(c.bits for c in first.frame.format.components) > 8
        done.bit_depth = 10 if deep else 8
        shaper = Shaper(settings, "yuv420p10le" if deep else "yuv420p")
        done.size = shaper.size(first.geometry)
        stream = _stream(container, first, done, clock, settings)
        sound = AudioEncoder(container, path, span) if settings.audio else None
        pixels = _PixelSums() if settings.uniform else None
        muxed(container, _packets(chain([first], frames), shaper, stream, pixels, done), sound)
    done.audio = "aac" if sound and sound.stream else None
    done.pixel_sums = pixels.to_dict() if pixels else {}
    return done


def _stream(
    container: Any, first: Shown, done: Written, clock: Clock, settings: MediaSettings
) -> Any:
    tick = Fraction(1, clock.scale)
    rate = clock.fps or _nearest_rate(1 / (max(first.duration, 1) * tick))
    stream = container.add_stream("libx264", rate=rate)
    context = stream.codec_context
    context.width, context.height = done.size or (0, 0)
    context.pix_fmt = "yuv420p10le" if done.bit_depth > 8 else "yuv420p"
    context.time_base = stream.time_base = tick
    context.gop_size = settings.gop
    if settings.uniform:
        context.max_b_frames = 0  # files without reordered frames can be laid end to end
    context.thread_count = 1  # threads are spent on clips; one gives the same bytes everywhere
    context.options = {"crf": str(settings.crf), "preset": settings.preset}
    context.color_range = _STUDIO_RANGE
    frame = first.frame
    context.colorspace = _BT709 if settings.uniform else frame.colorspace
    context.color_primaries = _BT709 if settings.uniform else frame.color_primaries
    context.color_trc = _BT709 if settings.uniform else frame.color_trc
    return stream


def _nearest_rate(rate: Fraction) -> Fraction:
    """A rate in numbers that fit an encoder's header; it only guides the spending of bits."""
    return rate.limit_denominator(1001) or Fraction(1)


def _packets(
    frames: Iterator[Shown], shaper: Shaper, stream: Any, pixels: _PixelSums | None, done: Written
) -> Iterator[Any]:
    durations: dict[int, int] = {}
    for shown in frames:
        frame = shaper(shown.frame, shown.geometry)
        if pixels and len(done.times) % _SAMPLED_EVERY == 0:
            pixels.add(frame)
        frame.pts, frame.time_base = shown.time, stream.codec_context.time_base
        frame.pict_type = 0  # else the encoder repeats the source's choice of frame types
        done.times.append(shown.time)
        durations[shown.time] = shown.duration
        yield from _timed(stream.encode(frame), durations)
    yield from _timed(stream.encode(None), durations)


def _timed(packets: list[Any], durations: dict[int, int]) -> Iterator[Any]:
    for packet in packets:
        packet.duration = durations.pop(packet.pts, 0)
        yield packet


class _PixelSums:
    """Sums over sampled pixels, scaled to 0 to 1, per colour."""

    def __init__(self) -> None:
        self.count = 0
        self.low, self.high = np.ones(3), np.zeros(3)
        self.sum, self.squares = np.zeros(3), np.zeros(3)

    def add(self, frame: Any) -> None:
        image = frame.to_ndarray(format="rgb24")[::_SAMPLED_PIXELS, ::_SAMPLED_PIXELS]
        values = image.reshape(-1, 3) / 255.0
        self.count += len(values)
        self.low = np.minimum(self.low, values.min(axis=0))
        self.high = np.maximum(self.high, values.max(axis=0))
        self.sum += values.sum(axis=0)
        self.squares += (values**2).sum(axis=0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "min": self.low.tolist(),
            "max": self.high.tolist(),
            "sum": self.sum.tolist(),
            "squares": self.squares.tolist(),
        }
