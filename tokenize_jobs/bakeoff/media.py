"""The same windows for every model: spread evenly over the chosen clips, read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError
from catalogs.query import Session
from curation.media.guard import GuardedWorker
from tokenize_jobs.clips import ChosenSource, chosen_sources, frame_times
from tokenize_jobs.read import read_windows
from tokenize_jobs.takes import take_windows
from tokenize_jobs.transform import Transform
from tokenize_jobs.windows import FrameWindow, clip_windows

__all__ = ["motion_windows", "picture_windows"]

T = TypeVar("T")


def picture_windows(
    catalog: Catalog,
    transform: Transform,
    *,
    clips: int,
    selection: str | None = None,
    where: str | None = None,
) -> list[tuple[Fraction, NDArray[np.uint8]]]:
    """(frame rate, frames) of the middle window of each of at most so many clips."""
    sources = chosen_sources(catalog, kind="video", selection=selection, where=where)
    planned = [
        (source, window)
        for session, source in sources
        for window in _middles(session, source, transform)
    ]
    taken = _spread(planned, clips)
    if not taken:
        raise NotFoundError(
            f"no clip is {transform.window} frames long", hint="ask for fewer frames: --frames"
        )
    with GuardedWorker() as guard:
        return [
            (_rate(source, transform), _frames(guard, source, window, transform))
            for source, window in taken
        ]


def motion_windows(
    catalog: Catalog,
    transform: Transform,
    *,
    clips: int,
    selection: str | None = None,
    where: str | None = None,
) -> list[tuple[Fraction, NDArray[np.float32]]]:
    """(frame rate, features) of the middle window of each of at most so many clips of takes."""
    found = []
    for session, source in chosen_sources(catalog, kind="mocap", selection=selection, where=where):
        for clip in source.clips:
            try:
                windows = take_windows(session, clip, transform)
            except NotFoundError:
                continue  # a clip without a whole body cannot be compared
            if windows:
                middle = windows[len(windows) // 2]
                found.append((Fraction(middle.window.fps), middle.values))
    if not found:
        raise NotFoundError("no take is long enough", hint="ask for fewer frames: --frames")
    return _spread(found, clips)


def _middles(session: Session, source: ChosenSource, transform: Transform) -> Iterator[FrameWindow]:
    times = frame_times(session, source.source_id)
    for clip in source.clips:
        windows = list(clip_windows(clip.clip_id, clip.span, times, source.fps, transform))
        if windows:
            yield windows[len(windows) // 2]


def _rate(source: ChosenSource, transform: Transform) -> Fraction:
    return transform.fps or source.fps


def _frames(
    guard: GuardedWorker, source: ChosenSource, window: FrameWindow, transform: Transform
) -> NDArray[np.uint8]:
    ((_, frames),) = guard.stream(
        read_windows, source.uri, [window.pts], transform, source.size, source.frame_ticks()
    )
    return frames


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, evenly over all."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]
