"""The planes of decoded frames as 8-bit studio-range Y, U and V, without a copy where possible.

Frames of 8 bits and studio range, which is nearly all footage, stay where the decoder left them.
Full-range 4:2:0, which telephones and screen recorders write, is looked up in a table for each
sample. swscale converts the rest: more bits, other colour models, full range of other samplings.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Plane", "Planes", "StudioPlanes"]

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]

_NATIVE = frozenset({"yuv420p", "yuv422p", "yuv440p", "yuv444p"})
_SAME_SAMPLES = frozenset({"yuv420p", "yuvj420p"})
"""Formats whose full range becomes studio range sample by sample."""
_STUDIO_RANGE, _FULL_RANGE = 1, 2


class StudioPlanes:
    """Gives the planes of the frames of one stream, in their own size."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Planes:
        if frame.color_range != _FULL_RANGE and frame.format.name in _NATIVE:
            return _views(frame)
        if frame.color_range == _FULL_RANGE and frame.format.name in _SAME_SAMPLES:
            luma, chroma = _tables()
            full, blue, red = _views(frame)
            return cv2.LUT(full, luma), cv2.LUT(blue, chroma), cv2.LUT(red, chroma)
        return _views(self.converted(frame))

    def converted(self, frame: Any) -> Any:
        """The frame as swscale makes it 4:2:0 of studio range."""
        return self._reformatter.reformat(
            frame, format="yuv420p", dst_color_range=_STUDIO_RANGE, threads=1
        )


def _views(frame: Any) -> Planes:
    luma, blue, red = frame.planes[:3]
    return _view(luma), _view(blue), _view(red)


def _view(plane: Any) -> Plane:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


@cache
def _tables() -> tuple[Plane, Plane]:
    """What swscale makes of each luma and each chroma value of full range.

    Looking values up takes a third of the time that swscale needs for the same numbers.
    """
    from av import VideoFrame

    ramp = VideoFrame(512, 2, "yuvj420p")
    ramp.color_range = _FULL_RANGE
    for plane in _views(ramp):
        plane[:] = np.arange(plane.shape[1])
    luma, chroma, _ = _views(StudioPlanes().converted(ramp))
    return luma[0, :256].copy(), chroma[0].copy()
