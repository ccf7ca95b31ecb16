"""The sound of a span: cut to the sample, silence where the source has a gap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.export.spans import ClipSpan
from curation.media.door import open_video

__all__ = ["AudioEncoder"]

_FORMAT = "fltp"
_RATES = frozenset((8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000))
_OTHER_RATE = 48000
_BIT_RATE_PER_CHANNEL = 96_000
_LEAD_S = 1
"""A decoder needs packets before the first wanted sample to be in swing."""
_JITTER_S = 0.02
"""Timestamps of coarse clocks jump; samples are only moved when they are off by more."""


class AudioEncoder:
    """Encodes a span's sound as AAC into a container; without sound there it adds no stream."""

    def __init__(self, container: Any, path: str, span: ClipSpan):
        self._chunks = _samples(path, span)
        self._first = next(self._chunks, None)
        self.stream: Any = None
        if self._first is None:
            return
        rate, chunk = self._first
        self.stream = container.add_stream("aac", rate=rate, layout=_layout(chunk))
        self.stream.bit_rate = _BIT_RATE_PER_CHANNEL * len(chunk)

    def packets(self) -> Iterator[Any]:
        from av import AudioFrame

        if self._first is None:
            return
        position = 0
        for rate, chunk in chain([self._first], self._chunks):
            frame = AudioFrame.from_ndarray(chunk, format=_FORMAT, layout=_layout(chunk))
            frame.sample_rate = rate
            frame.pts = position
            position += chunk.shape[1]
            yield from self.stream.encode(frame)
        yield from self.stream.encode(None)


def _layout(chunk: NDArray[np.float32]) -> str:
    return "mono" if len(chunk) == 1 else "stereo"


def _samples(path: str, span: ClipSpan) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """`(rate, (channels, samples))` from the span's start to the end of its sound."""
    with open_video(path) as video:
        streams = [s for s in video.container.streams.audio if s.codec_context is not None]
        if not streams:
            return
        stream = streams[0]
        _seek(video.container, stream, float(span.start_pts * span.time_base) - _LEAD_S)
        yield from _trimmed(_resampled(video.container, stream), span)


def _seek(container: Any, stream: Any, seconds: float) -> None:
    """Go before an instant, or stay at the start of a file that cannot seek."""
    from av.error import FFmpegError

    if seconds <= 0:
        return
    try:
        container.seek(round(seconds / stream.time_base), stream=stream, backward=True)
    except FFmpegError:
        container.seek(0)


def _resampled(container: Any, stream: Any) -> Iterator[tuple[int, float, NDArray[np.float32]]]:
    """`(rate, seconds, samples)` as decoded, in one format."""
    from av.audio.resampler import AudioResampler
    from av.error import FFmpegError

    context = stream.codec_context
    rate = context.sample_rate if context.sample_rate in _RATES else _OTHER_RATE
    resampler = AudioResampler(_FORMAT, "mono" if context.channels == 1 else "stereo", rate)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else []
        except FFmpegError as error:
            if isinstance(error, MemoryError) or packet is None:
                raise
            continue
        if packet is None:
            return
        for frame in frames:
            for part in resampler.resample(frame):
                if part.time is not None:
                    yield rate, part.time, np.asarray(part.to_ndarray(), np.float32)


def _trimmed(
    parts: Iterator[tuple[int, float, NDArray[np.float32]]], span: ClipSpan
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    start_s = float(span.start_pts * span.time_base)
    written = 0
    for rate, seconds, part in parts:
        wanted = round(float(span.duration_s) * rate)
        first = round((seconds - start_s) * rate)
        if first + part.shape[1] <= 0 and not written:
            continue
        if abs(first - written) <= _JITTER_S * rate and written:
            first = written
        if first < written:
            part = part[:, written - first :]
        elif first > written:
            silence = np.zeros((len(part), min(first, wanted) - written), np.float32)
            part = np.concatenate([silence, part], axis=1)
        part = part[:, : wanted - written]
        if part.shape[1]:
            written += part.shape[1]
            yield rate, np.ascontiguousarray(part)
        if written >= wanted:
            return
