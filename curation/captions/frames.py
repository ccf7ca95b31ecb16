"""The pictures that a captioner gets to see of a window.

They come from the stored storyboard (about one a second, small, nothing is decoded) or are decoded
anew at the very frames that `curation.choose_frames` chose.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curation.captions.base import Picture, Window
from curation.choose_frames import Method, choose, pictures
from curation.operators import Clip

__all__ = ["Decode", "Sampling", "clip_within", "pictures_of", "read_frames"]

JPEG_QUALITY = 88
MOST_PICTURES = 128

Decode = Callable[[str, list[int], int], Sequence[NDArray[np.uint8]]]
"""Frames of a file at exact pts, with the shorter side at most so many pixels."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which pictures of a window are shown, and how large. Part of the prompt's hash."""

    how: Method = "uniform"
    count: int = 8
    """At most so many."""
    per_s: float = 1.0
    """Pictures a second of `per-second`."""
    short_side: int = 256
    decoded: bool = False
    """Decode the frames anew instead of taking the storyboard's."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def clip_within(clip: Clip, window: Window) -> Clip:
    """The window as a clip of its own, with its frames and pictures."""
    if window.start_s <= 0.0 and window.end_s >= clip.seconds - 1e-6:
        return clip
    row = dict(clip.row)
    tick = row["time_base_num"] / row["time_base_den"]
    first, end = (row["start_pts"] + round(t / tick) for t in (window.start_s, window.end_s))
    row |= {"start_pts": first, "end_pts": end, "duration_s": window.end_s - window.start_s}
    if clip.source_signals is not None:
        inside = clip.source_signals.pts
        row["start_frame"] = int(np.searchsorted(inside, first))
        row["end_frame"] = max(row["start_frame"] + 1, int(np.searchsorted(inside, end)))
    story = [item for item in clip.story if first <= item.pts < end]
    return replace(clip, row=row, story=story)


def pictures_of(
    sampling: Sampling, clip: Clip, window: Window, decode: Decode | None = None
) -> list[Picture]:
    """The pictures of a window in order of time; none where none is stored in it."""
    part = clip_within(clip, window)
    count = min(sampling.count, MOST_PICTURES)
    if sampling.decoded and decode is not None and part.source_signals is not None:
        numbers = choose(part, sampling.how, count=count, per_s=sampling.per_s)
        chosen = part.source_signals.pts[part.span][numbers].tolist()
        frames = decode(clip.source["uri"], chosen, sampling.short_side)
        jpegs = [_jpeg(Image.fromarray(frame)) for frame in frames]
    else:
        stored = pictures(part, sampling.how, count=count, per_s=sampling.per_s)
        chosen = [item.pts for item in stored]
        jpegs = [_sized(item.jpeg, sampling.short_side) for item in stored]
    tick = clip.row["time_base_num"] / clip.row["time_base_den"]
    times = [round(max(0.0, (pts - clip.row["start_pts"]) * tick), 3) for pts in chosen]
    return [Picture(*pair) for pair in zip(times, jpegs, strict=True)]


def read_frames(path: str, pts: list[int], short_side: int) -> list[NDArray[np.uint8]]:
    """Decode frames; runs in a guarded child."""
    from curation.media.decode import read_exact

    return list(read_exact(path, pts, short_side=short_side).images)


def _sized(jpeg: bytes, short_side: int) -> bytes:
    """A stored picture as it is, or made smaller."""
    image = Image.open(io.BytesIO(jpeg))
    if min(image.size) <= short_side:
        return jpeg
    scale = short_side / min(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return _jpeg(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))


def _jpeg(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=JPEG_QUALITY)
    return target.getvalue()
