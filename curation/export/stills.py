"""The frames of a span as picture files, with the times at which they are shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from curation.export.made import Made
from curation.export.pictures import Clock, Shaper, shown_frames
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan

__all__ = ["TIMES", "write_stills"]

TIMES = "times.json"


def write_stills(
    path: str, span: ClipSpan, folder: str, settings: MediaSettings, *, from_start: bool = False
) -> Made:
    """Write `<clip>/000000.jpg`, ... and `<clip>/times.json` into `folder`."""
    clock = Clock(span, settings.fps)
    shaper = Shaper(settings, "rgb24")
    inside = Path(folder) / span.clip_id
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir(parents=True)
    seconds: list[float] = []
    source_pts: list[int] = []
    size = (0, 0)
    for number, shown in enumerate(shown_frames(path, span, clock, from_start=from_start)):
        picture = shaper(shown.frame, shown.geometry)
        size = (picture.width, picture.height)
        _save(picture, inside / f"{number:06d}.{settings.pictures}", settings)
        seconds.append(shown.time / clock.scale)
        source_pts.append(shown.source_pts)
    times = {"seconds": seconds, "source_pts": source_pts, "time_base": str(span.time_base)}
    (inside / TIMES).write_text(json.dumps(times) + "\n", encoding="utf-8")
    return Made(
        clip_id=span.clip_id,
        how="frames",
        files=tuple(sorted(f"{span.clip_id}/{file.name}" for file in inside.iterdir())),
        frames=len(seconds),
        last_time_s=seconds[-1] if seconds else 0.0,
        width=size[0],
        height=size[1],
    )


def _save(frame: Any, path: Path, settings: MediaSettings) -> None:
    from PIL import Image

    image = Image.fromarray(frame.to_ndarray())
    if settings.pictures == "jpg":
        image.save(path, "JPEG", quality=settings.quality)
    else:
        image.save(path, "PNG", compress_level=4)
