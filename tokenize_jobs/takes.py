"""Takes as the features that motion tokenizers read, from the joints that a catalog stores.

`FEATURES` names each representation with its width and usual rate. A clip is resampled in time
first, then turned into features as a whole and cut into windows last, so that windows of one clip
share their heading and floor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import NotFoundError, UsageError, nearest
from catalogs.query import Session
from catalogs.timebase import Span
from curation.mocap import features as humanml
from curation.mocap.resample import resample
from curation.mocap.stored import stored_motion
from tokenize_jobs.clips import ChosenClip
from tokenize_jobs.shards import Window
from tokenize_jobs.transform import Transform
from tokenize_jobs.windows import sample_ticks

__all__ = [
    "FEATURES",
    "MotionFeatures",
    "MotionWindow",
    "features_for",
    "features_named",
    "take_windows",
]

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MotionFeatures:
    """One representation: from joints (T, 22, 3) in metres, y up, and back to joints."""

    name: str
    fps: Fraction
    shape: tuple[int, ...]
    """Of one frame."""
    make: Callable[[NDArray[np.floating[Any]]], NDArray[np.floating[Any]]]
    joints: Callable[[NDArray[np.floating[Any]]], NDArray[np.floating[Any]]]


def _humanml(joints: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """One vector for each joint frame: the last one's steps are those of the one before."""
    vectors = humanml.extract(humanml.canonical(joints))
    return np.concatenate([vectors, vectors[-1:]])


FEATURES: Mapping[str, MotionFeatures] = {
    item.name: item
    for item in (
        MotionFeatures("humanml263", Fraction(20), (263,), _humanml, humanml.recover_joints),
        MotionFeatures("joints22", Fraction(20), (22, 3), humanml.canonical, lambda joints: joints),
    )
}


@dataclass(frozen=True, eq=False, slots=True)
class MotionWindow:
    """A window and its features."""

    window: Window
    values: Array


def features_named(name: str) -> MotionFeatures:
    if name not in FEATURES:
        raise UsageError(
            f"no motion features are called {name!r}",
            allowed=", ".join(FEATURES),
            hint=nearest(name, FEATURES),
        )
    return FEATURES[name]


def features_for(channels: int, joints: int, reader: str) -> MotionFeatures:
    """The features of so many values a frame (for each joint, where there are joints)."""
    shape = (joints, channels) if joints else (channels,)
    for features in FEATURES.values():
        if features.shape == shape:
            return features
    raise UsageError(
        f"{reader} reads {'x'.join(map(str, shape))} values a frame",
        allowed=", ".join(f"{'x'.join(map(str, f.shape))} ({f.name})" for f in FEATURES.values()),
        hint="features that a catalog's takes can be turned into",
    )


def take_windows(session: Session, clip: ChosenClip, transform: Transform) -> list[MotionWindow]:
    """The windows of a clip of a take."""
    features = features_named(transform.features)
    fps = transform.fps or features.fps
    motion = resample(stored_motion(session, clip.row), fps)
    if len(motion) < 2 or not np.isfinite(motion.joints).all():
        raise NotFoundError(
            f"clip {clip.clip_id} is too short, or joints are missing in it",
            hint="the scores of take_quality tell which takes are whole",
        )
    values = features.make(np.asarray(motion.joints, np.float64)).astype(np.float32)
    starts = sample_ticks(clip.span, fps)
    # The last frame lasts until the end of the span: a sample may fall behind its instant.
    values = values[np.minimum(np.arange(len(starts)), len(values) - 1)]
    made = []
    for index, (start, end) in enumerate(transform.windows(len(values))):
        stop = int(starts[end]) if end < len(starts) else clip.span.end_pts
        span = Span(int(starts[start]), stop, clip.span.time_base)
        window = Window(clip.clip_id, index, span, end - start, float(fps), transform.hash)
        made.append(MotionWindow(window, values[start:end]))
    return made
