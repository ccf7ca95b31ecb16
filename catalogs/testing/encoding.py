"""Encoding through PyAV, the same bytes for the same pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["AudioKind", "VideoWriter", "stream_time_base"]

AudioKind = Literal["tone", "silence"]

AUDIO_RATE = 48000
AUDIO_BLOCK = 960
ENCODER_OPTIONS = {
    "libx264": {"preset": "veryfast", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "pools=1:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "threads": "1", "b": "0"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "mpeg4": {"qscale": "4"},
    "mjpeg": {"qscale": "8", "strict": "unofficial"},
}
RATE_CONTROL = {"libx264": "crf", "libx265": "crf", "libvpx-vp9": "crf", "libsvtav1": "crf"}


class VideoWriter:
    """Writes RGB pictures with the presentation times that it is given."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: Fraction,
        time_base: Fraction,
        *,
        codec: str = "libx264",
        gop: int = 48,
        crf: int = 20,
        rotate_deg: int = 0,
        audio: AudioKind | None = None,
    ):
        import av

        options = dict(ENCODER_OPTIONS.get(codec, {}))
        if codec in RATE_CONTROL:
            options[RATE_CONTROL[codec]] = str(crf)
        self._turns = rotate_deg // 90
        self._time_base = time_base
        self._seconds = Fraction(0)
        self._frame_seconds = 1 / fps
        self._container = av.open(str(path), "w", options={"fflags": "+bitexact"})
        stream: Any = self._container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = size if self._turns % 2 == 0 else size[::-1]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if rotate_deg:
            stream.set_display_rotation(rotate_deg)
        self._stream = stream
        self._audio = _AudioTrack(self._container, audio) if audio else None

    def write(self, picture: NDArray[np.uint8], pts: int) -> None:
        import av

        turned = np.ascontiguousarray(np.rot90(picture, -self._turns))
        frame = av.VideoFrame.from_ndarray(turned, "rgb24")
        frame.pts, frame.time_base = pts, self._time_base
        self._container.mux(self._stream.encode(frame))
        self._seconds = pts * self._time_base + self._frame_seconds
        if self._audio:
            self._audio.write_until(self._seconds)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
            if self._audio:
                self._audio.finish()
        self._container.close()


class _AudioTrack:
    """A tone of 440 Hz or silence, written alongside the pictures."""

    def __init__(self, container: Any, kind: AudioKind):
        import av

        self._container = container
        self._loudness = 0.25 if kind == "tone" else 0.0
        codec = "libopus" if container.format.name == "webm" else "aac"
        self._stream = container.add_stream(codec, rate=AUDIO_RATE, layout="mono")
        self._stream.codec_context.flags |= av.codec.context.Flags.bitexact
        self._format = "flt" if codec == "libopus" else "fltp"
        self._written = 0

    def write_until(self, seconds: Fraction) -> None:
        import av

        while self._written + AUDIO_BLOCK <= seconds * AUDIO_RATE:
            moments = (self._written + np.arange(AUDIO_BLOCK)) / AUDIO_RATE
            wave = self._loudness * np.sin(2 * np.pi * 440 * moments)
            block = av.AudioFrame.from_ndarray(
                wave.astype(np.float32)[None], format=self._format, layout="mono"
            )
            block.sample_rate, block.pts = AUDIO_RATE, self._written
            block.time_base = Fraction(1, AUDIO_RATE)
            self._container.mux(self._stream.encode(block))
            self._written += AUDIO_BLOCK

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))


def stream_time_base(path: Path) -> Fraction:
    """The tick that the container chose for its first video stream."""
    import av

    with av.open(str(path)) as container:
        time_base = container.streams.video[0].time_base
    if time_base is None:
        raise RuntimeError(f"{path}: the container states no time base")
    return time_base
