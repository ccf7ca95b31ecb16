"""Charts for dataset cards: histograms and bars as PNG, drawn with Pillow alone.

A chart is drawn at twice its nominal size, so that it stays sharp on dense screens. The same
numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "Bar",
    "Curve",
    "Histogram",
    "Mark",
    "Panel",
    "Point",
    "bar_chart",
    "curves_chart",
    "histogram_chart",
    "nice_ticks",
    "scatter_chart",
    "short_number",
]

SCALE = 2
WIDTH = 640
PAPER, INK, QUIET, GRID, FILL, TRACK = (
    "#ffffff",
    "#1f2937",
    "#6b7280",
    "#e5e7eb",
    "#3f6fb5",
    "#eef2f7",
)

PALE = "#b9cbe6"
GROUPS = (FILL, "#b45309", "#047857", "#7c3aed")

_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Bar:
    """A labelled bar; `text` is written behind it, else its value."""

    label: str
    value: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of equally wide bins from `low` to `high`.

    `below` and `above` count the values outside, which the chart mentions instead of drawing.
    """

    low: float
    high: float
    counts: Sequence[int]
    below: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """A labelled point; `group` decides its colour."""

    label: str
    x: float
    y: float
    group: int = 0


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line through points (x, share); a point whose share is None is left out."""

    label: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A named place on the horizontal axis; `low` and `high` shade a range around it."""

    label: str
    x: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """Shares over one measure, places on it, and rows of single values below."""

    label: str
    low: float
    high: float
    curves: Sequence[Curve]
    marks: Sequence[Mark]
    rows: Sequence[tuple[str, Sequence[float]]]
    note: str = ""


@cache
def _font(size: float) -> _Font:
    return ImageFont.load_default(size * SCALE)


class _Canvas:
    """A white picture measured in nominal pixels."""

    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, text: str, *, size: float = 12, ink: str = INK, anchor: str = "la"
    ) -> None:
        self._draw.text((x * SCALE, y * SCALE), text, fill=ink, font=_font(size), anchor=anchor)

    def width_of(self, text: str, size: float = 12) -> float:
        return float(self._draw.textlength(text, font=_font(size))) / SCALE

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: str, radius: float = 0) -> None:
        corners = [round(value * SCALE) for value in (x0, y0, x1, y1)]
        if corners[2] <= corners[0] or corners[3] <= corners[1]:
            return
        corners[2] -= 1
        corners[3] -= 1
        self._draw.rounded_rectangle(corners, radius * SCALE, fill=fill)

    def line(self, points: Sequence[tuple[float, float]], ink: str, width: float = 2) -> None:
        if len(points) > 1:
            scaled = [(x * SCALE, y * SCALE) for x, y in points]
            self._draw.line(scaled, fill=ink, width=round(width * SCALE), joint="curve")

    def png(self) -> bytes:
        out = BytesIO()
        self.image.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            out, "PNG"
        )
        return out.getvalue()


def bar_chart(title: str, bars: Sequence[Bar], *, subtitle: str = "") -> bytes:
    """Horizontal bars, one below the other, as a PNG."""
    top, row, height = 58.0, 28.0, 22.0
    canvas = _Canvas(WIDTH, int(top + row * len(bars) + 18))
    _heading(canvas, title, subtitle)
    values = [bar.text or short_number(bar.value) for bar in bars]
    left = 24 + min(200.0, max((canvas.width_of(bar.label) for bar in bars), default=0)) + 12
    right = WIDTH - 24 - max((canvas.width_of(value) for value in values), default=0) - 10
    largest = max((bar.value for bar in bars), default=0) or 1
    for number, (bar, value) in enumerate(zip(bars, values, strict=True)):
        y = top + row * number
        label = _fitted(canvas, bar.label, left - 36)
        canvas.text(left - 12, y + height / 2, label, anchor="rm")
        canvas.box(left, y, right, y + height, TRACK, 3)
        length = (right - left) * bar.value / largest
        canvas.box(left, y, left + max(length, 1.5 if bar.value else 0), y + height, FILL, 3)
        canvas.text(right + 10, y + height / 2, value, ink=QUIET, anchor="lm")
    return canvas.png()


