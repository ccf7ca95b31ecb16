"""Decoded frames of one open stream, ascending, from a verified position.

FFmpeg's seeks are hints: they may land after the asked time, between keyframes or, in files with
reordered frames, on a keyframe whose neighbours cannot be decoded from it. `StreamDecoder.seek`
looks at the keyframe where a seek landed and steps back when it is too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal

from catalogs.errors import UsageError
from curation.media.door import OpenedVideo
from curation.media.health import DecodeHealth
from curation.media.packets import packet_pts

__all__ = ["LoopFilter", "StreamDecoder", "demuxed"]

LoopFilter = Literal["none", "noref", "bidir", "nokey", "all"]
_LOOP_FILTERS = ("none", "noref", "bidir", "nokey", "all")

_STEP_BACK_S = (0, 1, 5, 20)


def demuxed(video: OpenedVideo, health: DecodeHealth) -> Iterator[Any]:
    """Packets of the stream as far as they can be read, then the empty one that ends it."""
    from av.error import FFmpegError
    from av.packet import Packet

    packets = video.container.demux(video.stream)
    try:
        yield from packets
    except FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        health.read_errors += 1
        flush = Packet()
        flush.stream = video.stream
        yield flush


class StreamDecoder:
    """Decodes the chosen stream of one open file and counts what goes wrong."""

    def __init__(
        self,
        video: OpenedVideo,
        skip_loop_filter: LoopFilter = "none",
        motion_vectors: bool = False,
        health: DecodeHealth | None = None,
    ):
        from av.codec.context import Flags2

        if skip_loop_filter not in _LOOP_FILTERS:
            raise UsageError(
                f"skip_loop_filter {skip_loop_filter!r} is unknown",
                allowed=", ".join(_LOOP_FILTERS),
            )
        self.video = video
        self.health = health or DecodeHealth()
        self._packets: Iterator[Any] | None = None
        """Packets to go on with after a seek or in a replay; None at the start of the file."""
        context = video.stream.codec_context
        context.thread_count = 1  # work is spread over sources, not over one file's frames
        context.options = {"skip_loop_filter": skip_loop_filter}
        if motion_vectors:
            context.flags2 |= Flags2.export_mvs

    def replay(self, packets: Iterable[Any]) -> None:
        """Decode these packets, read from the same file before, instead of reading them again."""
        self.video.stream.codec_context.flush_buffers()
        self._packets = iter(packets)

    @property
    def sought(self) -> bool:
        return self._packets is not None

    def seek(self, pts: int) -> bool:
        """Go to a keyframe shown at or before `pts`; False when no seek leads there."""
        from av.error import FFmpegError

        stream = self.video.stream
        for seconds in _STEP_BACK_S:
            target = int(pts) - round(seconds / stream.time_base)
            try:
                self.video.container.seek(target, stream=stream, backward=True)
            except FFmpegError:
                return False
            packets = demuxed(self.video, self.health)
            keyframe = next((packet for packet in packets if packet.is_keyframe), None)
            shown = packet_pts(keyframe) if keyframe is not None else None
            if shown is not None and shown <= pts:
                self._packets = chain([keyframe], packets)
                return True
        return False

    def frames(
        self, start_pts: int | None = None, end_pts: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield `(pts, frame)` ascending, from the current position.

        Frames before `start_pts` are part of it (decoding has to pass through them); the last
        one is the first at or after `end_pts`. Only packets inside the range are expected ones.
        """
        health = self.health
        last_pts: int | None = None
        for packet in self._packets or demuxed(self.video, health):
            self._expect(packet, start_pts, end_pts)
            for frame in self._decoded(packet):
                health.decoded_frames += 1
                pts = frame.pts if frame.pts is not None else frame.dts
                if pts is None:
                    health.untimed_frames += 1
                elif last_pts is not None and pts <= last_pts:
                    health.repeated_pts += 1
                else:
                    last_pts = pts
                    yield pts, frame

    def _expect(self, packet: Any, start_pts: int | None, end_pts: int | None) -> None:
        pts = packet_pts(packet)
        if not packet.size or packet.is_discard or pts is None:
            return
        if (start_pts is None or pts >= start_pts) and (end_pts is None or pts < end_pts):
            self.health.expected_frames += 1

    def _decoded(self, packet: Any) -> Any:
        from av.error import FFmpegError

        try:
            return packet.decode()
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.health.decode_errors += 1
            return []
