"""Laying encoded clips end to end in one MP4 file, without encoding them again."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from curation.export.mp4 import open_mp4
from curation.media.door import open_video
from curation.media.errors import MediaError
from curation.media.probe import scan

__all__ = ["join_videos"]


def join_videos(paths: Sequence[str], target: str, fps: Fraction) -> None:
    """Join videos of one encoder and one even rate, none of which reorders frames."""
    frames = 0
    stream: Any = None
    head = b""
    with open_mp4(target, fps.numerator) as container:
        for path in paths:
            with open_video(path) as video:
                context = video.stream.codec_context
                if stream is None:
                    stream = container.add_stream_from_template(video.stream, opaque=True)
                    stream.time_base = Fraction(1, fps.numerator)
                    head = bytes(context.extradata or b"")
                elif bytes(context.extradata or b"") != head:
                    raise MediaError("verify", "mismatch", "the clips are encoded differently")
                for packet in video.container.demux(video.stream):
                    if not packet.size:
                        continue
                    packet.pts = packet.dts = frames * fps.denominator
                    packet.duration = fps.denominator
                    packet.time_base = stream.time_base
                    packet.stream = stream
                    container.mux(packet)
                    frames += 1
    times = scan(target).index.pts
    if len(times) != frames or any(times != [n * fps.denominator for n in range(frames)]):
        raise MediaError("verify", "mismatch", "the joined file does not show the clips' frames")
