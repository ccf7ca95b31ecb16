"""How loud a file is, in windows of a tenth of a second. Runs in a guarded child."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.media.door import open_video

__all__ = ["SILENCE_DB", "WINDOWS_PER_S", "sound_levels"]

WINDOWS_PER_S = 10
SILENCE_DB = -120.0
"""What digital silence is called."""

_BLOCK_SAMPLES = 1 << 16
_JITTER_S = 0.005
"""Timestamps this close to where the last frame ended follow it: coarse clocks round them."""


def sound_levels(path: str) -> NDArray[np.float32]:
    """RMS level of the first audio stream in dBFS, all channels mixed, from time zero on.

    A stream that breaks off gives the levels up to there: sound that cannot be decoded is not a
    reason to lose the picture.
    """
    import av
    from av.audio.resampler import AudioResampler

    levels = _Levels()
    with open_video(path) as video:
        stream = video.container.streams.audio[0]
        base = stream.time_base
        resampler = AudioResampler(format="flt", layout="mono")
        try:
            for frame in video.container.decode(stream):
                if frame.pts is None:
                    continue
                for mono in resampler.resample(frame):
                    rate = mono.sample_rate
                    start = frame.pts * base.numerator * rate // base.denominator
                    levels.add(_samples(mono), start, rate)
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
    return levels.decibels()


def _samples(mono: Any) -> NDArray[np.float32]:
    """A frame of packed float samples as an array of its own."""
    return np.frombuffer(mono.planes[0], np.float32, mono.samples).copy()


class _Levels:
    """Mean power of every window, grown as samples arrive.

    Frames hold a fiftieth of a second or so: those that follow each other are counted together.
    """

    def __init__(self) -> None:
        self._power = np.zeros(1024)
        self._counts = np.zeros(1024)
        self._windows = 0
        self._block: list[NDArray[np.float32]] = []
        self._start = self._end = self._rate = 0

    def add(self, samples: NDArray[np.float32], start: int, rate: int) -> None:
        """Samples of which the first is number `start` from time zero."""
        follows = rate == self._rate and abs(start - self._end) <= rate * _JITTER_S
        if not follows or self._end - self._start >= _BLOCK_SAMPLES:
            self._count_block()
            self._start = self._end = self._end if follows else start
            self._rate = rate
        self._block.append(samples)
        self._end += len(samples)

    def _count_block(self) -> None:
        """Add the power of the gathered samples; what lies before time zero is left out."""
        if not self._block:
            return
        samples = np.concatenate(self._block)[max(0, -self._start) :]
        self._block = []
        if not len(samples):
            return
        first = max(0, self._start)
        low = first * WINDOWS_PER_S // self._rate
        high = (first + len(samples) - 1) * WINDOWS_PER_S // self._rate + 1
        self._grow(high)
        borders = -(-np.arange(low + 1, high) * self._rate // WINDOWS_PER_S) - first
        starts = np.concatenate([[0], borders])
        self._power[low:high] += np.add.reduceat(np.square(samples, dtype=np.float64), starts)
        self._counts[low:high] += np.diff(starts, append=len(samples))
        self._windows = max(self._windows, high)

    def _grow(self, windows: int) -> None:
        while windows > len(self._power):
            self._power = np.pad(self._power, (0, len(self._power)))
            self._counts = np.pad(self._counts, (0, len(self._counts)))

    def decibels(self) -> NDArray[np.float32]:
        self._count_block()
        power, counts = self._power[: self._windows], self._counts[: self._windows]
        mean = np.divide(power, counts, out=np.zeros_like(power), where=counts > 0)
        return (10 * np.log10(np.maximum(mean, 10.0 ** (SILENCE_DB / 10)))).astype(np.float32)
