"""Cuts where the perceptual hash changes.

The cuts of scenedetect's HashDetector (size 8, low-pass 2) on the same small frames.
"""

from __future__ import annotations

import numpy as np

from curation.segment.base import Boundary, cuts_at, spaced
from curation.signals import VideoSignals

__all__ = ["detect"]

_BITS = 64


def detect(
    signals: VideoSignals, *, threshold: float = 0.35, min_frames: int = 0
) -> list[Boundary]:
    """Cuts where the share of hash bits that change reaches `threshold`.

    Args:
        signals: of the video.
        threshold: share of the 64 bits that makes a cut.
        min_frames: cuts sooner than this after the last one are dropped.
    """
    hashes = signals["phash"].view(np.uint64)
    share = np.bitwise_count(hashes[1:] ^ hashes[:-1]) / _BITS
    return cuts_at(signals, spaced(1 + np.flatnonzero(share >= threshold), min_frames))
