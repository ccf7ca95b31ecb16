"""The planes of decoded frames as 8-bit studio-range Y, U and V, without a copy where possible.

Frames of 8 bits and studio range, which is nearly all footage, stay where the decoder left them.
Full-range 4:2:0, which telephones and screen recorders write, stays there too, with tables that
say what a sample is in studio range, for only some samples are looked at. swscale converts the
rest: more bits, other colour models, full range of other samplings.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Plane", "Planes", "StudioPlanes"]

Plane = NDArray[np.uint8]

_NATIVE = frozenset({"yuv420p", "yuv422p", "yuv440p", "yuv444p"})
_SAME_SAMPLES = frozenset({"yuv420p", "yuvj420p"})
"""Formats whose full range becomes studio range sample by sample."""
_STUDIO_RANGE, _FULL_RANGE = 1, 2


class Planes(NamedTuple):
    """Y, U and V."""

    luma: Plane
    blue: Plane
    red: Plane
    levels: tuple[Plane, Plane] | None = None
    """What each value of luma, and of chroma, is in studio range; None when it is that already."""


class StudioPlanes:
    """Gives the planes of the frames of one stream, in their own size."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Planes:
        if frame.color_range != _FULL_RANGE and frame.format.name in _NATIVE:
            return _views(frame)
        if frame.color_range == _FULL_RANGE and frame.format.name in _SAME_SAMPLES:
            return _views(frame)._replace(levels=_tables())
        return _views(self.converted(frame))

    def converted(self, frame: Any) -> Any:
        """The frame as swscale makes it 4:2:0 of studio range."""
        return self._reformatter.reformat(
            frame, format="yuv420p", dst_color_range=_STUDIO_RANGE, threads=1
        )


def _views(frame: Any) -> Planes:
    luma, blue, red = frame.planes[:3]
    return Planes(_view(luma), _view(blue), _view(red))


def _view(plane: Any) -> Plane:
    return np.ndarray((plane.height, plane.width), np.uint8, plane, 0, (plane.line_size, 1))


@cache
def _tables() -> tuple[Plane, Plane]:
    """What swscale makes of each luma and each chroma value of full range."""
    from av import VideoFrame

    ramp = VideoFrame(512, 2, "yuvj420p")
    ramp.color_range = _FULL_RANGE
    for plane in _views(ramp)[:3]:
        plane[:] = np.arange(plane.shape[1])
    planes = _views(StudioPlanes().converted(ramp))
    return planes.luma[0, :256].copy(), planes.blue[0].copy()
