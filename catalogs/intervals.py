"""How sure a few labels make one: estimates with 95% confidence intervals, in closed form.

Wilson's interval for shares, what follows from it for F1, and Newcombe's (2006, method 5) for the
area under the curve. None of them collapses when every label agrees: five of five is not certain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Estimate", "area", "f1", "share"]

Z = 1.959964
"""Standard normal deviations of a two-sided 95% interval."""
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the interval that holds the true one 95 times in 100."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def share(part: int, whole: int) -> Estimate | None:
    """A share with Wilson's interval; None of nothing."""
    if whole == 0:
        return None
    p, spread = part / whole, Z * Z / whole
    middle = (p + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(p * (1 - p) / whole + spread / (4 * whole))
    return Estimate(p, max(0.0, middle - half), min(1.0, middle + half))


def f1(right: int, wrong: int) -> Estimate | None:
    """F1 of `right` true positives among `wrong` errors of either kind.

    F1 grows with the share that the right ones have in both, so that the share's interval gives
    its own.
    """
    found = share(right, right + wrong)
    if found is None:
        return None
    return Estimate(*(2 * p / (1 + p) for p in (found.value, found.low, found.high)))


def area(value: float, keeps: int, drops: int) -> Estimate:
    """The area under a ROC curve of so many keeps and drops, with Newcombe's interval."""

    def within(guess: float) -> bool:
        more = (keeps + drops) / 2 - 1
        terms = 1 + more * ((1 - guess) / (2 - guess) + guess / (1 + guess))
        return abs(value - guess) <= Z * math.sqrt(guess * (1 - guess) * terms / (keeps * drops))

    def border(inside: float, outside: float) -> float:
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if within(middle) else (inside, middle)
        return inside

    return Estimate(value, border(value, 0.0), border(value, 1.0))
