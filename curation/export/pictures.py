"""The frames of a span: decoded, timed, and shaped as they are displayed."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan
from curation.media.door import open_video
from curation.media.geometry import Geometry, geometry_of
from curation.media.stream import StreamDecoder

__all__ = ["Clock", "Shaper", "Shown", "shown_frames"]

_STUDIO_RANGE = 1
_BT709 = 1
_TURNS = {90: ("clock",), 180: ("clock", "clock"), 270: ("cclock",)}


@dataclass(frozen=True, slots=True)
class Clock:
    """Times in a written clip: ticks of one over a whole number of seconds, from 0."""

    span: ClipSpan
    fps: Fraction | None

    @property
    def scale(self) -> int:
        """Ticks per second: those of the source, or of the asked frame rate."""
        return self.fps.numerator if self.fps else self.span.time_base.denominator

    def ticks(self, pts: int) -> int:
        """A source's timestamp as ticks of the clip; exact when frames keep their times."""
        return (pts - self.span.start_pts) * self.span.time_base.numerator

    def grid(self, pts: int) -> int:
        """The first frame of the even grid at or after a source's timestamp."""
        assert self.fps is not None
        return math.ceil((pts - self.span.start_pts) * self.span.time_base * self.fps)


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame of a clip."""

    source_pts: int
    time: int
    """When it is shown, in ticks of the clip's clock."""
    duration: int
    frame: Any
    geometry: Geometry


def shown_frames(
    path: str, span: ClipSpan, clock: Clock, *, from_start: bool = False
) -> Generator[Shown, None, None]:
    """The frames of a clip in order; `from_start` decodes the source up to it, without a seek."""
    with closing(_decoded(path, span, from_start)) as frames:
        yield from _timed(frames, clock)


def _decoded(
    path: str, span: ClipSpan, from_start: bool
) -> Generator[tuple[int, tuple[Any, Geometry]], None, None]:
    if not from_start:
        with open_video(path) as video:
            decoder = StreamDecoder(video)
            if decoder.seek(span.start_pts):
                yield from _inside(decoder, span)
                return
    with open_video(path) as video:
        yield from _inside(StreamDecoder(video), span)


def _inside(decoder: StreamDecoder, span: ClipSpan) -> Iterator[tuple[int, tuple[Any, Geometry]]]:
    for pts, frame in decoder.frames(span.start_pts, span.end_pts):
        if pts >= span.end_pts:
            return
        if pts >= span.start_pts:
            yield pts, (frame, geometry_of(decoder.video.stream, frame))


def _timed(frames: Iterable[tuple[int, tuple[Any, Geometry]]], clock: Clock) -> Iterator[Shown]:
    """Give each frame the time until the next one, or its places on the even grid."""
    held: tuple[int, tuple[Any, Geometry]] | None = None
    end: list[tuple[int, Any]] = [(clock.span.end_pts, None)]
    grid = 0
    for pts, picture in chain(frames, end):
        if held is not None:
            shown_pts, (frame, geometry) = held
            if clock.fps is None:
                time = clock.ticks(shown_pts)
                yield Shown(shown_pts, time, clock.ticks(pts) - time, frame, geometry)
            else:
                step = clock.fps.denominator
                for number in range(grid, clock.grid(pts)):
                    yield Shown(shown_pts, number * step, step, frame, geometry)
                grid = max(grid, clock.grid(pts))
        if picture is not None:
            held = pts, picture


class Shaper:
    """Turns decoded frames upright, to square pixels and the asked size and pixel format."""

    def __init__(self, settings: MediaSettings, pix_fmt: str):
        from av.video.reformatter import VideoReformatter

        self._settings = settings
        self._pix_fmt = pix_fmt
        self._size = settings.size
        self._inner: dict[Geometry, tuple[int, int]] = {}
        self._reformatter = VideoReformatter()
        self._graphs: dict[tuple[Geometry, tuple[int, int]], Any] = {}

    def size(self, geometry: Geometry) -> tuple[int, int]:
        """Width and height of everything that comes out; the first frame's unless one is given."""
        if self._size is None:
            even = self._pix_fmt != "rgb24"
            self._size = geometry.fit(self._settings.short_side, even)
            self._inner[geometry] = self._size
        return self._size

    def _fitted(self, geometry: Geometry) -> tuple[int, int]:
        """The picture without the black around it."""
        canvas = self.size(geometry)
        if geometry not in self._inner:
            shown = geometry.display_size
            scale = min(Fraction(canvas[0], shown[0]), Fraction(canvas[1], shown[1]))
            width, height = (
                min(most, 2 * max(1, round(side * scale / 2)))
                for most, side in zip(canvas, shown, strict=True)
            )
            self._inner[geometry] = width, height
        return self._inner[geometry]

    def __call__(self, frame: Any, geometry: Geometry) -> Any:
        width, height = self._fitted(geometry)
        if geometry.turned:
            width, height = height, width
        shaped = self._reformatter.reformat(
            frame,
            width,
            height,
            self._pix_fmt,
            interpolation="BICUBIC",
            dst_colorspace=_BT709 if self._settings.uniform else None,
            dst_color_range=None if self._pix_fmt == "rgb24" else _STUDIO_RANGE,
            threads=1,
        )
        graph = self._graph(geometry, (width, height))
        if graph is None:
            return shaped
        graph.push(shaped)
        return graph.pull()

    def _graph(self, geometry: Geometry, pushed: tuple[int, int]) -> Any:
        """Turns and pads; None where there is nothing to do."""
        import av.filter

        key = geometry, pushed
        if key not in self._graphs:
            steps = [("transpose", turn) for turn in _TURNS.get(geometry.rotation_deg, ())]
            if self.size(geometry) != self._fitted(geometry):
                width, height = self.size(geometry)
                steps.append(("pad", f"{width}:{height}:-1:-1:black"))
            graph = av.filter.Graph() if steps else None
            if graph is not None:
                source = graph.add_buffer(
                    width=pushed[0],
                    height=pushed[1],
                    format=av.VideoFormat(self._pix_fmt),
                    time_base=Fraction(1, 1),
                )
                parts = [source, *(graph.add(*step) for step in steps), graph.add("buffersink")]
                graph.link_nodes(*parts).configure()
            self._graphs[key] = graph
        return self._graphs[key]
