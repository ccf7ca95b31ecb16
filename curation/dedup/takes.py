"""Takes hashed moment by moment, so that the search for copies of footage finds those of motion.

A hash of 256 bits tells how the body moves during the second after a moment, seen from where the
body faces: neither place nor heading, nor the rate of the recording is in it. Every bit is the sign
of a mix of the waves in which the joints move, and each joint counts about the same, so that the
walks of two people differ although their feet do much the same. One half of the mixes changes sign
when left and right trade places, the other does not: a mirrored take differs in the very bits in
which a mirrored picture does (`curation.dedup.hashes.seen`). So all that is done with pictures is
done with takes: sub-takes and their spans, catalogs that grow, benchmarks that are kept out.

A moment in which the body hardly moves is held back, for standing is like any other standing.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hashes import BITS, as_words
from curation.dedup.sequences import HashedSource
from curation.mocap.layouts import HUMANML22
from curation.signals import CROPS

__all__ = ["hashed_take"]

PER_SECOND = 20
WINDOW_S = 1.0
WAVES = 6
FULL_QUALITY_M = 0.1
"""How far joints are from their mean place in a second, on average, to count as quality 100."""
_BUSIEST = 6
"""So many joints make the quality: who waves moves an arm."""
_STILL_M = 0.02
"""Joints that move less count less; what is left of them is noise."""
_SAMPLES = round(WINDOW_S * PER_SECOND) + 1
_AT_ONCE = 1024
_SEED = 20

Joints = NDArray[np.float32]


def hashed_take(
    source_id: str, joints: Joints | None, time_base: Fraction, min_quality: int
) -> HashedSource:
    """A take as the search sees it.

    Args:
        source_id: its source.
        joints: (frames, 22, 3) in metres, y up; None for what is not a person.
        time_base: seconds of a frame.
        min_quality: least movement that counts, on the scale of pictures.
    """
    frames = 0 if joints is None else len(joints)
    starts = _starts(frames, time_base)
    hashes = np.zeros((len(starts), BITS // 8), np.uint8)
    quality = np.zeros(len(starts))
    for first in range(0, len(starts), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        assert joints is not None
        waves = _waves_of(_seen_from_within(_windows(joints, starts[part], time_base)))
        hashes[part], quality[part] = _hash(waves), _quality(waves)
    nothing = np.zeros(0, np.intp)
    return HashedSource(
        source_id=source_id,
        time_base=time_base,
        pts=np.rint(starts).astype(np.int64),
        end_pts=frames,
        good=quality >= min_quality,
        whole=as_words(hashes),
        with_halves=nothing,
        halves=np.zeros((0, 2, 4), np.uint64),
        with_crops=nothing,
        crops=np.zeros((0, len(CROPS), 4), np.uint64),
        with_bars=nothing,
        inside=np.zeros((0, 4), np.uint64),
        content=_content(source_id, joints),
    )


def _starts(frames: int, time_base: Fraction) -> NDArray[np.float64]:
    """Where windows begin, in frames and parts of them, so that other rates have the same."""
    room_s = (frames - 1) * float(time_base) - WINDOW_S
    count = int(np.floor(room_s * PER_SECOND + 1e-6)) + 1
    return np.arange(max(0, count)) / PER_SECOND / float(time_base)


def _windows(joints: Joints, starts: NDArray[np.float64], time_base: Fraction) -> Joints:
    """(windows, samples, 22, 3): each second at the common rate."""
    steps = np.arange(_SAMPLES) / PER_SECOND / float(time_base)
    at = np.minimum(starts[:, None] + steps, len(joints) - 1)
    before = np.minimum(at.astype(np.intp), max(len(joints) - 2, 0))
    after = (at - before)[..., None, None].astype(np.float32)
    late = joints[np.minimum(before + 1, len(joints) - 1)]
    return joints[before] * (1 - after) + late * after


def _seen_from_within(windows: Joints) -> Joints:
    """Every window turned so that the body faces ahead in its middle."""
    right_hip, left_hip, right, left = HUMANML22.facing
    middle = windows[:, _SAMPLES // 2]
    across = middle[:, left_hip] - middle[:, right_hip] + middle[:, left] - middle[:, right]
    length = np.maximum(np.hypot(across[:, 0], across[:, 2]), 1e-6)
    cos, sin = (across[:, 0] / length, across[:, 2] / length)
    turn = np.zeros((len(windows), 3, 3), np.float32)
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 1, 1] = cos, -sin, 1
    turn[:, 2, 0], turn[:, 2, 2] = sin, cos
    return np.asarray(windows @ turn[:, None])


def _waves_of(windows: Joints) -> Joints:
    """(windows, waves, 22, 3): of joints about the root, and of the root about its way."""
    about = windows - windows[:, :, :1]
    passed = np.linspace(0, 1, _SAMPLES, dtype=np.float32)[:, None]
    root = windows[:, :, 0]
    about[:, :, 0] = root - (root[:, :1] * (1 - passed) + root[:, -1:] * passed)
    moments = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    cosines = np.cos(np.pi * np.arange(1, WAVES + 1)[:, None] * moments) * np.sqrt(2) / _SAMPLES
    return np.asarray(np.einsum("kt,ntjc->nkjc", cosines.astype(np.float32), about))


def _quality(waves: Joints) -> NDArray[np.float64]:
    moved = np.sqrt((waves**2).sum(axis=(1, 3)))
    return np.minimum(
        100.0, np.sort(moved, axis=1)[:, -_BUSIEST:].mean(axis=1) / FULL_QUALITY_M * 100
    )


def _hash(waves: Joints) -> NDArray[np.uint8]:
    swapped = waves[:, :, HUMANML22.mirrored] * np.array([-1, 1, 1], np.float32)
    sharpened = np.arange(1, WAVES + 1, dtype=np.float32)[:, None, None]
    bits = np.empty((len(waves), BITS), bool)
    for first, part in ((0, waves - swapped), (1, waves + swapped)):
        shape = part * sharpened
        shape /= np.sqrt((shape**2).sum(axis=(1, 3), keepdims=True)) + _STILL_M
        flat = shape.reshape(len(waves), -1)
        bits[:, first::2] = flat @ _mixes(flat.shape[1]) > 0
    return np.packbits(bits, axis=1)


@cache
def _mixes(width: int) -> NDArray[np.float32]:
    """(width, 128) random weights, the same on every machine."""
    random = np.random.Generator(np.random.PCG64(_SEED))
    return random.standard_normal((width, BITS // 2)).astype(np.float32)


def _content(source_id: str, joints: Joints | None) -> str:
    """Hash of every joint; of what has none that are known, the source itself."""
    if joints is None:
        return source_id
    return hashlib.sha256(np.ascontiguousarray(joints, np.float32).tobytes()).hexdigest()[:32]
