"""Shares of the work, each some seconds of one worker: parts of long sources, or several short.

A share is read as one stream, so workers do not wait for the first frame of every file; it is
committed as a whole, so it must not be long. How many frames make seconds depends on the model and
is known only once the first shares are done. Towards the end shares get smaller, so that all
workers finish together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from tokenize_jobs.plan import Unit

__all__ = ["Share", "Shares"]

SHARE_S = 8.0
FIRST_FRAMES = 256
"""Of a share while nobody knows how fast the model is."""

LEAST_FRAMES = 64

Share = tuple[Unit, ...]


class Shares:
    """What is still to be handed out, longest sources first; `opened` readies a unit for that."""

    def __init__(self, units: Iterable[Unit], opened: Callable[[Unit], Unit]):
        self._opened = opened
        self._waiting = deque(sorted(units, key=lambda unit: -unit.frames))
        self._frames = sum(unit.frames for unit in self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self, workers: int, frames_per_s: float) -> Share:
        """The next share. `frames_per_s` is what one worker does, 0 if that is not known yet."""
        wanted = SHARE_S * frames_per_s or FIRST_FRAMES
        left = int(max(LEAST_FRAMES, min(wanted, self._frames / (2 * workers))))
        share: list[Unit] = []
        while self._waiting and left > 0:
            if self._waiting[0].attempt and share:
                break
            unit, rest = self._opened(self._waiting.popleft()).split(left)
            if rest is not None:
                self._waiting.appendleft(rest)
            share.append(unit)
            self._frames -= unit.frames
            left -= unit.frames
            if unit.attempt:
                break
        return tuple(share)

    def give_back(self, units: Sequence[Unit]) -> None:
        """Work that was lost comes first; what was tried before goes out alone, for it may kill."""
        self._waiting.extendleft(units)
        self._frames += sum(unit.frames for unit in units)
