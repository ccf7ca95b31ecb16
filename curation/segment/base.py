"""What every detector returns, and the contract they share.

A detector is a module with one function

    detect(signals: VideoSignals, *, name=default, ...) -> list[Boundary]

over stored signals: it opens no video. Its keyword arguments are its settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curation.signals import VideoSignals

__all__ = ["Boundary", "BoundaryKind", "cuts_at", "spaced"]

BoundaryKind = Literal["cut", "dissolve", "fade_in", "fade_out"]


@dataclass(frozen=True, slots=True, order=True)
class Boundary:
    """A change of shot."""

    frame: int
    """First frame of the new shot; of a gradual change its first mixed frame."""
    end_frame: int
    """Last mixed frame of a gradual change; equal to `frame` for a cut."""
    kind: BoundaryKind
    pts: int
    """Of `frame`."""


def cuts_at(signals: VideoSignals, frames: Iterable[int]) -> list[Boundary]:
    """Hard cuts before the given frames."""
    return [Boundary(int(at), int(at), "cut", int(signals.pts[at])) for at in frames]


def spaced(candidates: NDArray[np.intp], min_frames: int) -> list[int]:
    """Candidates that leave at least `min_frames` since the last one taken, or since the start."""
    taken: list[int] = []
    last = 0
    for at in candidates.tolist():
        if at - last >= min_frames:
            taken.append(at)
            last = at
    return taken
