"""Charts as SVG inside of the page: they are small, sharp, and follow its colours.

Colours are classes of the page's style, so that a chart is right in light, dark and print.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalogs.charts import Histogram, nice_ticks, short_number
from catalogs.report.markup import Html, tag

__all__ = ["histogram"]

WIDTH, HEIGHT = 360, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 352, 16, 122


def histogram(
    title: str,
    whole: Histogram,
    part: Histogram | None = None,
    *,
    limits: Sequence[float] = (),
    unit: str = "",
) -> Html:
    """Bars of all values, those of a part set off in them, and lines at the limits.

    Args:
        title: told to who cannot see the picture.
    """
    highest = max(whole.counts, default=0) or 1
    ticks = [tick for tick in nice_ticks(0, highest, 3) if tick == int(tick)] or [0.0]
    ceiling = max(highest, ticks[-1])
    shapes = [shape for tick in ticks for shape in _level(tick, ceiling)]
    shapes += _bars(whole, ceiling, "whole")
    if part is not None:
        shapes += _bars(part, ceiling, "part")
    shapes.append(tag("rect", x=_LEFT, y=_BOTTOM, width=_RIGHT - _LEFT, height=1, class_="axis"))
    shapes += _axis(whole, unit)
    for limit in limits:
        shapes += _limit(whole, limit)
    return tag(
        "svg",
        tag("title", title),
        *shapes,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )


def _across(data: Histogram, value: float) -> float:
    share = (value - data.low) / ((data.high - data.low) or 1)
    return round(_LEFT + (_RIGHT - _LEFT) * min(max(share, 0.0), 1.0), 1)


def _level(tick: float, ceiling: float) -> list[Html]:
    y = round(_BOTTOM - (_BOTTOM - _TOP) * tick / ceiling, 1)
    return [
        tag("rect", x=_LEFT, y=y, width=_RIGHT - _LEFT, height=0.5, class_="grid"),
        tag("text", short_number(tick), x=_LEFT - 5, y=y + 3.5, class_="tick end"),
    ]


def _bars(data: Histogram, ceiling: float, kind: str) -> list[Html]:
    step = (_RIGHT - _LEFT) / max(len(data.counts), 1)
    bars = []
    for number, count in enumerate(data.counts):
        if count:
            tall = max((_BOTTOM - _TOP) * count / ceiling, 1)
            bars.append(
                tag(
                    "rect",
                    x=round(_LEFT + step * number + 0.5, 1),
                    y=round(_BOTTOM - tall, 1),
                    width=round(step - 1, 1),
                    height=round(tall, 1),
                    class_=kind,
                )
            )
    return bars


def _axis(data: Histogram, unit: str) -> list[Html]:
    labels = []
    for tick in nice_ticks(data.low, data.high, 5):
        if data.low <= tick <= data.high:
            x = _across(data, tick)
            labels.append(tag("text", short_number(tick), x=x, y=_BOTTOM + 13, class_="tick mid"))
    if unit:
        x = (_LEFT + _RIGHT) / 2
        labels.append(tag("text", unit, x=x, y=_BOTTOM + 25, class_="tick mid"))
    return labels


def _limit(data: Histogram, limit: float) -> list[Html]:
    x = _across(data, limit)
    outside = "" if data.low <= limit <= data.high else (" ←" if limit < data.low else " →")
    side = "end" if x > (_LEFT + _RIGHT) / 2 else "start"
    place = x - 4 if side == "end" else x + 4
    return [
        tag("rect", x=x - 0.75, y=_TOP - 10, width=1.5, height=_BOTTOM - _TOP + 10, class_="limit"),
        tag("text", f"{limit:g}{outside}", x=place, y=_TOP - 3, class_=f"limit-text {side}"),
    ]