def histogram_chart(
    title: str,
    data: Histogram,
    *,
    unit: str = "",
    subtitle: str = "",
    inner: Histogram | None = None,
) -> bytes:
    """A histogram with round numbers on both axes, as a PNG. `inner` is a part of it, set off."""
    height = 300
    canvas = _Canvas(WIDTH, height)
    outside = [f"{n:,} {side}" for n, side in ((data.below, "below"), (data.above, "above")) if n]
    note = "; ".join(
        filter(None, [subtitle, ", ".join(outside) and "not drawn: " + ", ".join(outside)])
    )
    _heading(canvas, title, note)
    highest = max(data.counts, default=0) or 1
    ticks = [tick for tick in nice_ticks(0, highest, 4) if tick == int(tick)]
    ceiling = max(highest, ticks[-1])
    left = 24 + max(canvas.width_of(short_number(tick), 11) for tick in ticks) + 10
    right, top, bottom = WIDTH - 24.0, 66.0, height - 44.0
    for tick in ticks:
        y = bottom - (bottom - top) * tick / ceiling
        canvas.box(left, y - 0.5, right, y + 0.5, GRID)
        canvas.text(left - 10, y, short_number(tick), size=11, ink=QUIET, anchor="rm")
    step = (right - left) / max(len(data.counts), 1)
    layers = [(data, FILL)] if inner is None else [(data, PALE), (inner, FILL)]
    for layer, fill in layers:
        for number, count in enumerate(layer.counts):
            x = left + step * number
            tall = max((bottom - top) * count / ceiling, 1 if count else 0)
            canvas.box(x + 0.5, bottom - tall, x + step - 0.5, bottom, fill, 1)
    canvas.box(left, bottom, right, bottom + 1, QUIET)
    _horizontal_axis(canvas, data, unit, left, right, bottom)
    return canvas.png()


def scatter_chart(
    title: str, points: Sequence[Point], *, x_unit: str, y_unit: str, subtitle: str = ""
) -> bytes:
    """Labelled points over a logarithmic horizontal axis, as a PNG."""
    height = 380
    canvas = _Canvas(WIDTH, height)
    _heading(canvas, title, subtitle)
    exponents = [math.log10(point.x) for point in points]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents) + 1e-9)
    bottom_y, top_y = _widened([point.y for point in points])
    ticks = nice_ticks(bottom_y, top_y, 5)
    if ticks[0] > bottom_y:
        ticks.insert(0, 2 * ticks[0] - ticks[1])
    left, right, top, bottom = 72.0, WIDTH - 40.0, 74.0, height - 48.0
    span_y = ticks[-1] - ticks[0]
    for tick in ticks:
        y = bottom - (bottom - top) * (tick - ticks[0]) / span_y
        canvas.box(left, y - 0.5, right, y + 0.5, GRID)
        canvas.text(left - 10, y, short_number(tick), size=11, ink=QUIET, anchor="rm")
    for power in range(low, high + 1):
        x = left + (right - left) * (power - low) / max(high - low, 1)
        canvas.box(x - 0.5, top, x + 0.5, bottom, GRID)
        canvas.text(x, bottom + 9, short_number(10.0**power), size=11, ink=QUIET, anchor="ma")
    canvas.text((left + right) / 2, bottom + 28, x_unit, size=11, ink=QUIET, anchor="ma")
    canvas.text(left, top - 16, y_unit, size=11, ink=QUIET)
    for point, exponent in zip(points, exponents, strict=True):
        x = left + (right - left) * (exponent - low) / max(high - low, 1)
        y = bottom - (bottom - top) * (point.y - ticks[0]) / span_y
        canvas.box(x - 4, y - 4, x + 4, y + 4, GROUPS[point.group % len(GROUPS)], 4)
        leftwards = x > (left + right) / 2
        place = x - 8 if leftwards else x + 8
        canvas.text(place, y, point.label, size=11, anchor="rm" if leftwards else "lm")
    return canvas.png()


def curves_chart(title: str, panels: Sequence[Panel], *, subtitle: str = "") -> bytes:
    """Shares from 0 to 1 over a measure, one panel below the other, as a PNG."""
    heights = [_PANEL + 18 * len(panel.rows) for panel in panels]
    canvas = _Canvas(WIDTH, 58 + sum(heights))
    _heading(canvas, title, subtitle)
    top = 58.0
    for panel, height in zip(panels, heights, strict=True):
        _draw_panel(canvas, panel, top)
        top += height
    return canvas.png()


_PANEL = 276
"""Height of a panel without its rows of values."""


