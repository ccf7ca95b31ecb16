"""The one pass over a mocap file. Runs in a guarded child, as decoding does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.media.errors import MediaError
from curation.mocap.body import body_of
from curation.mocap.problems import MocapFileError
from curation.mocap.read import read_motion
from curation.mocap.signals import motion_signals
from curation.mocap.take import Overrides

__all__ = ["MeasuredTake", "measure_take"]


@dataclass(slots=True)
class MeasuredTake:
    """What reading a take gave."""

    source: dict[str, Any]
    """Columns of `sources`."""
    signals: dict[str, NDArray[np.float32]]
    joints: NDArray[np.float32] | None
    """(frames, 22, 3) in metres, y up; None when the joints are not those of a person."""
    seconds: dict[str, float] = field(default_factory=dict)


def measure_take(path: str, overrides: Overrides) -> MeasuredTake:
    """Read and measure a take; raises `MediaError` with line and reason when it is broken."""
    began = time.perf_counter()
    try:
        take = read_motion(path, overrides)
    except MocapFileError as error:
        detail = error.problem if error.allowed is None else f"{error.problem} ({error.allowed})"
        raise MediaError("open", "bad_take", detail) from error
    source = take.source_row()
    signals = motion_signals(take.motion)
    body = body_of(take.motion)
    joints = body.joints.astype(np.float32) if body is not None else None
    return MeasuredTake(source, signals, joints, {"measure_take": time.perf_counter() - began})
