"""Diversity, multimodality, matching and R-precision on embeddings of known geometry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics import Diversity, MatchingScore, Multimodality, RPrecision

EVALUATOR = "t2m_bigru"


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_diversity_of_gaussians() -> None:
    metric = Diversity(EVALUATOR)
    metric.update(normal(4000, 64))
    measured = metric.compute()
    expected = 2 * math.gamma(32.5) / math.gamma(32)
    assert measured.value == pytest.approx(expected, rel=0.01)
    assert measured.interval is not None
    assert 0 < measured.interval < 0.1
    assert measured.info.higher_is_better is None


def test_diversity_needs_two_vectors_for_each_pair() -> None:
    metric = Diversity(EVALUATOR)
    metric.update(normal(100, 4))
    with pytest.raises(InputError, match="pairs=50"):
        metric.compute()


def test_multimodality_is_over_all_pairs_of_a_text() -> None:
    samples = torch.tensor([[[0.0], [1.0], [3.0]], [[5.0], [5.0], [5.0]]])
    metric = Multimodality(EVALUATOR)
    metric.update(samples)
    assert metric.compute().value == pytest.approx(((1 + 2 + 3) / 3 + 0) / 2)
    with pytest.raises(InputError, match="2 samples"):
        metric.update(samples[:, :1])


def test_matching_score_is_the_distance_of_pairs() -> None:
    texts = normal(50, 8)
    metric = MatchingScore(EVALUATOR)
    metric.update(texts, texts + 0.5)
    assert metric.compute().value == pytest.approx(0.5 * math.sqrt(8))
    with pytest.raises(InputError, match="one space"):
        metric.update(texts, texts[:3])


def r_precision(texts: Tensor, samples: Tensor) -> list[float]:
    metric = RPrecision(EVALUATOR)
    metric.update(texts, samples)
    return [measured.value for measured in metric.measurements()]


def test_r_precision_of_perfect_and_of_random_samples() -> None:
    texts = normal(640, 16)
    assert r_precision(texts, texts) == [100, 100, 100]
    chance = r_precision(texts, normal(640, 16, seed=1))
    assert chance == pytest.approx([100 / 32, 200 / 32, 300 / 32], abs=2)


def test_collapsed_embeddings_do_not_win() -> None:
    same = torch.ones(64, 4)
    assert r_precision(same, same) == [0, 0, 0]


def test_the_rank_is_counted_among_the_batch() -> None:
    texts = torch.arange(32.0).view(32, 1)
    assert r_precision(texts, texts + 0.8) == pytest.approx([100 / 32, 100, 100])


def test_a_batch_that_is_not_full_is_left_out() -> None:
    metric = RPrecision(EVALUATOR)
    metric.update(normal(70, 8), normal(70, 8))
    assert metric.measurements()[0].count == 70
    assert "not full" in metric.infos[0].protocol
    few = RPrecision(EVALUATOR)
    few.update(normal(31, 8), normal(31, 8))
    with pytest.raises(InputError, match="32"):
        few.measurements()
    with pytest.raises(UsageError):
        RPrecision(EVALUATOR, batch=3)
