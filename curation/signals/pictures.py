"""Perceptual hashes of 256 bits, by which a picture is found again after it was altered.

A hash holds the signs of the 16 by 16 lowest frequencies (without the mean's row and column) of a
cosine transform of the picture. Signs do not care for brightness and contrast, and low frequencies
survive compression, scaling and small marks. Two pictures are compared by the bits in which they
differ: copies by a few, others by about half. Distances and the quality are on the scale of the
published PDQ hash.

A crop moves every frequency and a logo changes some of them, so a picture is hashed through more
windows than one: smaller ones around its middle, one of which shows about what a cropped copy
shows; what lies inside of bars, if it has any; and its upper and lower half, one of which a logo or
banner leaves alone. Turned and mirrored pictures need no hash of their own: turning permutes and
flips the bits.

The whole picture is hashed eight times a second and in fast motion, which changes half of the bits
in less time than that, with every frame; halves and smaller windows are hashed more rarely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.signals.bars import Box, Margins, boxes_inside, flat_margins

__all__ = [
    "CROPS",
    "HASH_BYTES",
    "PICTURE_COLUMNS",
    "PictureHasher",
    "PictureHashes",
    "join_pictures",
]

Luma = NDArray[np.uint8]
Bytes = NDArray[np.uint8]

SIDE = 16
HASH_BYTES = SIDE * SIDE // 8
PER_SECOND = 8
HALVES_EVERY, CROPS_EVERY = 2, 4
"""So many eighths of a second lie between pictures whose halves or smaller windows are hashed."""

CROPS = (0.95, 0.9, 0.85, 0.8, 0.7)
"""Shares of width and height that are hashed again, around the middle."""
HALVES = 2

_HAS_HALVES, _HAS_CROPS, _HAS_BARS = 1, 2, 4

_FULL_QUALITY = 1.116
"""Mean step between neighbours, in whole percent of the range, that PDQ calls quality 100."""
_WHOLE_PERCENT = (np.arange(256) * 100 // 255).astype(np.uint8)
_NOTHING = 0.25
"""A term of a flat picture is at most rounding, which must not decide a bit."""
_EVERYTHING: Box = (0.0, 1.0, 0.0, 1.0)
_HALVES: tuple[Box, ...] = ((0.0, 0.5, 0.0, 1.0), (0.5, 1.0, 0.0, 1.0))
_CROPS: tuple[Box, ...] = tuple(
    ((1 - share) / 2, (1 + share) / 2, (1 - share) / 2, (1 + share) / 2) for share in CROPS
)
_BATCH = 32
_JUDGED_AT_ONCE = 2048
"""Pictures with flat edges that wait at most until bars are judged: five minutes of a calm film."""
_FAST = 3.5
"""Change from frame to frame, of 255, from which every frame is hashed."""

PICTURE_COLUMNS: Mapping[str, str] = {
    "hash_frames": "frames of this chunk that were hashed, from 0",
    "hash_quality": "how much there is to hash in each, 0..100",
    "hash_parts": "of each: 1 its halves were hashed too, 2 its smaller windows, 4 it has bars",
    "hash_whole": "256-bit hashes of the picture",
    "hash_halves": "the same of its upper and lower half",
    "hash_crops": "the same of smaller windows around its middle",
    "hash_inside": "the same of what lies inside of bars",
}
"""What is stored, one value of bytes each; numbers of frames are a list."""


@dataclass(frozen=True, slots=True)
class PictureHashes:
    """Hashes of some frames, in order."""

    frames: NDArray[np.int32]
    """Which frames of the signals these are."""
    quality: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    whole: Bytes
    """(hashed frames, 32)"""
    halves: Bytes
    """(frames with halves, 2, 32)"""
    crops: Bytes
    """(frames with crops, len(CROPS), 32)"""
    inside: Bytes
    """(frames with bars, 32)"""

    @property
    def with_halves(self) -> NDArray[np.intp]:
        """Positions of the hashed frames that `halves` belong to."""
        return np.flatnonzero(self.parts & _HAS_HALVES)

    @property
    def with_crops(self) -> NDArray[np.intp]:
        """Positions of the hashed frames that `crops` belong to."""
        return np.flatnonzero(self.parts & _HAS_CROPS)

    @property
    def with_bars(self) -> NDArray[np.intp]:
        """Positions of the hashed frames that `inside` belongs to."""
        return np.flatnonzero(self.parts & _HAS_BARS)

    def to_row(self) -> dict[str, NDArray[Any]]:
        """One entry per column of `PICTURE_COLUMNS`."""
        return {
            "hash_frames": self.frames,
            "hash_quality": self.quality,
            "hash_parts": self.parts,
            "hash_whole": self.whole.ravel(),
            "hash_halves": self.halves.ravel(),
            "hash_crops": self.crops.ravel(),
            "hash_inside": self.inside.ravel(),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PictureHashes:
        """The inverse of `to_row`; bytes may be arrays or Python's."""
        data = {n: _bytes(row[n]) for n in PICTURE_COLUMNS if n != "hash_frames"}
        return cls(
            np.asarray(row["hash_frames"], np.int32),
            data["hash_quality"],
            data["hash_parts"],
            data["hash_whole"].reshape(-1, HASH_BYTES),
            data["hash_halves"].reshape(-1, HALVES, HASH_BYTES),
            data["hash_crops"].reshape(-1, len(CROPS), HASH_BYTES),
            data["hash_inside"].reshape(-1, HASH_BYTES),
        )


