"""The range coder against the entropy of what it codes."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.layers import range_coder
from zoo.layers.range_coder import TOTAL, Decoder, Encoder


@pytest.mark.parametrize("skew", [1.0, 0.3, 0.01])
def test_symbols_come_back_in_nearly_the_bits_of_their_entropy(skew: float) -> None:
    dice = np.random.default_rng(0)
    rows = dice.dirichlet(np.full(20, skew), size=8) + 1e-9
    tables = range_coder.cumulative(rows)
    chosen = dice.integers(0, len(rows), 4000)
    shares = np.diff(np.array(tables)) / TOTAL
    symbols = [int(dice.choice(20, p=shares[row])) for row in chosen]
    coder = Encoder()
    range_coder.encode(coder, symbols, [tables[row] for row in chosen])
    data = coder.finish()
    assert range_coder.decode(Decoder(data), [tables[row] for row in chosen]) == symbols
    bits = -np.log2(shares[chosen, symbols]).sum()
    assert bits <= 8 * len(data) < bits * 1.002 + 48


def test_a_carry_runs_through_bytes_of_ones() -> None:
    likely = [0, TOTAL - 1, TOTAL]
    for count in range(200):
        symbols = [1] * 3 + [0] * count + [1]
        coder = Encoder()
        range_coder.encode(coder, symbols, [likely] * len(symbols))
        assert range_coder.decode(Decoder(coder.finish()), [likely] * len(symbols)) == symbols


def test_a_symbol_that_seems_impossible_can_still_be_coded() -> None:
    (table,) = range_coder.cumulative(np.array([[1.0, 0.0, 0.0]]))
    assert table == [0, TOTAL - 2, TOTAL - 1, TOTAL]
