"""What a selection covers of the corpus that it was made from: spread, balance, what is missing.

    found = coverage(catalog, "train-1")
    found = coverage(catalog, "train-1", by="width || 'x' || height")

Before are all clips of the selection's cutting, after those that it kept. Every numeric column has
a histogram of both over the same bins; every column of few different values has counts, and the
entropy of their shares: `effective` is two to the power of it, the number of equally large groups
that would be as even. A group's `ratio` is its share after over its share before; it is `beyond`
chance when drawing that many clips at random would miss it 95 times in 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from catalogs.charts import Histogram
from catalogs.chosen import Chosen, choose
from catalogs.errors import QueryError, UsageError
from catalogs.gates import Grammar
from catalogs.histograms import histograms, ranges_of
from catalogs.intervals import Z
from catalogs.ledger import find_selection
from catalogs.query import sql_name, wide_columns
from catalogs.schema import Column

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Coverage", "Group", "Groups", "Spread", "coverage"]

MOST_GROUPS = 50
"""Columns of text with more different values are names, and are left out."""
MOST_ASKED = 10_000
"""Groups that `by` may make."""
_QUANTILES = [0.05, 0.5, 0.95]
_AFTER = "clips semi join chosen using (clip_id)"


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of one numeric column: histograms over the same bins, 5%, median and 95%."""

    column: Column
    before: Histogram
    after: Histogram
    quantiles_before: tuple[float, ...]
    quantiles_after: tuple[float, ...] | None
    """None when no clip that was kept has a value."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "column": self.column.name,
            "unit": self.column.unit,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "quantiles_before": self.quantiles_before,
            "quantiles_after": self.quantiles_after,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Clips with the same value; the name of NULL is None."""

    name: str | None
    before: int
    after: int
    ratio: float | None
    beyond: bool


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups that one column or expression makes, the most over-represented first."""

    by: str
    groups: tuple[Group, ...]
    entropy_before: float
    entropy_after: float
    """In bits."""

    @property
    def effective_before(self) -> float:
        return float(2**self.entropy_before)

    @property
    def effective_after(self) -> float:
        return float(2**self.entropy_after)

    @property
    def over(self) -> tuple[Group, ...]:
        """Groups with more than their share, beyond chance."""
        return tuple(g for g in self.groups if g.beyond and g.ratio and g.ratio > 1)

    @property
    def under(self) -> tuple[Group, ...]:
        """Groups with less than their share, beyond chance; the rarest first."""
        few = (g for g in self.groups if g.beyond and g.ratio is not None and g.ratio < 1)
        return tuple(reversed(tuple(few)))

    def to_dict(self) -> dict[str, Any]:
        effective = {"before": self.effective_before, "after": self.effective_after}
        return asdict(self) | {"effective": effective}


@dataclass(frozen=True)
class Coverage:
    """A selection beside what it was made from."""

    selection: str
    clips_before: int
    clips_after: int
    hours_before: float
    hours_after: float
    spreads: tuple[Spread, ...]
    groups: tuple[Groups, ...]

    def to_dict(self) -> dict[str, Any]:
        counts = ("selection", "clips_before", "clips_after", "hours_before", "hours_after")
        return {name: getattr(self, name) for name in counts} | {
            "spreads": [item.to_dict() for item in self.spreads],
            "groups": [item.to_dict() for item in self.groups],
        }


def coverage(catalog: Catalog, selection: str | None = None, *, by: str | None = None) -> Coverage:
    """Compare a selection (by default the one made last) with all clips of its cutting.

    Args:
        by: SQL over the columns of `clips` whose values are the groups; without it, every column.
    """
    made = find_selection(catalog, selection)
    with choose(catalog, selection=made.selection_id) as chosen:
        counts = "select count(), coalesce(sum(duration_s), 0) / 3600 from "
        before, hours_before = chosen.sql(counts + "clips").one()
        after, hours_after = chosen.sql(counts + _AFTER).one()
        if by is None:
            spreads, groups = _spreads(chosen), _all_groups(chosen, before, after)
        else:
            spreads, groups = (), (_asked(chosen, by, before, after),)
    return Coverage(made.name, before, after, hours_before, hours_after, spreads, groups)


def _spreads(chosen: Chosen) -> tuple[Spread, ...]:
    columns = {c.name: c for c in chosen.columns() if _is_measure(c)}
    ranges = ranges_of(chosen.sql, "clips", list(columns))
    before, after = (histograms(chosen.sql, where, ranges) for where in ("clips", _AFTER))
    names = [r.name for r in ranges]
    quantiles = [_quantiles(chosen, where, names) for where in ("clips", _AFTER)]
    return tuple(
        Spread(
            columns[name],
            before[name],
            after[name],
            tuple(before_all or ()),
            tuple(after_all) if after_all else None,
        )
        for name, before_all, after_all in zip(names, *quantiles, strict=True)
    )


def _is_measure(column: Column) -> bool:
    """Whether a column counts or measures; places in a file do not."""
    number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    return number and column.unit != "ticks" and not column.name.endswith(("_num", "_den"))


def _quantiles(chosen: Chosen, relation: str, names: Sequence[str]) -> tuple[Any, ...]:
    if not names:
        return ()
    parts = (
        f"quantile_cont({sql_name(name)}::double, {_QUANTILES}) filter (isfinite({sql_name(name)}))"
        for name in names
    )
    return tuple(chosen.sql(f"select {', '.join(parts)} from {relation}").one())


def _all_groups(chosen: Chosen, before: int, after: int) -> tuple[Groups, ...]:
    """Groups of every column of few values, if there are two of them or more."""
    names = [c.name for c in chosen.columns() if _is_category(c)]
    counts = ", ".join(f"count(distinct {sql_name(name)})" for name in names)
    distinct = chosen.sql(f"select {counts} from clips").one()
    few = [n for n, count in zip(names, distinct, strict=True) if 2 <= count <= MOST_GROUPS]
    return tuple(_groups(chosen, name, sql_name(name), before, after) for name in few)


def _is_category(column: Column) -> bool:
    text = pa.types.is_string(column.type) and column.name not in ("clip_id", "source_id")
    return text or pa.types.is_boolean(column.type)


def _asked(chosen: Chosen, by: str, before: int, after: int) -> Groups:
    Grammar(wide_columns(chosen.session)).expression(by, "--by")
    found = _groups(chosen, by, f"(\n{by}\n)", before, after)
    if len(found.groups) > MOST_ASKED:
        raise UsageError(
            f"{by} makes {len(found.groups):,} groups",
            allowed=f"up to {MOST_ASKED:,}",
            hint="floor(duration_s) makes steps of a number",
        )
    return found


def _groups(chosen: Chosen, by: str, sql: str, before: int, after: int) -> Groups:
    try:
        rows = chosen.sql(
            f"select {sql}::varchar as name, count(), count(__kept) from clips "
            "left join (select clip_id as __kept from chosen) on __kept = clips.clip_id group by 1"
        ).rows()
    except QueryError as error:
        raise QueryError(f"--by does not work: {error.problem}", hint=error.hint) from error
    groups = [_group(name, n, kept, before, after) for name, n, kept in rows]
    groups.sort(key=lambda g: (-(g.ratio or 0.0), -g.before, g.name or ""))
    entropies = [_entropy([row[k] for row in rows]) for k in (1, 2)]
    return Groups(by, tuple(groups), *entropies)


def _group(name: str | None, here: int, kept: int, before: int, after: int) -> Group:
    """One group, judged as a draw of `after` out of `before` clips without putting back."""
    part = here / before
    ratio = kept / after / part if after else None
    left = (before - after) / max(before - 1, 1)
    deviation = math.sqrt(after * part * (1 - part) * left)
    return Group(name, here, kept, ratio, beyond=abs(kept - after * part) > Z * deviation)


def _entropy(counts: Sequence[int]) -> float:
    """Shannon's entropy of shares, in bits."""
    whole = sum(counts)
    shares = [count / whole for count in counts if count]
    return max(0.0, -sum(p * math.log2(p) for p in shares))
