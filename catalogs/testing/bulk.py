"""Much media for little work: hour-long files and folders of ten thousand.

Nothing here encodes more than a few seconds: a long file repeats the packets of one encoded
segment with later times, and many files share the pictures of a few under bytes of their own.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from catalogs.errors import UsageError
from catalogs.testing.video import render_video
from catalogs.testing.video_truth import Shot, VideoTruth

__all__ = ["render_long_video", "render_many"]

SEGMENT_SHOTS_S = (5, 3, 4)
VARIANTS = 8


def render_long_video(
    path: str | Path,
    minutes: float,
    *,
    size: tuple[int, int] = (160, 90),
    fps: Fraction | int = Fraction(10),
    seed: int = 0,
) -> VideoTruth:
    """A file of three shots every twelve seconds; the length is rounded up to such a segment."""
    path, fps = Path(path), Fraction(fps)
    if minutes <= 0 or fps.denominator != 1:
        raise UsageError(
            f"cannot repeat segments for {minutes} minutes at {fps} fps",
            allowed="minutes above 0 and a whole number of frames per second",
        )
    lengths = [seconds * int(fps) for seconds in SEGMENT_SHOTS_S]
    shots = [
        Shot("pan_left", lengths[0], seed),
        Shot("moving_shapes", lengths[1], seed + 1),
        Shot("shake", lengths[2], seed + 2),
    ]
    segment_path = path.with_name(f".segment-{path.name}")
    segment = render_video(segment_path, shots, size=size, fps=fps, gop=sum(lengths))
    try:
        repeats = -int(-minutes * 60 // sum(SEGMENT_SHOTS_S))
        _repeat_packets(segment, path, repeats)
    finally:
        segment_path.unlink()
    return _repeated_truth(segment, path, repeats)


def _repeat_packets(segment: VideoTruth, path: Path, repeats: int) -> None:
    import av

    segment_ticks = round(segment.frames / segment.fps / segment.time_base)
    with (
        av.open(str(segment.path)) as source,
        av.open(str(path), "w", options={"fflags": "+bitexact"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.time_base = segment.time_base
        for repeat in range(repeats):
            source.seek(0)
            for packet in source.demux(video=0):
                if packet.dts is None or packet.pts is None:
                    continue
                packet.dts += repeat * segment_ticks
                packet.pts += repeat * segment_ticks
                packet.stream = stream
                target.mux_one(packet)


def _repeated_truth(segment: VideoTruth, path: Path, repeats: int) -> VideoTruth:
    starts = range(0, repeats * segment.frames, segment.frames)
    step = segment.pts[1] - segment.pts[0]
    return replace(
        segment,
        path=path,
        frames=repeats * segment.frames,
        pts=[step * frame for frame in range(repeats * segment.frames)],
        cuts=[start + shot.start for start in starts for shot in segment.shots][1:],
        shots=[
            replace(shot, start=start + shot.start, end=start + shot.end)
            for start in starts
            for shot in segment.shots
        ],
    )


def render_many(folder: str | Path, count: int, *, seed: int = 0) -> list[Path]:
    """`count` tiny MP4 files of half a second, each with bytes of its own.

    Their pictures are those of eight scenes; a `free` box at the end, which players skip, holds
    the file's number.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    variants = []
    for variant in range(min(VARIANTS, count)):
        path = folder / f".variant-{variant}.mp4"
        render_video(path, [Shot("pan_left", 5, seed + variant)], size=(64, 48), fps=10)
        variants.append(path.read_bytes())
        path.unlink()
    paths = []
    for number in range(count):
        free_box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        path = folder / f"tiny-{number:05d}.mp4"
        path.write_bytes(variants[number % len(variants)] + free_box)
        paths.append(path)
    return paths
