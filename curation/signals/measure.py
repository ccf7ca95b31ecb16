"""The one pass over a file: the decode door on one side, the meter on the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.media.door import PathInput, open_video
from curation.media.errors import MediaError
from curation.media.geometry import geometry_of
from curation.media.health import DecodeHealth
from curation.media.packets import count_gaps
from curation.media.stream import LoopFilter, StreamDecoder
from curation.signals.shrink import Plane
from curation.signals.store import VideoSignals
from curation.signals.transnet import TransNet
from curation.signals.video import VideoMeter

__all__ = ["measure_video"]

_PLANAR = {
    f"yuv{full}{sampling}p" for full in ("", "j") for sampling in ("420", "422", "440", "444")
}
_STUDIO_RANGE = 1
_FULL_RANGE = 2


def measure_video(
    path: PathInput,
    *,
    edges: bool = False,
    network: TransNet | None = None,
    skip_loop_filter: LoopFilter = "all",
) -> tuple[VideoSignals, DecodeHealth]:
    """Measure every frame of a file, and say how its decoding went.

    The loop filter only smooths block borders, which the small frames do not show; leaving it out
    saves a quarter of the decoding time.
    """
    with _one_thread(), open_video(path) as video:
        decoder = StreamDecoder(video, skip_loop_filter)
        meter: VideoMeter | None = None
        end_pts = 0
        for pts, frame in decoder.frames():
            if meter is None:
                geometry = geometry_of(video.stream, frame)
                meter = VideoMeter(
                    *geometry.display_size,
                    video.stream.time_base,
                    turn_deg=geometry.rotation_deg,
                    edges=edges,
                    network=network,
                )
            meter.add_planes(pts, *_planes(frame))
            decoder.health.frames += 1
            decoder.health.corrupt_frames += frame.is_corrupt
            end_pts = pts + (frame.duration or 0)
        if meter is None:
            raise MediaError("decode", "undecodable", "no frame decodes", source=str(path))
        signals = meter.finish(end_pts=end_pts if end_pts > pts else None)
        decoder.health.missing_frames = count_gaps(signals.pts)
        return signals, decoder.health


@contextmanager
def _one_thread() -> Iterator[None]:
    """Work is spread over sources: more threads for one small frame cost more than they save."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _planes(frame: Any) -> tuple[Plane, Plane, Plane]:
    """8-bit studio-range Y, U and V; without a copy where the decoder has them already."""
    if frame.format.name not in _PLANAR or frame.color_range == _FULL_RANGE:
        frame = frame.reformat(format="yuv420p", dst_color_range=_STUDIO_RANGE, threads=1)
    luma, blue, red = (_view(plane) for plane in frame.planes[:3])
    return luma, blue, red


def _view(plane: Any) -> NDArray[np.uint8]:
    rows: NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
