"""How often each window comes in an epoch: once, or by its weight and its selection's share.

A rate is the number of times that a window is wanted in one epoch. Whole numbers are met exactly.
Of a fraction the hash decides, anew in every epoch, so that the sum over all windows is met too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import SchemaError, UsageError
from tokenize_jobs.feed_order import Numbers, hash_numbers

__all__ = ["check_weights", "mixture_rates", "occurrences"]


def check_weights(weights: NDArray[np.float64], column: str) -> NDArray[np.float64]:
    """Weights as given, refused when one of them cannot be a rate."""
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        raise SchemaError(
            f"column {column!r} gives {int(bad.sum())} windows no weight "
            f"(such as {weights[bad][0]})",
            allowed="numbers from 0: how often a window comes in an epoch",
            hint="leave these clips out with `where`, or weigh by another column",
        )
    return weights


def mixture_rates(
    parts: Sequence[NDArray[np.float64]], shares: Mapping[str, float]
) -> NDArray[np.float64]:
    """Rates for the windows of several selections, one after the other.

    `parts` holds the weights of each selection's windows. An epoch has as many samples as there are
    windows; each selection gives its share of them, by the weights of its own.
    """
    total = sum(shares.values())
    if total <= 0 or min(shares.values()) < 0:
        raise UsageError(f"mixture {dict(shares)} has no positive sum", allowed="shares from 0")
    samples = sum(map(len, parts))
    rates = []
    for name, weights, share in zip(shares, parts, shares.values(), strict=True):
        if share > 0 and weights.sum() <= 0:
            raise UsageError(f"no window of selection {name!r} has a weight above 0")
        rates.append(weights * (samples * share / total / max(weights.sum(), 1e-300)))
    return np.concatenate(rates)


def occurrences(rates: NDArray[np.float64], *salts: int) -> tuple[Numbers, Numbers]:
    """Every window as often as its rate says, and the number of each copy from 0.

    Fractions are drawn in steps of 1 along the hash order of the windows (systematic sampling): a
    window with a rate of 2.3 comes two or three times, and the epoch's length varies by 1 at most.
    """
    whole = np.floor(rates).astype(np.int64)
    counts = whole.copy()
    along = np.argsort(hash_numbers(np.arange(len(rates)), *salts, 2), kind="stable")
    start = float(hash_numbers(np.zeros(1, np.int64), *salts, 3)[0]) / 2.0**64
    reached = np.floor(start + np.cumsum((rates - whole)[along]))
    counts[along] += np.diff(reached, prepend=0.0).astype(np.int64)
    entries = np.repeat(np.arange(len(rates)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return entries, np.arange(len(entries)) - first