def _draw_panel(canvas: _Canvas, panel: Panel, top: float) -> None:
    left, right, first, bottom = 72.0, WIDTH - 24.0, top + 44, top + 214
    span = panel.high - panel.low or 1

    def across(x: float) -> float:
        return left + (right - left) * min(max((x - panel.low) / span, 0.0), 1.0)

    _legend(canvas, panel, left, top)
    for mark in panel.marks:
        if mark.low is not None and mark.high is not None:
            canvas.box(across(mark.low), first, across(mark.high), bottom, TRACK)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - (bottom - first) * tick
        canvas.box(left, y - 0.5, right, y + 0.5, GRID)
        canvas.text(left - 10, y, f"{tick:.0%}", size=11, ink=QUIET, anchor="rm")
    for number, curve in enumerate(panel.curves):
        known = [
            (across(x), bottom - (bottom - first) * y) for x, y in curve.points if y is not None
        ]
        canvas.line(known, GROUPS[number % len(GROUPS)])
    for number, mark in enumerate(panel.marks):
        x = across(mark.x)
        canvas.box(x - 0.75, first, x + 0.75, bottom, INK if number == 0 else GROUPS[3])
        anchor = "la" if x < (left + right) / 2 else "ra"
        ink = INK if number == 0 else GROUPS[3]
        canvas.text(x, first - 14 * (number + 1), mark.label, size=11, ink=ink, anchor=anchor)
    for number, (label, values) in enumerate(panel.rows):
        y = bottom + 12 + 18 * number
        canvas.text(left - 10, y, label, size=11, ink=QUIET, anchor="rm")
        for value in values:
            x = across(value)
            canvas.box(x - 3, y - 3, x + 3, y + 3, GROUPS[(2, 1)[number % 2]], 3)
    axis = Histogram(panel.low, panel.high, ())
    _horizontal_axis(canvas, axis, panel.label, left, right, bottom + 18 * len(panel.rows) + 4)


def _legend(canvas: _Canvas, panel: Panel, left: float, top: float) -> None:
    x = left
    for number, curve in enumerate(panel.curves):
        canvas.box(x, top + 1, x + 14, top + 4, GROUPS[number % len(GROUPS)])
        canvas.text(x + 20, top + 2.5, curve.label, size=11, ink=QUIET, anchor="lm")
        x += 20 + canvas.width_of(curve.label, 11) + 18
    room = WIDTH - 24 - x
    canvas.text(WIDTH - 24, top + 2.5, _fitted(canvas, panel.note, room, 11), size=11, anchor="rm")


def _widened(values: Sequence[float]) -> tuple[float, float]:
    """The range of values with a tenth of room on both sides, never empty."""
    room = 0.1 * (max(values) - min(values)) or 1.0
    return min(values) - room, max(values) + room


def _horizontal_axis(
    canvas: _Canvas, data: Histogram, unit: str, left: float, right: float, bottom: float
) -> None:
    span = data.high - data.low or 1
    for tick in nice_ticks(data.low, data.high, 7):
        x = left + (right - left) * (tick - data.low) / span
        if left - 1 <= x <= right + 1:
            canvas.box(x - 0.5, bottom, x + 0.5, bottom + 5, QUIET)
            canvas.text(x, bottom + 9, short_number(tick), size=11, ink=QUIET, anchor="ma")
    if unit:
        canvas.text((left + right) / 2, bottom + 26, unit, size=11, ink=QUIET, anchor="ma")


def _heading(canvas: _Canvas, title: str, subtitle: str) -> None:
    canvas.text(24, 14, _fitted(canvas, title, WIDTH - 48, 15), size=15)
    if subtitle:
        canvas.text(24, 35, _fitted(canvas, subtitle, WIDTH - 48, 11), size=11, ink=QUIET)


def _fitted(canvas: _Canvas, text: str, width: float, size: float = 12) -> str:
    if canvas.width_of(text, size) <= width:
        return text
    while text and canvas.width_of(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to at least `high`, roughly `about` of them."""
    span = (high - low) or 1.0
    rough = span / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def short_number(value: float) -> str:
    """A number in at most five characters where possible: 1,234 or 56.7k or 8.9M."""
    size = abs(value)
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scaled = value / (1e3 if suffix == "k" else limit)
            return f"{scaled:.1f}".removesuffix(".0") + suffix
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
