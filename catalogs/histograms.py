"""Histograms of many columns of a relation, in two passes over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from catalogs.charts import Histogram
from catalogs.query import Result, sql_name, sql_text

__all__ = ["Ask", "Range", "histograms", "ranges_of"]

FEWEST_BINS, MOST_BINS = 8, 40

Ask: TypeAlias = Callable[[str], Result]


@dataclass(frozen=True, slots=True)
class Range:
    """What a histogram of a column covers."""

    name: str
    low: float
    high: float
    median: float
    bins: int


def ranges_of(ask: Ask, relation: str, names: Sequence[str]) -> list[Range]:
    """Where the values of columns lie, in one pass; columns with a single value are left out."""
    parts = []
    for name in names:
        column = sql_name(name)
        finite = f"filter (isfinite({column}))"
        quantiles = f"quantile_cont({column}::double, [0.002, 0.5, 0.998]) {finite}"
        extremes = f"min({column}) {finite}, max({column}) {finite}, count({column}) {finite}"
        parts += [quantiles, extremes]
    row = ask(f"select {', '.join(parts)} from {relation}").one() if parts else ()
    found = []
    for number, name in enumerate(names):
        quantiles, first, last, count = row[4 * number : 4 * number + 4]
        if not count or first == last:
            continue
        low, median, high = quantiles
        if low >= high:
            low, high = first, last
        if first >= 0 and low < (high - low) / 4:
            low = 0.0
        bins = min(MOST_BINS, max(FEWEST_BINS, round(2 * count ** (1 / 3))))
        found.append(Range(name, float(low), float(high), median, bins))
    return found


def histograms(ask: Ask, relation: str, ranges: Sequence[Range]) -> Mapping[str, Histogram]:
    """How many values are in each bin, below and above, in one pass over all columns."""
    if not ranges:
        return {}
    cells = ", ".join(f"{{'name': {sql_text(r.name)}, 'bin': {_bin_sql(r)}}}" for r in ranges)
    rows = ask(
        f"select name, bin, count() from (select unnest([{cells}], recursive := true) "
        f"from {relation}) where bin is not null group by all"
    ).rows()
    found = {(name, number): count for name, number, count in rows}
    return {
        r.name: Histogram(
            r.low,
            r.high,
            [found.get((r.name, k), 0) for k in range(r.bins)],
            found.get((r.name, -1), 0),
            found.get((r.name, r.bins), 0),
        )
        for r in ranges
    }


def _bin_sql(r: Range) -> str:
    """SQL of a value's bin: -1 below the range, `bins` above it, NULL for no number."""
    value, width = f"{sql_name(r.name)}::double", r.high - r.low
    return (
        f"case when not coalesce(isfinite({value}), false) then null "
        f"when {value} < {r.low!r} then -1 "
        f"when {value} > {r.high!r} then {r.bins} "
        f"else least(floor(({value} - {r.low!r}) / {width!r} * {r.bins}), {r.bins - 1}) end::int"
    )
