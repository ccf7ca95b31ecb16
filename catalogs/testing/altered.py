"""Copies of any video as crawls find them: re-encoded, scaled, cropped, marked, cut out.

    render_altered("film.mp4", "copy.mp4", "crop5")

Each of `ALTERATIONS` is one thing that happens to a video. A copy shows at most the first
`LONGEST_S` seconds, `subclip` three seconds from an odd offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import UsageError, nearest
from catalogs.testing.encoding import VideoWriter

__all__ = ["ALTERATIONS", "LONGEST_S", "Alteration", "render_altered"]

Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]

LONGEST_S = 8.0
SUBCLIP_S = 3.0
_SUBCLIP_AT = 0.371
_SHORT_SIDE = 360
_TICK = Fraction(1, 90_000)


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
        from PIL import Image

        height, width = (max(16, round(side * share)) for side in picture.shape[:2])
        image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image)

    return change


def _cropped(margin: float) -> Change:
    def change(picture: Picture) -> Picture:
        rows, columns = (round(side * margin) for side in picture.shape[:2])
        return picture[rows : picture.shape[0] - rows, columns : picture.shape[1] - columns]

    return change


def _framed(picture: Picture) -> Picture:
    """Black bars above and below, a tenth of the new height each."""
    bar = np.zeros((picture.shape[0] // 8, *picture.shape[1:]), np.uint8)
    return np.concatenate([bar, picture, bar])


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


def _brightened(picture: Picture) -> Picture:
    table = np.rint(255 * (np.arange(256) / 255) ** 0.65).astype(np.uint8)
    return table[picture]


ALTERATIONS: Mapping[str, Alteration] = {
    "h264": Alteration(_as_it_is, crf=34),
    "vp9": Alteration(_as_it_is, "libvpx-vp9", 50),
    "half": Alteration(_scaled(0.5)),
    "crop5": Alteration(_cropped(0.05)),
    "crop15": Alteration(_cropped(0.15)),
    "bars": Alteration(_framed),
    "logo": Alteration(_marked),
    "gamma": Alteration(_brightened),
    "rate": Alteration(_as_it_is, other_rate=True),
    "subclip": Alteration(_as_it_is, is_part=True),
    "mirrored": Alteration(lambda picture: picture[:, ::-1]),
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
    first = max(0.0, min(length - SUBCLIP_S, length * _SUBCLIP_AT)) if how.is_part else 0.0
    last = first + (SUBCLIP_S if how.is_part else LONGEST_S)
    pictures = _pictures(Path(source), first, last)
    if how.other_rate:
        rate = Fraction(24) if rate > 27 else Fraction(30)
        pictures = _resampled(pictures, rate)
    writer: VideoWriter | None = None
    for when, picture in pictures:
        even = _even(how.change(picture))
        if writer is None:
            size = (even.shape[1], even.shape[0])
            writer = VideoWriter(target, size, rate, _TICK, codec=how.codec, crf=how.crf)
            writer.__enter__()
        writer.write(even, round(when / float(_TICK)))
    if writer is None:
        raise UsageError(f"{source} shows nothing to copy", allowed="a video with pictures")
    writer.__exit__(None, None, None)
    return target


def _rate_and_length(path: Path) -> tuple[Fraction, float]:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 25).limit_denominator(1001)
        if stream.duration is not None and stream.time_base is not None:
            return rate, float(stream.duration * stream.time_base)
        return rate, float((container.duration or 0) / 1_000_000)


def _pictures(path: Path, first: float, last: float) -> Iterator[tuple[float, Picture]]:
    """Displayed pictures between two moments, with their time from the first one's."""
    import av

    with av.open(str(path)) as container:
        begin: float | None = None
        start: float | None = None
        shrink: Change = _as_it_is
        for frame in container.decode(video=0):
            if frame.pts is None or frame.time_base is None:
                continue
            when = float(frame.pts * frame.time_base)
            begin = when if begin is None else begin
            if when - begin < first:
                continue
            if when - begin >= last:
                return
            picture = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            if start is None:
                start = when
                if min(picture.shape[:2]) > _SHORT_SIDE:
                    shrink = _scaled(_SHORT_SIDE / min(picture.shape[:2]))
            yield when - start, shrink(np.ascontiguousarray(picture))


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
