"""Copies of media that a curator has to recognise or survive: re-encodes, damage, disguises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from catalogs.errors import UsageError
from catalogs.testing.encoding import VideoWriter, stream_time_base
from catalogs.testing.overlays import draw_logo
from catalogs.testing.scenes import Picture
from catalogs.testing.video_truth import VideoTruth

__all__ = ["corrupt_bytes", "playlist_disguised", "render_copy", "truncate_file", "zero_byte"]


def render_copy(
    source: VideoTruth | str | Path,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    codec: str = "libx264",
    crf: int = 30,
    logo: bool = False,
    trim: tuple[int, int] | None = None,
    gray: bool = False,
) -> VideoTruth:
    """Re-encode a near duplicate: scaled, with a logo, cut to frames [start, end), or gray.

    The truth of a copy made from a `VideoTruth` is the source's, moved by `trim`; made from a
    path it holds what the container says and no shots.
    """
    target = Path(target)
    known = source if isinstance(source, VideoTruth) else _truth_of_container(Path(source))
    first, end = trim or (0, known.frames)
    if not 0 <= first < end <= known.frames:
        raise UsageError(f"trim {trim} is outside the file", allowed=f"0 to {known.frames}")
    copied = _trimmed(known, first, end)
    size = size or known.size
    with VideoWriter(target, size, known.fps, known.time_base, codec=codec, crf=crf) as writer:
        for index, picture in enumerate(_displayed_pictures(known.path)):
            if first <= index < end:
                writer.write(_altered(picture, size, logo, gray), copied.pts[index - first])
    stored_tick = stream_time_base(target)
    shots = known.size == size
    return replace(
        copied,
        path=target,
        size=size,
        codec=codec,
        time_base=stored_tick,
        pts=[round(pts * known.time_base / stored_tick) for pts in copied.pts],
        shots=[shot if shots else replace(shot, params={}) for shot in copied.shots],
        rotate_deg=0,
        audio=None,
    )


def _truth_of_container(path: Path) -> VideoTruth:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        rate, time_base = stream.average_rate, stream.time_base
    first = next(_displayed_pictures(path))
    return VideoTruth(
        path=path,
        frames=len(times),
        fps=Fraction(rate or 25),
        size=(first.shape[1], first.shape[0]),
        time_base=time_base or Fraction(1, 90000),
        pts=times,
    )


def _displayed_pictures(path: Path) -> Iterator[Picture]:
    """Decoded frames, turned as a player turns them."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def _altered(picture: Picture, size: tuple[int, int], logo: bool, gray: bool) -> Picture:
    from PIL import Image

    image = Image.fromarray(picture)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if gray:
        image = image.convert("L").convert("RGB")
    pixels = np.asarray(image)
    return draw_logo(pixels) if logo else pixels


def _trimmed(truth: VideoTruth, first: int, end: int) -> VideoTruth:
    """The truth of frames [first, end), counted from the new start."""

    def inside(start: int, last: int) -> tuple[int, int] | None:
        clipped = max(start, first), min(last, end - 1)
        return (clipped[0] - first, clipped[1] - first) if clipped[0] <= clipped[1] else None

    dissolves = [inside(*span) for span in truth.dissolves]
    fades = [(kind, inside(start, last)) for kind, start, last in truth.fades]
    spans = [(shot, inside(shot.start, shot.end - 1)) for shot in truth.shots]
    return replace(
        truth,
        frames=end - first,
        pts=[pts - truth.pts[first] for pts in truth.pts[first:end]],
        cuts=[cut - first for cut in truth.cuts if first < cut < end],
        dissolves=[span for span in dissolves if span],
        fades=[(kind, *span) for kind, span in fades if span],
        flashes=[frame - first for frame in truth.flashes if first <= frame < end],
        shots=[replace(shot, start=span[0], end=span[1] + 1) for shot, span in spans if span],
    )


def truncate_file(source: str | Path, target: str | Path, share: float) -> Path:
    """Keep the first `share` of the bytes."""
    if not 0 < share < 1:
        raise UsageError(f"share {share} leaves nothing to truncate", allowed="between 0 and 1")
    data = Path(source).read_bytes()
    return _written(target, data[: int(len(data) * share)])


def zero_byte(path: str | Path) -> Path:
    """An empty file."""
    return _written(path, b"")


def corrupt_bytes(source: str | Path, target: str | Path, seed: int = 0) -> Path:
    """Overwrite some bytes of the coded pictures, leaving the container readable."""
    rng = np.random.default_rng(seed)
    data = bytearray(Path(source).read_bytes())
    start, end = _payload(data)
    start += (end - start) // 8
    for place in rng.integers(start, end - 4, 24):
        data[place : place + 4] = rng.bytes(4)
    return _written(target, bytes(data))


def _payload(data: bytes | bytearray) -> tuple[int, int]:
    """Where an MP4's `mdat` box lies; of other containers, the middle of the file."""
    place = 0
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"mdat":
            return place + 8, place + length
        if length < 8:
            break
        place += length
    return len(data) // 4, len(data) * 9 // 10


def playlist_disguised(
    path: str | Path, target: str | Path, form: Literal["hls", "concat"] = "hls"
) -> Path:
    """A playlist under a video's name that asks its reader to open `target` (a file or URL)."""
    if form == "hls":
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n"
    else:
        text = f"ffconcat version 1.0\nfile '{target}'\n"
    return _written(path, text.encode())


def _written(path: str | Path, data: bytes) -> Path:
    path = Path(path)
    path.write_bytes(data)
    return path
