"""Planes of decoded frames in studio range."""

from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from curation.media.studio import StudioPlanes

STUDIO, FULL = 1, 2


def frame_of(pixel_format: str, color_range: int) -> av.VideoFrame:
    """Noise of an odd size, so that rows have padding and chroma is rounded up."""
    frame = av.VideoFrame(101, 35, pixel_format)
    frame.color_range = color_range
    random = np.random.default_rng(3)
    for plane in frame.planes:
        data = np.frombuffer(plane, np.uint8)
        data[:] = random.integers(0, 256, len(data))
    return frame


def by_swscale(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in StudioPlanes().converted(frame).planes
    ]


@pytest.mark.parametrize("pixel_format", ["yuvj420p", "yuv420p", "yuvj444p"])
def test_full_range_becomes_what_swscale_makes_of_it(pixel_format: str) -> None:
    frame = frame_of(pixel_format, FULL)
    *planes, levels = StudioPlanes()(frame)
    tables = (levels[0], levels[1], levels[1]) if levels else [np.arange(256)] * 3
    for plane, table, expected in zip(planes, tables, by_swscale(frame), strict=True):
        np.testing.assert_array_equal(table[plane], expected)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_studio_range_is_not_copied(pixel_format: str) -> None:
    frame = frame_of(pixel_format, STUDIO)
    *planes, levels = StudioPlanes()(frame)
    assert levels is None
    for found, plane in zip(planes, frame.planes, strict=True):
        assert found.shape == (plane.height, plane.width)
        assert np.shares_memory(found, np.frombuffer(plane, np.uint8))
