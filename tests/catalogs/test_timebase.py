"""Time is exact: no conversion drifts, whatever the time base."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.errors import UsageError
from catalogs.timebase import Span, Timestamp

NTSC = Fraction(1001, 30000)

bases = st.fractions(min_value=Fraction(1, 10**9), max_value=10, max_denominator=10**9).filter(
    lambda base: base > 0
)
ticks = st.integers(-(2**62), 2**62)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start = draw(st.integers(-(2**40), 2**40))
    return Span(start, start + draw(st.integers(1, 2**40)), draw(bases))


def random_bases(count: int) -> list[Fraction]:
    """Time bases as containers have them and as nobody would choose them."""
    dice = random.Random(20_260_501)
    usual = [
        Fraction(1, 90_000),
        NTSC,
        Fraction(1, 1_000_000),
        Fraction(1, 48_000),
        Fraction(1, 24),
    ]
    drawn = [Fraction(dice.randint(1, 2_000), dice.randint(1, 10**7)) for _ in range(count)]
    return usual + drawn


def test_seconds_and_back_lose_nothing_over_ten_thousand_time_bases() -> None:
    dice = random.Random(7)
    for base in random_bases(10_000):
        stamp = Timestamp(dice.randint(-(2**50), 2**50), base)
        assert stamp.seconds == Fraction(stamp.pts) * base
        assert Timestamp.from_seconds(stamp.seconds, base).pts == stamp.pts
        fps = 1 / base
        assert stamp.frame(fps) == stamp.pts
        finer = base / dice.randint(1, 1_000)
        assert stamp.rescaled(finer).rescaled(base) == stamp


def test_adding_ticks_never_drifts() -> None:
    dice = random.Random(8)
    for base in random_bases(10_000)[::100]:
        steps = [dice.randint(1, 5_000) for _ in range(200)]
        total = sum((Span(0, step, base).duration for step in steps), Fraction(0))
        assert total == Timestamp(sum(steps), base).seconds


@given(ticks, bases, bases)
def test_rounding_moves_an_instant_by_less_than_a_tick(
    pts: int, base: Fraction, other: Fraction
) -> None:
    stamp = Timestamp(pts, base)
    floor, ceil = stamp.rescaled(other, "floor"), stamp.rescaled(other, "ceil")
    nearest = stamp.rescaled(other, "nearest")
    assert floor.seconds <= stamp.seconds <= ceil.seconds
    assert stamp.seconds - floor.seconds < other
    assert ceil.seconds - stamp.seconds < other
    assert abs(nearest.seconds - stamp.seconds) <= other / 2


@given(ticks, bases, st.integers(1, 1_000))
def test_the_same_instant_in_two_bases_is_equal_and_hashes_equal(
    pts: int, base: Fraction, times: int
) -> None:
    coarse, fine = Timestamp(pts, base), Timestamp(pts * times, base / times)
    assert coarse == fine
    assert hash(coarse) == hash(fine)
    assert not coarse < fine
    assert coarse < Timestamp(pts * times + 1, base / times)


@given(spans(), spans())
def test_overlap_is_symmetric_and_bounded(a: Span, b: Span) -> None:
    assert a.overlap(b) == b.overlap(a)
    assert 0 <= a.overlap(b) <= min(a.duration, b.duration)
    assert a.overlap(a) == a.duration


@given(spans())
def test_a_span_holds_its_start_and_not_its_end(span: Span) -> None:
    assert span.contains(span.start)
    assert not span.contains(span.end)


@given(spans(), st.integers(1, 2**20), st.sampled_from([24, 25, Fraction(30000, 1001), 60]))
def test_frames_of_two_neighbours_add_up(span: Span, more: int, fps: Fraction) -> None:
    following = Span(span.end_pts, span.end_pts + more, span.time_base)
    whole = Span(span.start_pts, following.end_pts, span.time_base)
    assert span.frames(fps) + following.frames(fps) == whole.frames(fps)


def test_thirty_ntsc_frames_last_just_over_a_second() -> None:
    span = Span(0, 30, NTSC)
    assert span.duration == Fraction(1001, 1000)
    assert span.frames(Fraction(30000, 1001)) == 30
    assert Timestamp(29, NTSC).frame(Fraction(30000, 1001)) == 29
    assert math.isclose(float(span.end), 1.001)


def test_errors_say_what_is_allowed() -> None:
    with pytest.raises(UsageError, match="not positive"):
        Timestamp(1, Fraction(0))
    with pytest.raises(UsageError, match="end is exclusive"):
        Span(3, 3, NTSC)
    with pytest.raises(UsageError, match="rounding='floor'"):
        Timestamp(1, NTSC).rescaled(Fraction(1, 24))
    with pytest.raises(UsageError, match="exact, floor, ceil, nearest"):
        Timestamp(1, NTSC).rescaled(Fraction(1, 24), "up")  # type: ignore[arg-type]
