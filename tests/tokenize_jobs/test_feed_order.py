"""Orders, batches and rates: exact whatever was consumed, and the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.errors import SchemaError, UsageError
from tokenize_jobs.feed_mixture import check_weights, mixture_rates, occurrences
from tokenize_jobs.feed_order import hash_numbers, make_batches, remaining, shuffled


def test_the_shuffle_is_the_same_for_ever() -> None:
    """A stored epoch must mean the same order in a later version."""
    assert hash_numbers(np.arange(3), 1, 2).tolist() == [
        5803727657181717140,
        13967098786185089623,
        2135853513329795368,
    ]
    order = shuffled(np.arange(8), np.zeros(8, np.int64), None, 1, 0)
    assert order.tolist() == [6, 0, 7, 4, 5, 1, 2, 3]


def test_other_seeds_and_epochs_give_other_orders() -> None:
    zeros = np.zeros(1000, np.int64)
    orders = {tuple(shuffled(np.arange(1000), zeros, None, *s)) for s in ((0, 0), (0, 1), (1, 0))}
    assert len(orders) == 3
    moved = np.mean(np.abs(next(iter(orders)) - np.arange(1000)))
    assert 300 < moved < 366, "a uniform shuffle moves an entry by a third of the length"


def test_pools_follow_each_other() -> None:
    pools = np.array([2, 0, 1, 0, 2, 1], np.int32)
    order = shuffled(np.arange(6), np.zeros(6, np.int64), pools, 3)
    assert pools[order].tolist() == [0, 0, 1, 1, 2, 2]


def test_batches_hold_one_bucket_and_the_rest_comes_last() -> None:
    buckets = np.array([0, 1, 0, 1, 0, 1, 1, 0, 0], np.int32)
    batches = make_batches(np.arange(9), buckets, 2)
    assert [batches[n].tolist() for n in range(len(batches))] == [
        [0, 2],
        [1, 3],
        [5, 6],
        [4, 7],
        [8],
    ]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 2), max_size=40),
    st.lists(st.tuples(st.integers(1, 7), st.integers(0, 5)), max_size=4),
    st.booleans(),
)
def test_what_remains_and_what_was_given_are_all(
    kinds: list[int], consumed: list[tuple[int, int]], bucketed: bool
) -> None:
    buckets = np.asarray(kinds, np.int32) if bucketed else None
    order = np.argsort(hash_numbers(np.arange(len(kinds)), 9))
    given_out: list[int] = []
    left = order
    for size, count in consumed:
        batches = make_batches(left, buckets, size)
        for number in range(min(count, len(batches))):
            given_out += batches[number].tolist()
        left = remaining(left, buckets, [(size, count)])
    assert remaining(order, buckets, consumed).tolist() == left.tolist()
    assert sorted(given_out + left.tolist()) == list(range(len(kinds)))
    assert [n for n in order.tolist() if n in set(left.tolist())] == left.tolist()


def test_rates_are_met() -> None:
    rates = np.array([1.0, 0.0, 2.0, 0.25, 0.25, 0.25, 0.25, 3.5] * 50)
    seen = np.zeros(len(rates))
    for epoch in range(40):
        entries, copies = occurrences(rates, 7, epoch)
        counts = np.bincount(entries, minlength=len(rates))
        assert abs(len(entries) - rates.sum()) <= 1
        assert ((counts == np.floor(rates)) | (counts == np.ceil(rates))).all()
        assert all(copies[entries == 7] == np.arange(counts[7]))
        seen += counts
    assert np.abs(seen / 40 - rates).max() < 0.35
    assert abs(seen.sum() / 40 - rates.sum()) < 1


def test_a_mixture_gives_each_selection_its_share() -> None:
    rates = mixture_rates([np.ones(90), np.array([1.0, 3.0] * 5)], {"a": 1, "b": 3})
    assert len(rates) == 100
    assert rates[:90].sum() == pytest.approx(25)
    assert rates[90:].sum() == pytest.approx(75)
    assert rates[91] == pytest.approx(3 * rates[90])


def test_shares_and_weights_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="no positive sum"):
        mixture_rates([np.ones(2)], {"a": 0})
    with pytest.raises(UsageError, match="selection 'b' has a weight"):
        mixture_rates([np.ones(2), np.zeros(2)], {"a": 1, "b": 1})
    with pytest.raises(SchemaError, match="2 windows no weight"):
        check_weights(np.array([1.0, np.nan, -1.0]), "motion_px")
