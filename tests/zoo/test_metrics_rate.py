"""Rates against the arithmetic of published tokenizers, BD-rate against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from zoo.errors import UsageError
from zoo.metrics import Rate, bd_rate, tokenizer_rate
from zoo.spec import Axis, LengthRule, StreamSpec, TokenizerSpec

ANCHOR = [(100.0, 30.0), (200.0, 32.5), (400.0, 35.5), (900.0, 37.0), (1500.0, 39.5)]


def spec(modality: str, channels: int, stream: StreamSpec) -> TokenizerSpec:
    return TokenizerSpec(modality, channels, LengthRule(1, 4), (stream,))


def test_a_video_tokenizer() -> None:
    grid = (Axis("h", stride=8), Axis("w", stride=8))
    rate = tokenizer_rate(
        spec("video", 3, StreamSpec(axes=grid, levels=(2**18,))), (17, 256, 256), 24
    )
    assert rate.tokens == 5 * 32 * 32
    assert rate.bits == 5120 * 18
    assert rate.duration_s == pytest.approx(17 / 24)
    assert rate.tokens_per_second == pytest.approx(5120 * 24 / 17)
    assert rate.bits_per_second == pytest.approx(5120 * 18 * 24 / 17)
    assert rate.bits_per_pixel == pytest.approx(5120 * 18 / (17 * 256 * 256))
    assert rate.compression == pytest.approx(17 * 256 * 256 * 24 / (5120 * 18))


def test_padding_is_paid_for() -> None:
    stream = StreamSpec(axes=(Axis("h", stride=8), Axis("w", stride=8)), levels=(2,))
    rates = [tokenizer_rate(spec("video", 3, stream), (t, 8, 8), 24) for t in (18, 21)]
    assert rates[0].tokens == rates[1].tokens == 6
    assert rates[0].bits_per_pixel == pytest.approx(rates[1].bits_per_pixel * 21 / 18)


def test_residual_motion_codes() -> None:
    rate = tokenizer_rate(spec("motion", 263, StreamSpec(levels=(512,) * 6)), (21,), 20)
    assert rate.tokens == 6 * 6
    assert rate.bits == 6 * 6 * 9
    assert rate.bits_per_pixel is None
    assert rate.compression == pytest.approx(21 * 263 * 32 / (36 * 9))
    assert "bits_per_pixel" not in {m.info.name for m in rate.measurements()}


def test_every_rate_says_its_clip() -> None:
    rate = Rate(tokens=10, bits=100, source_bits=1000, frames=5, fps=25, pixels=50)
    found = {m.info.name: m for m in rate.measurements()}
    assert found["bits_per_pixel"].value == 2
    assert found["compression"].value == 10
    assert found["compression"].info.higher_is_better
    assert all("5 frames at 25 fps" in m.info.protocol for m in found.values())
    with pytest.raises(UsageError, match="above 0"):
        Rate(tokens=10, bits=100, source_bits=1000, frames=5, fps=0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3])
def test_equal_quality_at_other_rates(factor: float) -> None:
    test = [(rate * factor, quality) for rate, quality in ANCHOR]
    assert bd_rate(ANCHOR, test).value == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_scipy_agrees_on_the_curve() -> None:
    test = [(90.0, 29.0), (150.0, 31.0), (420.0, 36.5), (800.0, 38.0)]
    low, high = 30.0, 38.0
    areas = [
        PchipInterpolator([q for _, q in curve], np.log([r for r, _ in curve])).integrate(low, high)
        for curve in (ANCHOR, test)
    ]
    expected = 100 * (math.exp((areas[1] - areas[0]) / (high - low)) - 1)
    measured = bd_rate(ANCHOR, list(reversed(test)))
    assert measured.value == pytest.approx(expected, rel=1e-9)
    assert measured.count == 9
    assert "30 to 38" in measured.info.protocol


def test_two_points_are_a_line() -> None:
    anchor, test = [(1.0, 0.0), (math.e, 1.0)], [(1.0, 0.0), (math.e**2, 1.0)]
    assert bd_rate(anchor, test).value == pytest.approx(100 * (math.exp(0.5) - 1))


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ([(1.0, 50.0), (2.0, 51.0)], "share no quality"),
        ([(1.0, 35.0)], "2 points"),
        ([(1.0, 35.0), (2.0, 34.0)], "rising with rate"),
        ([(0.0, 31.0), (2.0, 34.0)], "above 0"),
    ],
)
def test_curves_that_cannot_be_compared(test: list[tuple[float, float]], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        bd_rate(ANCHOR, test)
    assert said in str(refused.value)
