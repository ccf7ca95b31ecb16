"""Copies of any video as crawls find them: re-encoded, scaled, cropped, marked, cut out.

    render_altered("film.mp4", "copy.mp4", "crop5")

Each of `ALTERATIONS` is one thing that happens to a video. A copy shows at most the first
`LONGEST_S` seconds, `subclip` three seconds from an odd offset. `render_inside` puts such a part
into another video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError, nearest
from catalogs.testing.encoding import VideoWriter

__all__ = [
    "ALTERATIONS",
    "INSIDE_FROM_S",
    "LONGEST_S",
    "SUBCLIP_S",
    "Alteration",
    "render_altered",
    "render_inside",
]

Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]

LONGEST_S = 5.0
SUBCLIP_S = 3.0
INSIDE_FROM_S = 2.3
"""When the part of another video begins in one that holds it."""
_SUBCLIP_AT = 0.371
_SHORT_SIDE = 360
_TICK = Fraction(1, 60_000)


@dataclass(frozen=True, slots=True)
class Alteration:
    """What is done to pictures and time, and how the copy is encoded."""

    change: Change
    codec: str = "libx264"
    crf: int = 27
    is_part: bool = False
    other_rate: bool = False


def _as_it_is(picture: Picture) -> Picture:
    return picture


def _scaled(share: float) -> Change:
    def change(picture: Picture) -> Picture:
        height, width = (max(16, round(side * share)) for side in picture.shape[:2])
        return _resized(picture, (width, height))

    return change


def _resized(picture: Picture, size: tuple[int, int]) -> Picture:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def _cropped(before: float, after: float | None = None) -> Change:
    """Without these shares of height and width at the upper left and at the lower right."""

    def change(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        top, left = round(height * before), round(width * before)
        end = before if after is None else after
        return picture[top : height - round(height * end), left : width - round(width * end)]

    return change


def _framed(axis: int, share: float, colour: tuple[int, int, int] = (0, 0, 0)) -> Change:
    """Bars above and below (axis 0) or at both sides, each a share of the picture."""

    def change(picture: Picture) -> Picture:
        shape = list(picture.shape)
        shape[axis] = round(shape[axis] * share)
        bar = np.broadcast_to(np.array(colour, np.uint8), shape)
        return np.concatenate([bar, picture, bar], axis)

    return change


def _marked(picture: Picture) -> Picture:
    """A white disc with a dark core in the upper right corner, as a channel's logo."""
    marked = picture.copy()
    height, width = picture.shape[:2]
    radius = round(0.07 * min(height, width))
    rows, columns = np.ogrid[:height, :width]
    away = np.hypot(rows - 2 * radius, columns - (width - 2 * radius))
    marked[away < radius] = 240
    marked[away < radius / 2] = (20, 40, 120)
    return marked


