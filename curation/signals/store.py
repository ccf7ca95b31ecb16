"""Measured signals of one stretch of video, in memory and as plain arrays for the catalog.

A thumbnail of 8-bit luma per frame (about 12 by 7 samples) lies beside the numbers, so that any two
frames can be compared later without opening the video: dissolves, flashes, returns to an earlier
picture, duplicates. It is stored as changes from frame to frame, which compress well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import FormatError, UsageError, nearest
from curation.signals.declare import READABLE_VERSIONS, SET_VERSION, SIGNALS
from curation.signals.pictures import PICTURE_COLUMNS, PictureHashes, join_pictures

__all__ = ["VideoSignals", "join_signals"]


@dataclass(frozen=True, slots=True)
class VideoSignals:
    """One value per frame and signal, in presentation order."""

    time_base: Fraction
    pts: NDArray[np.int64]
    end_pts: int
    """First tick after the last frame."""
    small_size: tuple[int, int]
    """Width and height of the frames that were measured."""
    columns: dict[str, NDArray[Any]]
    thumbs: NDArray[np.uint8]
    """(frames, height, width) of luma."""
    pictures: PictureHashes | None = None
    """Hashes of some frames; None in signals of a set version before 2."""
    version: int = SET_VERSION

    def __len__(self) -> int:
        return len(self.pts)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise UsageError(
                f"signal {name!r} was not measured",
                allowed=", ".join(self.columns),
                hint=nearest(name, SIGNALS),
            )
        return self.columns[name]

    def boundary_pts(self, frame: int) -> int:
        """When `frame` begins; for the frame after the last one, when the video ends."""
        return self.end_pts if frame >= len(self) else int(self.pts[frame])

    def seconds(self) -> NDArray[np.float64]:
        """When each frame begins, in seconds."""
        return np.multiply(self.pts, float(self.time_base), dtype=np.float64)

    def to_row(self) -> dict[str, Any]:
        """Plain arrays and integers, one entry per stored column."""
        return {
            "set_version": self.version,
            "time_base_num": self.time_base.numerator,
            "time_base_den": self.time_base.denominator,
            "small_width": self.small_size[0],
            "small_height": self.small_size[1],
            "pts": self.pts,
            "end_pts": self.end_pts,
            "thumb_width": self.thumbs.shape[2],
            "thumb_height": self.thumbs.shape[1],
            "thumbs": _pack_thumbs(self.thumbs),
            **(self.pictures.to_row() if self.pictures else {}),
            **self.columns,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> VideoSignals:
        """The inverse of `to_row`; refuses signals of an unknown version."""
        if row["set_version"] not in READABLE_VERSIONS:
            raise FormatError(
                f"signals of set version {row['set_version']}",
                allowed="versions " + ", ".join(map(str, READABLE_VERSIONS)),
                hint="measure the source again",
            )
        pts = np.asarray(row["pts"], np.int64)
        shape = (len(pts), int(row["thumb_height"]), int(row["thumb_width"]))
        return cls(
            time_base=Fraction(row["time_base_num"], row["time_base_den"]),
            pts=pts,
            end_pts=int(row["end_pts"]),
            small_size=(int(row["small_width"]), int(row["small_height"])),
            columns={
                name: np.asarray(row[name], np.int64 if spec.storage == "int64" else np.float32)
                for name, spec in SIGNALS.items()
                if row.get(name) is not None
            },
            thumbs=_unpack_thumbs(np.asarray(row["thumbs"], np.uint8), shape),
            pictures=_pictures(row),
            version=row["set_version"],
        )


def join_signals(parts: Sequence[VideoSignals]) -> VideoSignals:
    """Chunks of one source, in order, as one; each chunk was measured with a lead-in frame."""
    if not parts:
        raise UsageError("no signals to join", allowed="at least one chunk")
    first = parts[0]
    for before, after in pairwise(parts):
        if (after.time_base, after.small_size) != (first.time_base, first.small_size):
            raise UsageError("chunks of different streams cannot be joined")
        if after.pts[0] <= before.pts[-1]:
            raise UsageError(
                f"a chunk begins at pts {after.pts[0]}, before the end of the one in front of it",
                allowed="chunks in presentation order that do not overlap",
            )
    return VideoSignals(
        time_base=first.time_base,
        pts=np.concatenate([part.pts for part in parts]),
        end_pts=parts[-1].end_pts,
        small_size=first.small_size,
        columns={
            name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns
        },
        thumbs=np.concatenate([part.thumbs for part in parts]),
        pictures=_joined_pictures(parts),
        version=first.version,
    )


def _pictures(row: Mapping[str, Any]) -> PictureHashes | None:
    there = all(row.get(name) is not None for name in PICTURE_COLUMNS)
    return PictureHashes.from_row(row) if there else None


def _joined_pictures(parts: Sequence[VideoSignals]) -> PictureHashes | None:
    hashed = [part.pictures for part in parts if part.pictures is not None]
    if len(hashed) < len(parts):
        return None
    befores = [0, *np.cumsum([len(part) for part in parts])[:-1].tolist()]
    return join_pictures(list(zip(befores, hashed, strict=True)))


def _pack_thumbs(thumbs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change from frame to frame, one sample position after the other (wraps modulo 256)."""
    return np.diff(thumbs, axis=0, prepend=np.uint8(0)).reshape(len(thumbs), -1).T.ravel()


def _unpack_thumbs(packed: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    changes = packed.reshape(-1, shape[0]).T.reshape(shape)
    return np.cumsum(changes, axis=0, dtype=np.uint8)
