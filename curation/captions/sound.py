"""The sound of a stretch of a file as samples, for engines that listen. Runs in a guarded child."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curation.media.door import open_video

__all__ = ["RATE_HZ", "read_sound"]

RATE_HZ = 16_000


def read_sound(path: str, start_s: float, seconds: float) -> NDArray[np.float32]:
    """Mono samples at 16 kHz of the first audio stream; what it lacks of the stretch is silent."""
    from av.audio.resampler import AudioResampler

    sound = np.zeros(round(seconds * RATE_HZ), np.float32)
    resampler = AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    with open_video(path) as video:
        container = video.container
        stream = container.streams.audio[0]
        container.seek(max(0, int(start_s * 1_000_000)), backward=True)
        at: int | None = None
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            if frame.time >= start_s + seconds:
                break
            if at is None:
                at = round((frame.time - start_s) * RATE_HZ)
            for piece in resampler.resample(frame):
                samples = np.asarray(piece.to_ndarray(), np.float32).reshape(-1)
                _place(sound, samples, at)
                at += len(samples)
    return sound


def _place(sound: NDArray[np.float32], samples: NDArray[np.float32], at: int) -> None:
    """Copy samples to where they belong, as far as they lie inside."""
    first, last = max(0, at), min(len(sound), at + len(samples))
    if first < last:
        sound[first:last] = samples[first - at : last - at]
