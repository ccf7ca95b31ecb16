"""Exact time: presentation timestamps in a rational time base.

Video and mocap meet on this clock. A timestamp is an integer count of ticks (`pts`) and the
length of one tick (`time_base`, a `Fraction` of a second); seconds are derived, never stored as
the truth. Comparing or converting timestamps of different time bases is exact: two timestamps
are equal when they name the same instant.

    >>> ntsc = Fraction(1001, 30000)
    >>> Timestamp(30, ntsc).seconds
    Fraction(1001, 1000)
    >>> Span(0, 30, ntsc).duration
    Fraction(1001, 1000)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import total_ordering
from typing import Literal

from catalogs.errors import UsageError

__all__ = ["Rounding", "Span", "Timestamp"]

Rounding = Literal["exact", "floor", "ceil", "nearest"]


def _rounded(value: Fraction, rounding: Rounding) -> int:
    if rounding == "floor":
        return math.floor(value)
    if rounding == "ceil":
        return math.ceil(value)
    if rounding == "nearest":
        return math.floor(value + Fraction(1, 2))
    if rounding != "exact":
        raise UsageError(f"rounding {rounding!r} is unknown", allowed="exact, floor, ceil, nearest")
    if value.denominator != 1:
        raise UsageError(
            f"{value} s lies between two ticks of the time base",
            hint="say how to round: rounding='floor', 'ceil' or 'nearest'",
        )
    return value.numerator


def _checked_base(time_base: Fraction) -> Fraction:
    base = Fraction(time_base)
    if base <= 0:
        raise UsageError(f"time base {time_base} is not positive", allowed="a fraction of a second")
    return base


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Timestamp:
    """An instant: `pts` ticks of `time_base` seconds each."""

    pts: int
    time_base: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_base", _checked_base(self.time_base))

    @classmethod
    def from_seconds(
        cls, seconds: Fraction | int, time_base: Fraction, rounding: Rounding = "exact"
    ) -> Timestamp:
        base = _checked_base(time_base)
        return cls(_rounded(Fraction(seconds) / base, rounding), base)

    @property
    def seconds(self) -> Fraction:
        """The instant in seconds, exactly."""
        return self.pts * self.time_base

    def __float__(self) -> float:
        return float(self.seconds)

    def rescaled(self, time_base: Fraction, rounding: Rounding = "exact") -> Timestamp:
        """The same instant in another time base."""
        return Timestamp.from_seconds(self.seconds, time_base, rounding)

    def frame(self, fps: Fraction) -> int:
        """The index of the constant-rate frame that is on screen at this instant."""
        return math.floor(self.seconds * Fraction(fps))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.seconds == other.seconds

    def __lt__(self, other: Timestamp) -> bool:
        return self.seconds < other.seconds

    def __hash__(self) -> int:
        return hash(self.seconds)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time `[start_pts, end_pts)`: the end is exclusive."""

    start_pts: int
    end_pts: int
    time_base: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_base", _checked_base(self.time_base))
        if self.end_pts <= self.start_pts:
            raise UsageError(
                f"span [{self.start_pts}, {self.end_pts}) is empty or runs backwards",
                allowed="end_pts > start_pts (the end is exclusive)",
            )

    @property
    def start(self) -> Timestamp:
        return Timestamp(self.start_pts, self.time_base)

    @property
    def end(self) -> Timestamp:
        """The first instant after the span."""
        return Timestamp(self.end_pts, self.time_base)

    @property
    def duration(self) -> Fraction:
        """Length in seconds, exactly."""
        return (self.end_pts - self.start_pts) * self.time_base

    def contains(self, instant: Timestamp) -> bool:
        return self.start <= instant < self.end

    def overlap(self, other: Span) -> Fraction:
        """Seconds that both spans share, zero when they only touch."""
        start = max(self.start.seconds, other.start.seconds)
        end = min(self.end.seconds, other.end.seconds)
        return max(end - start, Fraction(0))

    def frames(self, fps: Fraction) -> int:
        """How many constant-rate frames begin inside the span."""
        rate = Fraction(fps)
        return math.ceil(self.end.seconds * rate) - math.ceil(self.start.seconds * rate)

    def rescaled(self, time_base: Fraction, rounding: Rounding = "exact") -> Span:
        """The same span in another time base."""
        start = self.start.rescaled(time_base, rounding)
        end = self.end.rescaled(time_base, rounding)
        return Span(start.pts, end.pts, start.time_base)
