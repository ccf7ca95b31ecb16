"""How loud a file is, in windows of a tenth of a second. Runs in a guarded child."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from curation.media.door import open_video

__all__ = ["SILENCE_DB", "WINDOWS_PER_S", "sound_levels"]

WINDOWS_PER_S = 10
SILENCE_DB = -120.0
"""What digital silence is called."""


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
        resampler = AudioResampler(format="flt", layout="mono")
        try:
            for frame in video.container.decode(stream):
                if frame.pts is None:
                    continue
                start_s = frame.pts * Fraction(frame.time_base)
                for mono in resampler.resample(frame):
                    levels.add(
                        mono.to_ndarray().ravel().astype(np.float64), start_s, mono.sample_rate
                    )
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
    return levels.decibels()


class _Levels:
    """Mean power of every window, grown as samples arrive."""

    def __init__(self) -> None:
        self._power = np.zeros(1024)
        self._counts = np.zeros(1024)
        self._windows = 0

    def add(self, samples: NDArray[np.float64], start_s: Fraction, rate: int) -> None:
        """Samples that begin at `start_s`; what lies before time zero is left out."""
        windows = (round(start_s * rate) + np.arange(len(samples))) * WINDOWS_PER_S // rate
        kept = windows >= 0
        windows, power = windows[kept], samples[kept] ** 2
        if not len(windows):
            return
        low, high = int(windows[0]), int(windows[-1]) + 1
        while high > len(self._power):
            self._power = np.pad(self._power, (0, len(self._power)))
            self._counts = np.pad(self._counts, (0, len(self._counts)))
        self._power[low:high] += np.bincount(windows - low, power)
        self._counts[low:high] += np.bincount(windows - low)
        self._windows = max(self._windows, high)

    def decibels(self) -> NDArray[np.float32]:
        power, counts = self._power[: self._windows], self._counts[: self._windows]
        mean = np.divide(power, counts, out=np.zeros_like(power), where=counts > 0)
        return (10 * np.log10(np.maximum(mean, 10.0 ** (SILENCE_DB / 10)))).astype(np.float32)
