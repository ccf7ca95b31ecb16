"""MP4 files: opening one, and interleaving pictures and sound."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from curation.export.sound import AudioEncoder

__all__ = ["Written", "muxed", "open_mp4"]


@dataclass(slots=True)
class Written:
    """What went into a file."""

    times: list[int] = field(default_factory=list)
    """When each frame is shown, in ticks of the file's clock, ascending."""
    size: tuple[int, int] | None = None
    """Width and height as displayed, where they were chosen here."""
    bit_depth: int = 8
    audio: str | None = None
    pixel_sums: dict[str, Any] = field(default_factory=dict)


@contextmanager
def open_mp4(target: str, scale: int) -> Iterator[Any]:
    """A file to write whose video track counts `scale` ticks a second; its index comes first."""
    import av

    av.logging.set_level(None)
    options = {"movflags": "+faststart", "video_track_timescale": str(scale)}
    with av.open(target, "w", format="mp4", options=options) as container:
        yield container


def muxed(container: Any, pictures: Iterator[Any], sound: AudioEncoder | None) -> None:
    """Write packets in the order in which they are needed."""
    tracks = [pictures, sound.packets()] if sound is not None else [pictures]
    for packet in heapq.merge(*tracks, key=_needed_at):
        container.mux(packet)


def _needed_at(packet: Any) -> float:
    return float(packet.dts * packet.time_base)