def _bytes(value: Any) -> Bytes:
    if isinstance(value, bytes):
        return np.frombuffer(value, np.uint8)
    return np.asarray(value, np.uint8)


def join_pictures(parts: Sequence[tuple[int, PictureHashes]]) -> PictureHashes:
    """Hashes of chunks of one source as one; with each, the frames of the chunks before it."""
    return PictureHashes(
        np.concatenate([part.frames + np.int32(before) for before, part in parts]),
        np.concatenate([part.quality for _, part in parts]),
        np.concatenate([part.parts for _, part in parts]),
        np.concatenate([part.whole for _, part in parts]),
        np.concatenate([part.halves for _, part in parts]),
        np.concatenate([part.crops for _, part in parts]),
        np.concatenate([part.inside for _, part in parts]),
    )


class PictureHasher:
    """Hashes the first frame of every eighth of a second, in fast motion every frame.

    Whether a frame is hashed depends on it and the frame before, on nothing else. What its bars are
    depends on all frames so far and some that follow.
    """

    def __init__(self, time_base: Fraction):
        self._ticks = time_base.numerator * PER_SECOND, time_base.denominator
        self._stretch: int | None = None
        self._frames: list[int] = []
        self._parts: list[int] = []
        self._staged: list[Luma] = []
        self._hashed: list[tuple[Bytes, ...]] = []
        self._margins: list[Margins | None] = []
        self._framed: list[tuple[int, Luma]] = []
        self._inside: list[Bytes] = [np.zeros((0, HASH_BYTES), np.uint8)]

    def look(self, frame: int, pts: int, luma: Luma, change: float) -> None:
        """Take a frame if its turn has come; frames in order.

        Args:
            frame: its number.
            pts: when it is shown.
            luma: the small frame.
            change: mean |change| of its samples since the frame before.
        """
        stretch, before = pts * self._ticks[0] // self._ticks[1], self._stretch
        if stretch == before and change < _FAST:
            return
        self._stretch = stretch
        halves = before is None or stretch // HALVES_EVERY != before // HALVES_EVERY
        crops = before is None or stretch // CROPS_EVERY != before // CROPS_EVERY
        self._frames.append(frame)
        self._parts.append(halves * _HAS_HALVES + crops * _HAS_CROPS)
        self._staged.append(luma)
        if len(self._staged) == _BATCH:
            self._hash_staged()

    def finish(self, skip: int = 0) -> PictureHashes:
        """All hashes but those of the first `skip` frames."""
        self._hash_staged()
        self._hash_framed()
        frames, parts = np.array(self._frames, np.int32), np.array(self._parts, np.uint8)
        quality, whole, halves, crops = map(np.concatenate, zip(*self._hashed, strict=True))
        inside = np.concatenate(self._inside)
        keep = frames >= skip
        return PictureHashes(
            frames[keep] - np.int32(skip),
            quality[keep],
            parts[keep],
            whole[keep, 0],
            halves[keep[(parts & _HAS_HALVES) > 0]],
            crops[keep[(parts & _HAS_CROPS) > 0]],
            inside[keep[(parts & _HAS_BARS) > 0]],
        )

    def _hash_staged(self) -> None:
        if not self._staged:
            return
        luma = np.stack(self._staged)
        parts = np.array(self._parts[-len(luma) :])
        self._staged = []
        first = len(self._margins)
        self._margins += flat_margins(luma)
        self._framed += [
            (first + at, luma[at].copy())
            for at, margins in enumerate(self._margins[first:])
            if margins is None or any(margins)
        ]
        if len(self._framed) >= _JUDGED_AT_ONCE:
            self._hash_framed()
        self._hashed.append(
            (
                picture_quality(luma),
                hash_windows(luma, (_EVERYTHING,)),
                hash_windows(luma[(parts & _HAS_HALVES) > 0], _HALVES),
                hash_windows(luma[(parts & _HAS_CROPS) > 0], _CROPS),
            )
        )

    def _hash_framed(self) -> None:
        """Hash what lies inside of the bars of the pictures that wait."""
        framed, self._framed = self._framed, []
        boxes = boxes_inside(self._margins, [self._margins[at] for at, _ in framed])
        for (at, picture), box in zip(framed, boxes, strict=True):
            if box is not None:
                self._parts[at] |= _HAS_BARS
                self._inside.append(hash_windows(picture[None], (box,))[0])


