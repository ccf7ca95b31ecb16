"""What the packets of a stream say about time, without decoding them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PacketIndex", "count_gaps", "frame_rate", "is_uniform", "packet_pts", "shown_packets"]


@dataclass(frozen=True, slots=True, eq=False)
class PacketIndex:
    """The shown packets of one video stream, in presentation order."""

    pts: NDArray[np.int64]
    """Presentation timestamps, ascending."""
    keyframe: NDArray[np.bool_]
    last_duration: int
    """Ticks that the container gives the last packet, 0 when it says nothing."""
    discarded: int
    """Packets that an edit list hides: decoded, never shown."""
    untimed: int
    """Packets without any timestamp."""

    @classmethod
    def of(
        cls,
        pts: Sequence[int],
        keyframe: Sequence[int],
        duration: Sequence[int],
        discarded: int,
        untimed: int,
    ) -> PacketIndex:
        """Index packets that come in decoding order."""
        times = np.asarray(pts, np.int64)
        order = np.argsort(times, kind="stable")
        return cls(
            times[order],
            np.asarray(keyframe, np.bool_)[order],
            int(duration[order[-1]]) if len(order) else 0,
            discarded,
            untimed,
        )

    @property
    def step(self) -> int:
        """Usual number of ticks between two frames, 0 for fewer than two frames."""
        gaps = np.diff(self.pts)
        gaps = gaps[gaps > 0]
        return int(np.median(gaps)) if len(gaps) else 0

    @property
    def end_pts(self) -> int:
        """First tick after the last frame."""
        return int(self.pts[-1]) + (self.last_duration or self.step or 1)


def packet_pts(packet: Any) -> int | None:
    """When a packet is shown; containers such as AVI only say when it is decoded."""
    pts: int | None = packet.pts if packet.pts is not None else packet.dts
    return pts


def shown_packets(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets that hold data and that no edit list hides."""
    return (packet for packet in packets if packet.size and not packet.is_discard)


def is_uniform(pts: NDArray[np.int64]) -> bool:
    """Whether frames lie on one even grid, within the one tick that rounding to ticks costs."""
    if len(pts) < 3:
        return True
    grid = np.linspace(pts[0], pts[-1], len(pts))
    return bool(np.abs(pts - grid).max() <= 1.0)


def count_gaps(pts: NDArray[np.int64]) -> int:
    """Frames that a constant-rate stream lacks: whole steps that no frame fills.

    Streams whose steps are mostly uneven have no nominal rate, so nothing is missing from them.
    """
    steps = np.diff(pts)
    steps = steps[steps > 0]
    if len(steps) < 2:
        return 0
    usual = float(np.median(steps))
    whole = np.rint(steps / usual)
    on_grid = np.abs(steps - whole * usual) <= np.maximum(whole, usual * 0.05)
    if np.count_nonzero(whole == 1) < 0.5 * len(steps) or on_grid.mean() < 0.9:
        return 0
    return int((whole[whole > 1] - 1).sum())


def frame_rate(index: PacketIndex, time_base: Fraction, stated: Fraction | None) -> Fraction:
    """Average frames per second, exactly.

    The container's own rate is used where the timestamps agree with it to the tick, or the
    broadcast rate (30000/1001 and its kin) that a coarse clock blurred; otherwise frames are
    divided by the time that they span.
    """
    frames = len(index.pts)
    span_ticks = int(index.pts[-1] - index.pts[0])
    if stated and frames > 1 and is_uniform(index.pts):
        for rate in _plausible_rates(Fraction(stated)):
            if abs((frames - 1) / rate / time_base - span_ticks) <= 1:
                return rate
    return frames / (max(index.end_pts - int(index.pts[0]), 1) * time_base)


def _plausible_rates(stated: Fraction) -> tuple[Fraction, ...]:
    broadcast = Fraction(round(stated * Fraction(1001, 1000)) * 1000, 1001)
    if stated.denominator in (1, 1001) or not broadcast:
        return (stated,)
    return broadcast, stated