def _bannered(picture: Picture) -> Picture:
    """A yellow strip in the lower left corner, as of a programme's name."""
    marked = picture.copy()
    height, width = picture.shape[:2]
    strip = marked[round(0.86 * height) : round(0.95 * height), round(0.04 * width) : width // 3]
    strip[:] = 230, 200, 20
    return marked


def _lit(gamma: float) -> Change:
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return lambda picture: table[picture]


ALTERATIONS: Mapping[str, Alteration] = {
    "h264": Alteration(_as_it_is, crf=34),
    "vp9": Alteration(_as_it_is, "libvpx-vp9", 50),
    "half": Alteration(_scaled(0.5)),
    "crop5": Alteration(_cropped(0.05)),
    "crop15": Alteration(_cropped(0.15)),
    "bars": Alteration(_framed(0, 1 / 8)),
    "logo": Alteration(_marked),
    "gamma": Alteration(_lit(0.65)),
    "rate": Alteration(_as_it_is, other_rate=True),
    "mirrored": Alteration(lambda picture: picture[:, ::-1]),
    "mpeg4": Alteration(_as_it_is, "mpeg4"),
    "mjpeg": Alteration(_as_it_is, "mjpeg"),
    "pillars": Alteration(_framed(1, 1 / 6)),
    "blue_bars": Alteration(_framed(0, 1 / 8, (30, 60, 140))),
    "off_centre": Alteration(_cropped(0.12, 0.03)),
    "banner": Alteration(_bannered),
    "darker": Alteration(_lit(1.4)),
    "subclip": Alteration(_as_it_is, is_part=True),
}


def render_altered(source: str | Path, target: str | Path, kind: str) -> Path:
    """Write a copy of a video with one alteration; the container follows the suffix of `target`."""
    if kind not in ALTERATIONS:
        raise UsageError(
            f"{kind!r} is not an alteration",
            allowed=", ".join(ALTERATIONS),
            hint=nearest(kind, ALTERATIONS),
        )
    how, target = ALTERATIONS[kind], Path(target)
    rate, length = _rate_and_length(Path(source))
    first = _part_from(length) if how.is_part else 0.0
    last = first + (SUBCLIP_S if how.is_part else LONGEST_S)
    pictures = iter(_pictures(Path(source), first, last))
    if how.other_rate:
        rate = Fraction(24) if rate > 27 else Fraction(30)
        pictures = _resampled(pictures, rate)
    _write(target, ((when, how.change(shown)) for when, shown in pictures), rate, how)
    return target


def render_inside(source: str | Path, host: str | Path, target: str | Path) -> Path:
    """Write the beginning of a video with the part of another in it that `subclip` shows.

    The part begins at `INSIDE_FROM_S`; it has the size and about the rate of its host.
    """
    rate, _ = _rate_and_length(Path(host))
    _, length = _rate_and_length(Path(source))
    first = _part_from(length)
    around = _pictures(Path(host), 0.0, LONGEST_S)
    height, width = around[0][1].shape[:2]
    part = [
        (INSIDE_FROM_S + when, _resized(picture, (width, height)))
        for when, picture in _pictures(Path(source), first, first + SUBCLIP_S)
    ]
    shown = [item for item in around if item[0] < INSIDE_FROM_S] + part
    behind = part[-1][0] + float(1 / rate)
    shown += [(when - INSIDE_FROM_S + behind, p) for when, p in around if when >= INSIDE_FROM_S]
    _write(Path(target), _resampled(iter(shown), rate), rate, ALTERATIONS["mpeg4"])
    return Path(target)


def _part_from(length: float) -> float:
    return max(0.0, min(length - SUBCLIP_S, length * _SUBCLIP_AT))


def _write(
    target: Path, pictures: Iterator[tuple[float, Picture]], rate: Fraction, how: Alteration
) -> None:
    writer: VideoWriter | None = None
    for when, picture in pictures:
        even = _even(picture)
        if writer is None:
            size = (even.shape[1], even.shape[0])
            writer = VideoWriter(target, size, rate, _TICK, codec=how.codec, crf=how.crf)
            writer.__enter__()
        writer.write(even, round(when / float(_TICK)))
    if writer is None:
        raise UsageError(f"nothing to show in {target}", allowed="a video with pictures")
    writer.__exit__(None, None, None)


def _rate_and_length(path: Path) -> tuple[Fraction, float]:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 25).limit_denominator(1001)
        if stream.duration is not None and stream.time_base is not None:
            return rate, float(stream.duration * stream.time_base)
        return rate, float((container.duration or 0) / 1_000_000)


@lru_cache(maxsize=1)
def _pictures(path: Path, first: float, last: float) -> tuple[tuple[float, Picture], ...]:
    """Displayed pictures between two moments, with their time from the first one's."""
    import av

    found: list[tuple[float, Picture]] = []
    with av.open(str(path)) as container:
        begin: float | None = None
        for frame in container.decode(video=0):
            if frame.pts is None or frame.time_base is None:
                continue
            when = float(frame.pts * frame.time_base)
            begin = when if begin is None else begin
            if when - begin >= last:
                break
            if when - begin >= first:
                found.append((when, _shown(frame)))
    return tuple((when - found[0][0], picture) for when, picture in found)


def _shown(frame: Any) -> Picture:
    """A decoded frame as displayed, at most `_SHORT_SIDE` on its shorter side."""
    picture = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
    shrink = _SHORT_SIDE / min(picture.shape[:2])
    return _scaled(shrink)(picture) if shrink < 1 else picture


def _resampled(
    pictures: Iterator[tuple[float, Picture]], rate: Fraction
) -> Iterator[tuple[float, Picture]]:
    """The same at a constant rate: pictures are repeated or left out, time stays."""
    number = 0
    for when, picture in pictures:
        while number / rate <= when:
            yield float(number / rate), picture
            number += 1


def _even(picture: Picture) -> Picture:
    """As encoders want it: even width and height."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])
