"""Gates against human labels: how often they agree, and where a limit would agree more.

    report = calibrate(catalog, read_labels("labels.csv"), load_recipe("web-video"))

A gate is a classifier that keeps or drops; a label says what a person would do. `precision` is the
share of kept clips that should stay, `recall` the share of clips to stay that are kept. Each limit
of a gate is also judged as a measure, among the clips that the gate's other parts let through: its
area under the curve is the chance that a clip to keep lies on the better side of a clip to drop.
The two limits of a window are judged apart, each by the clips from the median of those to keep
outwards: what is wrong at one end says nothing of the other.

A new limit is suggested where it makes the fewest mistakes on the labels (`slip_cost` says how many
lost clips one that slips in is worth), together with the range in which resampled labels put it.
None is suggested where labels cannot tell, and `reason` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.bounds import Bound, bounds_of, with_limits
from catalogs.errors import UsageError
from catalogs.intervals import Estimate, area, f1, share
from catalogs.judge import DEFAULT_LIMITS, Judgement, Limits
from catalogs.labels import Labels
from catalogs.query import sql_text
from catalogs.recipe import Recipe
from catalogs.thresholds import FEWEST_LABELS, Labelled, Suggestion, suggest

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Agreement", "Calibration", "CurvePoint", "GateReport", "LimitReport", "calibrate"]

_CURVE_STEPS = 40
_TELLS_NOTHING = 0.5
"""The area under the curve of a measure that knows nothing."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Verdicts against labels, counted in clips."""

    kept_right: int
    lost: int
    """To keep, but dropped."""
    slipped: int
    """To drop, but kept."""
    dropped_right: int

    @property
    def keeps(self) -> int:
        return self.kept_right + self.lost

    @property
    def drops(self) -> int:
        return self.slipped + self.dropped_right

    @property
    def precision(self) -> Estimate | None:
        return share(self.kept_right, self.kept_right + self.slipped)

    @property
    def recall(self) -> Estimate | None:
        return share(self.kept_right, self.keeps)

    @property
    def f1(self) -> Estimate | None:
        return f1(self.kept_right, self.lost + self.slipped)

    def to_dict(self) -> dict[str, Any]:
        measures = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return asdict(self) | {name: m and asdict(m) for name, m in measures.items()}


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one limit would do."""

    limit: float
    yield_clips: int
    """Clips of the whole cutting that the gate would keep."""
    yield_share: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class LimitReport:
    """One limit of a gate."""

    bound: Bound
    keeps: int
    drops: int
    auc: Estimate | None
    curve: tuple[CurvePoint, ...]
    suggestion: Suggestion | None
    reason: str
    """Why nothing is suggested, or what the suggestion is worth."""
    yield_now: int
    yield_then: int | None
    labelled: Labelled

    def to_dict(self) -> dict[str, Any]:
        bound = self.bound
        return {
            "value": bound.value,
            "sign": bound.sign,
            "limit": bound.limit,
            "keeps": self.keeps,
            "drops": self.drops,
            "auc": self.auc and asdict(self.auc),
            "suggestion": self.suggestion and asdict(self.suggestion),
            "reason": self.reason,
            "yield_now": self.yield_now,
            "yield_then": self.yield_then,
            "curve": [asdict(point) for point in self.curve],
        }


@dataclass(frozen=True)
class GateReport:
    """One gate, or the whole recipe under the name `all gates`."""

    gate: str
    predicate: str
    agreement: Agreement
    unmeasured: int
    """Labelled clips on which the gate is NULL, which counts as dropped."""
    limits: tuple[LimitReport, ...] = ()

    @property
    def suggested(self) -> str | None:
        """The gate with the suggested limits, None if nothing would change."""
        moved = {
            item.bound: item.suggestion.limit
            for item in self.limits
            if item.suggestion and item.suggestion.limit != item.bound.limit
        }
        return with_limits(self.predicate, moved) if moved else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "gate": self.gate,
            "predicate": self.predicate,
            **self.agreement.to_dict(),
            "unmeasured": self.unmeasured,
            "limits": [item.to_dict() for item in self.limits],
            "suggested": self.suggested,
        }


@dataclass(frozen=True)
class Calibration:
    """A recipe against labels. `whole` is all gates together, against labels of whole clips."""

    recipe: str
    cutting: str | None
    clips: int
    labelled: int
    unknown: tuple[str, ...]
    """Labelled ids that are no clips of this cutting."""
    empty: int
    whole: GateReport | None
    gates: tuple[GateReport, ...]

    def to_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("recipe", "cutting", "clips", "labelled")}
        return plain | {
            "unknown": list(self.unknown),
            "empty": self.empty,
            "whole": self.whole and self.whole.to_dict(),
            "gates": [gate.to_dict() for gate in self.gates],
        }


def calibrate(
    catalog: Catalog,
    labels: Labels,
    recipe: Recipe,
    *,
    cutting: str | None = None,
    slip_cost: float = 1.0,
    seed: int = 0,
    operators: Mapping[str, Sequence[str]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Calibration:
    """Compare every gate of a recipe with labels; nothing is written.

    Args:
        cutting: whose clips are meant; by default the recipe's, else the newest.
        slip_cost: how many lost clips are as bad as one that slips in.
        seed: of the resampling that gives a suggestion its range.
        operators: known operators and their columns, for better errors.
    """
    if slip_cost <= 0:
        raise UsageError(f"slip_cost is {slip_cost:g}", allowed="a number above 0")
    labels.check_gates(recipe.gates)
    gates_alone = replace(recipe, dedup=None, exclude=(), balance=(), splits=None)
    with Judgement(
        catalog, gates_alone, cutting=cutting, operators=operators, limits=limits
    ) as judgement:
        work = _Work(judgement, labels, slip_cost, seed)
        known = work.known()
        if not known:
            raise UsageError(
                f"none of the {len(labels.clips)} labelled clips is in this cutting"
                if labels.clips
                else f"no clip is labelled yet; {labels.empty} rows wait for a label",
                allowed="a column label with keep or drop, and ids of this catalog's clips",
                hint="clipmill sample CATALOG --gate GATE --to DIR draws clips to label",
            )
        reports = tuple(work.gate(number) for number in range(len(judgement.gates)))
        return Calibration(
            recipe=recipe.name,
            cutting=judgement.session.cutting,
            clips=work.clips,
            labelled=len(known),
            unknown=tuple(sorted(labels.clips - known)),
            empty=labels.empty,
            whole=work.whole(),
            gates=reports,
        )


class _Work:
    """Asks one judgement for what is needed."""

    def __init__(self, judgement: Judgement, labels: Labels, slip_cost: float, seed: int):
        self._judgement = judgement
        self._labels = labels
        self._slip_cost = slip_cost
        self._seed = seed
        with judgement.blaming():
            (self.clips,) = judgement.row("select count(*) from clips")

    def known(self) -> set[str]:
        """Labelled clips that are there."""
        rows = self._judgement.rows(f"select clip_id from clips where {self._among()}")
        return {row[0] for row in rows}

    def _among(self) -> str:
        ids = ", ".join(map(sql_text, sorted(self._labels.clips))) or "NULL"
        return f"clip_id in ({ids})"

    def whole(self) -> GateReport | None:
        """All gates together, if clips were labelled as a whole."""
        labels = self._labels.by_gate.get(None)
        if not labels:
            return None
        names = " and ".join(f"(\n{gate.predicate}\n)" for gate in self._judgement.gates)
        agreement, unmeasured = self._agreement(names or "true", labels)
        return GateReport("all gates", "every gate holds", agreement, unmeasured)

    def gate(self, number: int) -> GateReport:
        gate = self._judgement.gates[number]
        labels = self._labels.of(gate.name)
        agreement, unmeasured = self._agreement(gate.predicate, labels)
        bounds = bounds_of(gate.predicate)
        found = tuple(self._limit(bound, labels, _is_of_window(bound, bounds)) for bound in bounds)
        return GateReport(gate.name, gate.predicate, agreement, unmeasured, found)

    def _agreement(self, predicate: str, labels: Mapping[str, bool]) -> tuple[Agreement, int]:
        rows = self._judgement.rows(
            f"select clip_id, (\n{predicate}\n) from clips where {self._among()}"
        )
        counts = {(keep, passed): 0 for keep in (True, False) for passed in (True, False)}
        unmeasured = 0
        for clip, verdict in rows:
            if clip in labels:
                counts[labels[clip], bool(verdict)] += 1
                unmeasured += verdict is None
        return (
            Agreement(
                kept_right=counts[True, True],
                lost=counts[True, False],
                slipped=counts[False, True],
                dropped_right=counts[False, False],
            ),
            unmeasured,
        )

    def _limit(self, bound: Bound, labels: Mapping[str, bool], of_window: bool) -> LimitReport:
        found = self._labelled(bound, labels)
        if of_window:
            found = found.outer_half()
        keeps = int(found.keep.sum())
        drops = len(found.keep) - keeps
        auc = area(found.area(), keeps, drops) if keeps and drops else None
        suggestion, reason = None, _why_not(keeps, drops, auc)
        if not reason:
            suggestion, reason = suggest(
                found, bound.limit, strict=bound.strict, slip_cost=self._slip_cost, seed=self._seed
            )
        then = suggestion.limit if suggestion else None
        limits = self._grid(bound, found, then)
        yields = self._yields(bound, limits)
        return LimitReport(
            bound=bound,
            keeps=keeps,
            drops=drops,
            auc=auc,
            curve=tuple(self._point(bound, found, limit, yields[limit]) for limit in limits),
            suggestion=suggestion,
            reason=reason,
            yield_now=yields[bound.limit],
            yield_then=None if then is None else yields[then],
            labelled=found,
        )

    def _labelled(self, bound: Bound, labels: Mapping[str, bool]) -> Labelled:
        """Values and labels of the clips that get past the gate's other parts."""
        rows = self._judgement.rows(
            f"select clip_id, value from ({bound.query}) where {self._among()} order by clip_id"
        )
        rows = [row for row in rows if row[0] in labels]
        return Labelled(
            np.array([row[1] for row in rows], float),
            np.array([labels[row[0]] for row in rows], bool),
            bound.side,
        )

    def _grid(self, bound: Bound, found: Labelled, then: float | None) -> list[float]:
        """Limits at even steps of the yield, those of the labels, the present and the new one."""
        shares = [step / _CURVE_STEPS for step in range(_CURVE_STEPS + 1)]
        query = f"select quantile_cont(value, {shares}) from ({bound.query})"
        (quantiles,) = self._judgement.row(query)
        ends = [found.values.min(), found.values.max()] if len(found.values) else []
        limits = {float(x) for x in (*(quantiles or ()), *ends)} | {bound.limit}
        return sorted(limits | ({then} if then is not None else set()))

    def _yields(self, bound: Bound, limits: Sequence[float]) -> dict[float, int]:
        counts = ", ".join(f"count(*) filter (value {bound.sign} {x!r}::double)" for x in limits)
        row = self._judgement.row(f"select {counts} from ({bound.query})")
        return dict(zip(limits, row, strict=True))

    def _point(self, bound: Bound, found: Labelled, limit: float, clips: int) -> CurvePoint:
        kept_right, slipped = found.kept(limit, strict=bound.strict)
        precision = share(kept_right, kept_right + slipped)
        recall = share(kept_right, int(found.keep.sum()))
        return CurvePoint(
            limit=limit,
            yield_clips=clips,
            yield_share=clips / self.clips,
            precision=precision.value if precision else None,
            recall=recall.value if recall else None,
        )


def _is_of_window(bound: Bound, bounds: Sequence[Bound]) -> bool:
    """Whether the same value is limited on the other side as well."""
    return any(b.value == bound.value and b.side != bound.side for b in bounds)


def _why_not(keeps: int, drops: int, auc: Estimate | None) -> str:
    """Why labels cannot tell where a limit belongs; empty if they can."""
    if auc is None or min(keeps, drops) < FEWEST_LABELS:
        return (
            f"too few labels: {keeps} to keep and {drops} to drop reach this limit, "
            f"{FEWEST_LABELS} of each are needed"
        )
    if auc.high < _TELLS_NOTHING:
        return "the labels say the opposite: what is to stay lies on the other side"
    if auc.low <= _TELLS_NOTHING:
        return "it does not tell clips to keep from clips to drop: its interval of AUC holds 0.5"
    return ""