def hash_windows(luma: Luma, windows: Sequence[Box]) -> Bytes:
    """(n, windows, 32) bytes: pictures of one size, seen through each window."""
    count, height, width = luma.shape
    pixels = luma.reshape(-1, width).astype(np.float32)
    half_way = {
        sides: (pixels @ _waves(width, *sides)).reshape(count, height, SIDE)
        for sides in {window[2:] for window in windows}
    }
    hashes = np.empty((count, len(windows), HASH_BYTES), np.uint8)
    for index, window in enumerate(windows):
        terms = _waves(height, *window[:2]).T @ half_way[window[2:]]
        hashes[:, index] = np.packbits(terms.reshape(count, SIDE * SIDE) > _NOTHING, axis=1)
    return hashes


@lru_cache(maxsize=512)
def _waves(size: int, first: float, last: float) -> NDArray[np.float32]:
    """(size, 16) cosines over the stretch from `first` to `last`, summed over each sample."""
    edges = np.arange(size + 1) / size
    place = np.clip((edges - first) / (last - first), 0.0, 1.0)
    waves = np.pi * np.arange(1, SIDE + 1)
    return (np.diff(np.sin(place[:, None] * waves), axis=0) / waves * size).astype(np.float32)


def picture_quality(luma: Luma) -> NDArray[np.uint8]:
    """Steps between neighbouring samples of each picture: 0 for a flat one, at most 100."""
    steps = [_mean_step(p[:, 1:], p[:, :-1]) + _mean_step(p[1:], p[:-1]) for p in luma]
    shares = np.minimum(1.0, np.array(steps) / 2 / _FULL_QUALITY)
    return np.rint(shares * 100).astype(np.uint8)


def _mean_step(one: Luma, two: Luma) -> float:
    """The mean difference in whole percent of the range, smaller ones not counted."""
    return float(cv2.mean(cv2.LUT(cv2.absdiff(one, two), _WHOLE_PERCENT))[0])
