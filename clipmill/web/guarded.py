"""What opens files of sources for the viewer. Runs in guarded children, so it imports little."""

from __future__ import annotations

from fractions import Fraction

from curation.media.door import open_video
from curation.media.errors import MediaError
from curation.mocap.problems import MocapFileError
from curation.mocap.read import read_motion
from curation.mocap.skeleton import Motion
from curation.mocap.take import Overrides

__all__ = ["first_instant", "read_take"]


def first_instant(path: str) -> Fraction:
    """When the first stream of a film begins: a browser's clock is 0 there."""
    with open_video(path) as video:
        return Fraction(video.container.start_time or 0, 1_000_000)


def read_take(path: str, known: Overrides, start_frame: int, end_frame: int) -> Motion:
    """Some frames of a take, with the rate, unit and axes that were found when it was measured."""
    try:
        return read_motion(path, known).motion.frames(start_frame, end_frame)
    except MocapFileError as error:
        raise MediaError("open", "bad_take", error.problem) from error
