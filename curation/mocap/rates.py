"""Exact frame rates from the rounded numbers that files hold.

A BVH file says `Frame Time: .0083333` and means 120 frames per second. The written digits allow
an interval of rates; the answer is the exact reciprocal where that is a whole number, else a
standard rate inside the interval, else the simplest fraction inside it.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from catalogs.errors import UsageError

__all__ = ["fps_from_frame_time", "fps_from_rate"]

_NTSC = [Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120, 240)]
_STANDARD = [
    *map(Fraction, (10, 12, 15, 20, 24, 25, 30, 40, 48, 50, 60, 72, 75, 90, 100, 120)),
    *map(Fraction, (125, 144, 150, 180, 200, 240, 250, 300, 360, 480, 500, 1000)),
    Fraction(25, 2),
    *_NTSC,
]
_SHORTEST_S, _LONGEST_S = Decimal("0.00001"), Decimal(100)
_FLOAT32_NOISE = Fraction(12, 10**8)
"""Relative error of a rate that was stored in single precision before it was printed."""


def fps_from_frame_time(text: str) -> Fraction:
    """Frames per second from the decimal text of a frame time in seconds."""
    seconds, digit = _decimal(text)
    exact = 1 / seconds
    if exact.denominator == 1:
        return exact
    noise = max(digit, seconds * _FLOAT32_NOISE)
    standard = _standard_between(1 / (seconds + noise), 1 / max(seconds - noise, seconds / 2))
    if standard is not None:
        return standard
    return _simplest(1 / (seconds + digit / 2), 1 / (seconds - digit / 2))


def fps_from_rate(value: float) -> Fraction:
    """Frames per second from a rate held as a float (29.97, 59.94005, 120.0)."""
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{value} frames per second is not a rate", allowed="a number above 0")
    exact = Fraction(repr(float(value)))
    noise = exact * _FLOAT32_NOISE
    if exact.denominator == 1:
        return exact
    rounded = Fraction(1, 10**3) if 100 * exact % 1 == 0 else noise
    standard = _standard_between(exact - max(noise, rounded), exact + max(noise, rounded))
    return standard if standard is not None else exact.limit_denominator(10_000)


def _decimal(text: str) -> tuple[Fraction, Fraction]:
    """The number and the size of one unit of its last digit."""
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise UsageError(f"{text!r} is not a number", allowed="seconds, such as 0.0333333") from (
            error
        )
    if not number.is_finite() or not _SHORTEST_S <= number <= _LONGEST_S:
        raise UsageError(
            f"a frame time of {text} s is impossible", allowed=f"{_SHORTEST_S} to {_LONGEST_S} s"
        )
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return Fraction(number), Fraction(10) ** exponent


def _standard_between(low: Fraction, high: Fraction) -> Fraction | None:
    inside = [rate for rate in _STANDARD if low <= rate <= high]
    middle = (low + high) / 2
    # whole rates first: 23.976 and 24 are both inside the interval of a coarse frame time
    return min(inside, key=lambda rate: (rate.denominator > 1, abs(rate - middle)), default=None)


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the smallest denominator in [low, high] (a Stern-Brocot walk)."""
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    floor = math.floor(low)
    return floor + 1 / _simplest(1 / (high - floor), 1 / (low - floor))
