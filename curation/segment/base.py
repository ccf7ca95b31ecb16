"""What every detector returns, and the contract they share.

A detector is a module with one function

    detect(signals: VideoSignals, *, name=default, ...) -> list[Boundary]

over stored signals: it opens no video. Its keyword arguments are its settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.signals import VideoSignals

__all__ = ["Boundary", "BoundaryKind", "cuts_at", "spaced"]

BoundaryKind = Literal["cut", "dissolve", "fade_in", "fade_out"]


class Boundary(NamedTuple):
    """A change of shot. Boundaries sort by time."""

    frame: int
    """First frame of the new shot; of a gradual change its first mixed frame."""
    end_frame: int
    """Last mixed frame of a gradual change; equal to `frame` for a cut."""
    kind: BoundaryKind
    pts: int
    """Of `frame`."""


def cuts_at(signals: VideoSignals, frames: Sequence[int] | NDArray[np.intp]) -> list[Boundary]:
    """Hard cuts before the given frames."""
    at = np.asarray(frames, np.intp)
    starts = at.tolist()
    columns = zip(starts, starts, repeat("cut"), signals.pts[at].tolist(), strict=False)
    return list(map(Boundary._make, columns))


def spaced(candidates: NDArray[np.intp], min_frames: int) -> list[int]:
    """Candidates that leave at least `min_frames` since the last one taken, or since the start."""
    if min_frames <= 1:  # different frames are always one apart
        return candidates[candidates >= min_frames].tolist()
    taken: list[int] = []
    last = 0
    for at in candidates.tolist():
        if at - last >= min_frames:
            taken.append(at)
            last = at
    return taken
