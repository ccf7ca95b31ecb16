"""A source as the search sees it: hashes with their times, and the few that are looked up.

Not every hash is looked up, for neighbours in time are alike. `anchors_of` picks, for many sources
at once:

- `kept`: one of each second of the whole picture, the one around which it changes least, so that
  a copy whose frames fall a little beside still has it; of a picture that stands, the first;
- `asked`: as many as the picture changes, up to all of them in fast motion;
- one a second of each half, and one every other second of each smaller window;
- what lies inside of bars, of the pictures that are asked for and have some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hashes import Hashes, distance
from curation.signals import CROPS

__all__ = ["Anchors", "HashedSource", "anchors_of"]

KEPT_EVERY_S = 1.0
PARTS_EVERY_S = {"halves": 1.0, "crops": 2.0}
ENOUGH_CHANGE = 16
"""Bits that change until the next hash is asked for."""
_LEAST_CHANGE = 4
"""Bits that change until the next second is kept: a slide that stands for an hour is no crowd."""


@dataclass(frozen=True)
class HashedSource:
    """The hashes of one source. `whole` and `good` have one entry per hashed frame."""

    source_id: str
    time_base: Fraction
    pts: NDArray[np.int64]
    end_pts: int
    good: NDArray[np.bool_]
    """Whether there is enough in the picture to tell it from others."""
    whole: Hashes
    with_halves: NDArray[np.intp]
    """Which of the hashed frames `halves` are of."""
    halves: NDArray[np.uint64]
    """(n, 2, 4)"""
    with_crops: NDArray[np.intp]
    crops: NDArray[np.uint64]
    """(n, windows, 4)"""
    with_bars: NDArray[np.intp]
    inside: Hashes
    """What lies inside of bars, of the frames that have some."""
    content: str = ""
    """Hash of what every frame shows; equal for a source in another container."""

    @property
    def start_pts(self) -> int:
        """First instant; a take too short for a hash begins at zero."""
        return int(self.pts[0]) if len(self.pts) else 0

    @cached_property
    def without_bars(self) -> Hashes:
        """One hash per hashed frame: the whole picture, or what lies inside of its bars."""
        hashes = self.whole.copy()
        hashes[self.with_bars] = self.inside
        return hashes

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        return np.asarray(self.pts * float(self.time_base), np.float64)

    @cached_property
    def end_s(self) -> float:
        return self.end_pts * float(self.time_base)

    @cached_property
    def good_s(self) -> float:
        """Seconds whose hashes count."""
        lengths = np.diff(np.append(self.pts, self.end_pts))
        return float(lengths[self.good].sum() * float(self.time_base))


@dataclass(frozen=True)
class Anchors:
    """Hashes of many sources that are looked up; `*_of` are positions of the sources."""

    kept: Hashes
    kept_of: NDArray[np.int32]
    asked: Hashes
    asked_of: NDArray[np.int32]
    halves: NDArray[np.uint64]
    """(n, 2, 4)"""
    halves_of: NDArray[np.int32]
    crops: NDArray[np.uint64]
    """(n, windows, 4)"""
    crops_of: NDArray[np.int32]
    inside: Hashes
    inside_of: NDArray[np.int32]

    @classmethod
    def none(cls) -> Anchors:
        """Anchors of no source."""
        words, of = np.zeros((0, 4), np.uint64), np.zeros(0, np.int32)
        halves, crops = words.reshape(0, 2, 4), words.reshape(0, len(CROPS), 4)
        return cls(words, of, words, of, halves, of, crops, of, words, of)

    @classmethod
    def joined(cls, parts: Iterable[tuple[int, Anchors]]) -> Anchors:
        """Anchors of batches as one; with each, the position of its first source.

        Batches are taken one at a time: there is never room for all of it twice.
        """
        fields = {name: _Growing(getattr(cls.none(), name)) for name in _FIELDS}
        for first, part in parts:
            for name, field in fields.items():
                values = getattr(part, name)
                field.add(values + np.int32(first) if name.endswith("_of") else values)
        return cls(**{name: field.array() for name, field in fields.items()})


class _Growing:
    """Arrays put one behind the other in memory that grows where it lies."""

    def __init__(self, nothing: NDArray[Any]):
        self._all, self._used = nothing.copy(), 0

    def add(self, values: NDArray[Any]) -> None:
        end = self._used + len(values)
        if end > len(self._all):
            self._resize(end + end // 4)
        self._all[self._used : end] = values
        self._used = end

    def array(self) -> NDArray[Any]:
        self._resize(self._used)
        return self._all

    def _resize(self, length: int) -> None:
        self._all.resize((length, *self._all.shape[1:]), refcheck=False)


_FIELDS = tuple(Anchors.__dataclass_fields__)


def anchors_of(sources: Sequence[HashedSource]) -> Anchors:
    """What is looked up of some sources."""
    lengths = [len(source.pts) for source in sources]
    of = np.repeat(np.arange(len(sources), dtype=np.int32), lengths)
    starts = np.cumsum([0, *lengths])
    whole = np.concatenate([source.whole for source in sources])
    seconds = np.concatenate([source.seconds for source in sources])
    good = np.concatenate([source.good for source in sources])
    change = _change(whole, of)
    unrest = np.maximum(change, np.append(change[1:], 0))
    calm = _calmest(of, seconds, unrest, good, KEPT_EVERY_S)
    steps = _change(whole[calm], of[calm])
    kept = calm[_changing(of[calm], steps, np.arange(len(calm)), _LEAST_CHANGE)]
    asked = np.union1d(kept, _changing(of, change, np.flatnonzero(good), ENOUGH_CHANGE))
    parts = {}
    for name, every_s in PARTS_EVERY_S.items():
        places = [
            start + getattr(source, f"with_{name}")
            for source, start in zip(sources, starts, strict=False)
        ]
        at = np.concatenate(places)
        chosen = _calmest(of[at], seconds[at], unrest[at], good[at], every_s)
        hashes = np.concatenate([getattr(source, name) for source in sources])
        parts[name] = hashes[chosen], of[at][chosen]
    bars = np.concatenate(
        [start + source.with_bars for source, start in zip(sources, starts, strict=False)]
    )
    inside = np.concatenate([source.inside for source in sources])
    barred = np.isin(bars, asked)
    return Anchors(
        whole[kept],
        of[kept],
        whole[asked],
        of[asked],
        *parts["halves"],
        *parts["crops"],
        inside[barred],
        of[bars[barred]],
    )


def _change(whole: Hashes, of: NDArray[np.int32]) -> NDArray[np.int64]:
    """Bits that changed since the hash before of the same source."""
    change = np.zeros(len(whole), np.int64)
    change[1:] = np.where(of[1:] == of[:-1], distance(whole[1:], whole[:-1]), 0)
    return change


def _calmest(
    of: NDArray[np.int32],
    seconds: NDArray[np.float64],
    unrest: NDArray[np.int64],
    good: NDArray[np.bool_],
    every_s: float,
) -> NDArray[np.intp]:
    """Of each source and stretch of time the good hash with the least change around it."""
    places = np.flatnonzero(good)
    stretch = np.floor(seconds[places] / every_s).astype(np.int64)
    order = np.lexsort((places, unrest[places], stretch, of[places]))
    places, stretch = places[order], stretch[order]
    first = np.ones(len(places), bool)
    first[1:] = (of[places][1:] != of[places][:-1]) | (stretch[1:] != stretch[:-1])
    return np.sort(places[first])


def _changing(
    of: NDArray[np.int32], change: NDArray[np.int64], places: NDArray[np.intp], enough: int
) -> NDArray[np.intp]:
    """Of some places those before which the picture had changed by enough bits."""
    level = np.cumsum(change) // enough
    new = np.ones(len(places), bool)
    new[1:] = (level[places][1:] != level[places][:-1]) | (of[places][1:] != of[places][:-1])
    return places[new]
