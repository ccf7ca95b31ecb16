"""Where to put a limit, given values of clips and what a person would do with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from catalogs.bounds import Side

__all__ = ["FEWEST_LABELS", "Labelled", "Suggestion", "round_between", "suggest"]

FEWEST_LABELS = 5
"""Labels of each kind below which nothing is suggested: 5 and 5 that are told apart without a
mistake would be by chance once in 252 times."""
_RESAMPLED = 500
_MOST_DIGITS = 17

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Labelled:
    """Values of labelled clips, and which of them should stay."""

    values: Floats
    keep: npt.NDArray[np.bool_]
    side: Side

    @property
    def merit(self) -> Floats:
        """The values, turned so that more is better."""
        return self.values if self.side == "least" else -self.values

    def outer_half(self) -> Labelled:
        """The clips from the median of those to keep towards the limit."""
        if not self.keep.any():
            return self
        here = self.merit <= np.median(self.merit[self.keep])
        return Labelled(self.values[here], self.keep[here], self.side)

    def area(self) -> float:
        """The chance that a clip to keep is better than one to drop; ties count half."""
        drops = np.sort(self.merit[~self.keep])
        keeps = self.merit[self.keep]
        worse = np.searchsorted(drops, keeps, "left") + np.searchsorted(drops, keeps, "right")
        return float(worse.sum() / (2 * len(keeps) * len(drops)))

    def kept(self, limit: float, *, strict: bool) -> tuple[int, int]:
        """How many clips to keep and to drop a limit lets through."""
        turned = limit if self.side == "least" else -limit
        passed = self.merit > turned if strict else self.merit >= turned
        return int((passed & self.keep).sum()), int((passed & ~self.keep).sum())


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A limit with its mistakes on the labels, and those of the present limit."""

    limit: float
    low: float
    high: float
    """95 of 100 resamplings of the labels put the limit between these."""
    lost: int
    slipped: int
    lost_now: int
    slipped_now: int


def suggest(
    found: Labelled, limit: float, *, strict: bool, slip_cost: float, seed: int
) -> tuple[Suggestion | None, str]:
    """The limit with the fewest mistakes, the present one if that is as good; and a remark.

    A limit lies between two labelled values. Where the labels would put it beside all of them, it
    is not known how far, so none is suggested. Where resampled labels put it on both sides of the
    present one, that stays.
    """
    steps, groups = np.unique(found.merit, return_inverse=True)
    best = int(_cheapest(found, groups, np.ones((1, len(groups))), slip_cost)[0])
    now = _mistakes(found, limit, strict=strict)
    here = -limit if found.side == "most" else limit
    low, high = _range(found, groups, steps, slip_cost, seed)
    chosen, remark = here, ""
    if now[0] + slip_cost * now[1] <= _cost_of_cut(found, groups, best, slip_cost):
        remark = "the present limit makes no more mistakes than any other"
    elif low <= here <= high:
        remark = "resampled labels put the limit on both sides of the present one"
    elif best == 0:
        return None, "fewest mistakes are made without this limit: all labelled clips may pass"
    elif best == len(steps):
        return None, "fewest mistakes are made by a limit that lets no labelled clip through"
    else:
        chosen = round_between(steps[best - 1], steps[best])
    low, high = min(low, chosen), max(high, chosen)
    if found.side == "most":
        chosen, low, high = -chosen, -high, -low
    lost, slipped = _mistakes(found, chosen, strict=strict)
    return Suggestion(float(chosen), low, high, lost, slipped, *now), remark


def _mistakes(found: Labelled, limit: float, *, strict: bool) -> tuple[int, int]:
    """Clips that are lost and that slip in."""
    kept_right, slipped = found.kept(limit, strict=strict)
    return int(found.keep.sum()) - kept_right, slipped


def _cost_of_cut(found: Labelled, groups: Indices, cut: int, slip_cost: float) -> float:
    passed = groups >= cut
    return float((~passed & found.keep).sum() + slip_cost * (passed & ~found.keep).sum())


def _range(
    found: Labelled, groups: Indices, steps: Floats, slip_cost: float, seed: int
) -> tuple[float, float]:
    """Where 95 of 100 resamplings of the labels put the limit."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(groups), [1 / len(groups)] * len(groups), _RESAMPLED)
    places = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])
    cuts = _cheapest(found, groups, drawn.astype(float), slip_cost)
    low, high = np.quantile(places[cuts], [0.025, 0.975])
    return float(low), float(high)


def _cheapest(found: Labelled, groups: Indices, weights: Floats, slip_cost: float) -> Indices:
    """For each row of weights the number of different values that the cheapest limit cuts off."""
    keeps, drops = (np.zeros((len(weights), int(groups.max()) + 2)) for _ in range(2))
    for clip, group in enumerate(groups):
        target = keeps if found.keep[clip] else drops
        target[:, group + 1] += weights[:, clip]
    lost = keeps.cumsum(1)
    slipped = drops.sum(1, keepdims=True) - drops.cumsum(1)
    return np.argmin(lost + slip_cost * slipped, axis=1)


def round_between(low: float, high: float) -> float:
    """The shortest decimal between two numbers, close to their middle."""
    middle = (low + high) / 2
    power = -int(np.floor(np.log10(max(abs(low), abs(high)))))
    for digits in range(power, power + _MOST_DIGITS):
        number = round(float(middle), digits)
        if low < number < high:
            return number
    return float(middle)
