"""Boundaries of a file, without a catalog: decode, measure, detect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalogs.errors import ClipmillError
from curation.jobs.measure import measure_whole
from curation.jobs.settings import MillSettings
from curation.media.guard import run_guarded
from curation.segment import Boundary, SegmentSettings, detect

__all__ = ["find_cuts"]


def find_cuts(file: Path, settings: SegmentSettings) -> dict[str, Any]:
    """The boundaries of one file as plain values; a file that cannot be read says why.

    Returns {file, frames, boundaries: [{kind, frame, end_frame, pts, seconds}]}, or
    {file, error, error_class}.
    """
    whole = MillSettings(segment=settings)
    limits = whole.limits
    try:
        measured = run_guarded(
            measure_whole, str(file), whole, wall_s=limits.wall_s, memory_mb=limits.memory_mb
        )
    except ClipmillError as error:
        return {"file": str(file), "error": error.problem, "error_class": _class_of(error)}
    signals = measured.signals
    return {
        "file": str(file),
        "frames": len(signals),
        "boundaries": [
            _plain(boundary, float(signals.time_base)) for boundary in detect(signals, settings)
        ],
    }


def _class_of(error: ClipmillError) -> str:
    return str(getattr(error, "error_class", type(error).__name__))


def _plain(boundary: Boundary, tick_s: float) -> dict[str, Any]:
    return {
        "kind": boundary.kind,
        "frame": boundary.frame,
        "end_frame": boundary.end_frame,
        "pts": boundary.pts,
        "seconds": boundary.pts * tick_s,
    }
