"""One file as one clip: how to try an operator without a catalog.

    >>> from curation.operators import checked_scores, create
    >>> from curation.operators.trial import clip_of_file
    >>> checked_scores(create("sharpness"), [clip_of_file("holiday.mp4")])

The file is measured just as a run measures it, but in this process and without a guard: use it on
files that you trust.
"""

from __future__ import annotations

from pathlib import Path

from curation.operators.base import Clip

__all__ = ["clip_of_file"]


def clip_of_file(path: str | Path) -> Clip:
    """Everything a run would know of a video that is one single clip."""
    from curation.jobs.measure import measure_whole
    from curation.jobs.settings import MillSettings

    measured = measure_whole(str(path), MillSettings())
    found = measured.probe
    seconds = float((measured.signals.end_pts - found.start_pts) * found.time_base)
    frames = len(measured.signals)
    return Clip(
        row={
            "clip_id": Path(path).stem,
            "kind": "video",
            "start_frame": 0,
            "end_frame": frames,
            "frames": frames,
            "start_s": float(found.start_pts * found.time_base),
            "duration_s": seconds,
            "fps": frames / seconds,
        },
        source={
            "kind": "video",
            "width": found.width,
            "height": found.height,
            "frames": frames,
            "duration_s": seconds,
            "bytes": Path(path).stat().st_size,
        },
        source_signals=measured.signals,
        story=measured.story,
        audio_db=measured.audio_db,
    )
