"""What a representation costs: bits and tokens against pixels and seconds, and BD-rate.

    rate = tokenizer_rate(tokenizer.spec, (17, 256, 256), fps=24)
    rate.bits_per_second, rate.bits_per_pixel, rate.compression

`bd_rate` compares two curves of rate and quality: the mean change of rate at equal quality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import UsageError
from zoo.metrics.base import Measurement, MetricInfo

if TYPE_CHECKING:
    from zoo.spec import TokenizerSpec

__all__ = ["Rate", "bd_rate", "tokenizer_rate"]

Curve = Sequence[tuple[float, float]]
"""Points (rate, quality)."""


@dataclass(frozen=True)
class Rate:
    """The cost of one clip. `pixels` counts all frames and is 0 for motion."""

    tokens: int
    bits: float
    source_bits: float
    frames: int
    fps: float
    pixels: int = 0

    def __post_init__(self) -> None:
        if min(self.tokens, self.bits, self.source_bits, self.frames, self.fps) <= 0:
            raise UsageError(
                f"{self} has no rate", allowed="tokens, bits, source_bits, frames, fps above 0"
            )

    @property
    def duration_s(self) -> float:
        return self.frames / self.fps

    @property
    def bits_per_second(self) -> float:
        return self.bits / self.duration_s

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.duration_s

    @property
    def bits_per_pixel(self) -> float | None:
        """None for motion, which has no pixels."""
        return self.bits / self.pixels if self.pixels else None

    @property
    def compression(self) -> float:
        """Bits of the raw clip for one bit of the representation."""
        return self.source_bits / self.bits

    def measurements(self) -> tuple[Measurement, ...]:
        """All values, with what they refer to."""
        clip = f"one clip of {self.frames} frames at {self.fps:g} fps"
        known = (
            ("tokens_per_second", "tokens/s", False, self.tokens_per_second, "of media"),
            ("bits_per_second", "bits/s", False, self.bits_per_second, "of media"),
            ("bits_per_pixel", "bits/pixel", False, self.bits_per_pixel, "over all frames"),
            ("compression", "x", True, self.compression, f"raw clip of {self.source_bits:g} bits"),
        )
        return tuple(
            Measurement(MetricInfo(name, unit, higher, f"{clip}, {basis}"), value, 1, "clips")
            for name, unit, higher, value, basis in known
            if value is not None
        )


def tokenizer_rate(spec: TokenizerSpec, size: tuple[int, ...], fps: float) -> Rate:
    """The cost of a clip of `size`, (T, H, W), (T, J) or (T,), at fixed-length codes.

    Ids count as log2 of their codebook and latents as 16 bits a channel. Raw pictures count as 8
    bits a channel, raw motion as 32 bits a value. Padding that the length rule adds is paid for.
    """
    grids = spec.grid(size)
    tokens = sum(
        math.prod(grids[stream.name]) * max(1, len(stream.levels)) for stream in spec.streams
    )
    pictures = spec.layout == "BCTHW"
    source_bits = math.prod(size) * spec.channels * (8 if pictures else 32)
    pixels = math.prod(size) if pictures else 0
    return Rate(tokens, spec.bits(size), source_bits, size[0], fps, pixels)


def bd_rate(anchor: Curve, test: Curve) -> Measurement:
    """The Bjontegaard delta of rate: below zero, `test` needs fewer bits than `anchor`."""
    curves = [_by_quality(anchor, "anchor"), _by_quality(test, "test")]
    low = max(quality[0] for quality, _ in curves)
    high = min(quality[-1] for quality, _ in curves)
    if low >= high:
        spans = " and ".join(f"{quality[0]:.4g} to {quality[-1]:.4g}" for quality, _ in curves)
        raise UsageError(
            f"the curves share no quality: {spans}",
            allowed="curves that overlap",
            hint="measure the two at rates that give similar quality",
        )
    of_anchor, of_test = (_integral(*curve, low, high) for curve in curves)
    value = 100 * math.expm1((of_test - of_anchor) / (high - low))
    protocol = (
        f"mean change of rate at equal quality from {low:.4g} to {high:.4g}, piecewise cubic "
        "(PCHIP) log rate over quality"
    )
    return Measurement(
        MetricInfo("bd_rate", "%", False, protocol), value, len(anchor) + len(test), "points"
    )


def _by_quality(curve: Curve, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Quality and log rate, both rising."""
    points = np.array(sorted(curve), dtype=np.float64).reshape(-1, 2)
    rates, quality = points[:, 0], points[:, 1]
    rising = len(points) >= 2 and (np.diff(quality) > 0).all() and (np.diff(rates) > 0).all()
    if not rising or rates[0] <= 0 or not np.isfinite(points).all():
        raise UsageError(
            f"the {name} curve cannot be compared: {points.tolist()}",
            allowed="2 points or more, rates above 0, quality rising with rate (four are usual)",
        )
    return quality, np.log(rates)


def _integral(x: np.ndarray, y: np.ndarray, low: float, high: float) -> float:
    """Of the monotone cubic through the points; two Gauss nodes are exact for a cubic."""
    breaks = np.unique(np.concatenate([[low], x[(x > low) & (x < high)], [high]]))
    middle, half = (breaks[1:] + breaks[:-1]) / 2, np.diff(breaks) / 2
    slopes = _slopes(x, y)
    values = sum(_hermite(x, y, slopes, middle + side * half / math.sqrt(3)) for side in (-1, 1))
    return float((half * values).sum())


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fritsch-Carlson slopes of points that rise: weighted harmonic means, bounded ends."""
    width = np.diff(x)
    rise = np.diff(y) / width
    if len(rise) == 1:
        return np.repeat(rise, 2)
    left, right = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    inner = (left + right) / (left / rise[:-1] + right / rise[1:])
    first = _end_slope(width[0], width[1], rise[0], rise[1])
    last = _end_slope(width[-1], width[-2], rise[-1], rise[-2])
    return np.concatenate([[first], inner, [last]])


def _end_slope(width: float, next_width: float, rise: float, next_rise: float) -> float:
    """The three-point slope at an end, where it rises."""
    slope = ((2 * width + next_width) * rise - width * next_rise) / (width + next_width)
    return float(max(slope, 0.0))


def _hermite(x: np.ndarray, y: np.ndarray, slopes: np.ndarray, at: np.ndarray) -> np.ndarray:
    piece = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    width = x[piece + 1] - x[piece]
    t = (at - x[piece]) / width
    blend = t * t * (3 - 2 * t)
    value = y[piece] * (1 - blend) + y[piece + 1] * blend
    bend = slopes[piece] * (1 - t) - slopes[piece + 1] * t
    return value + width * t * (1 - t) * bend
