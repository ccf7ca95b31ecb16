"""Frechet and kernel distances against Gaussians whose distance is known, and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from zoo.errors import InputError, UsageError, ZooError
from zoo.metrics import FeatureProtocol, FeatureStats, FrechetDistance, KernelDistance
from zoo.metrics.kid import kernel_mmd

PROTOCOL = FeatureProtocol("i3d_k400", "ab" * 32, "224x224 bilinear", 16, "test", 24.0)


def features(count: int, size: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=rng, dtype=torch.float64)
    return torch.randn(count, size, generator=rng, dtype=torch.float64) @ mixing


def stats(rows: Tensor) -> FeatureStats:
    found = FeatureStats()
    found.update(rows)
    return found


def standard(count: int, size: int, seed: int = 0) -> Tensor:
    """Rows whose mean is exactly zero and whose covariance is exactly the identity."""
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(seed)).double()
    rows -= rows.mean(0)
    covariance = rows.T @ rows / (count - 1)
    return rows @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T


def test_gaussians_of_known_distance() -> None:
    rows = standard(200, 6)
    shift = torch.arange(6).double()
    moved, stretched = stats(rows + shift), stats(3 * rows)
    assert stats(rows).distance(moved) == pytest.approx(55)
    assert stats(rows).distance(stretched) == pytest.approx(6 * (3 - 1) ** 2)
    turned = rows * torch.tensor([1, 2, 1, 1, 1, 4])
    assert stats(turned).distance(moved) == pytest.approx(55 + 1 + 9)


def test_scipy_agrees() -> None:
    a, b = features(300, 24, 1), features(200, 24, 2)
    covariances = [np.cov(rows.numpy(), rowvar=False) for rows in (a, b)]
    cross = sqrtm(covariances[0] @ covariances[1]).real
    shift = (a.mean(0) - b.mean(0)).square().sum().item()
    expected = shift + np.trace(covariances[0] + covariances[1] - 2 * cross)
    assert stats(a).distance(stats(b)) == pytest.approx(expected, rel=1e-9)


def test_few_vectors_in_many_dimensions_stay_accurate() -> None:
    rows = features(20, 256, 3)
    assert stats(rows).distance(stats(rows)) < 1e-9 * float(stats(rows).covariance.trace())


def test_large_means_cost_no_digits() -> None:
    rows = standard(100, 4)
    far = rows + 1e6
    assert torch.allclose(stats(far).covariance, torch.eye(4).double(), atol=1e-6)


def test_the_protocol_says_what_was_measured() -> None:
    metric = FrechetDistance(PROTOCOL, name="rfvd")
    rows = features(40, 8, 0)
    metric.update(rows[:30], rows[:20])
    metric.update(generated=rows[20:30])
    measured = metric.compute()
    for part in ("i3d_k400", "abababababab", "224x224 bilinear", "16 frames", "24 fps", "test"):
        assert part in measured.info.protocol
    assert measured.parts == {"reference_count": 30, "generated_count": 30, "dimensions": 8}
    assert measured.value == pytest.approx(0, abs=1e-9)


def test_other_features_do_not_merge() -> None:
    with pytest.raises(UsageError, match="different things"):
        FrechetDistance(PROTOCOL).merge(FrechetDistance(FeatureProtocol("videomae")))


def test_bad_features_are_refused() -> None:
    metric = FrechetDistance(PROTOCOL)
    with pytest.raises(InputError, match="NaN"):
        metric.update(torch.full((2, 3), torch.nan))
    with pytest.raises(InputError, match="clips, values"):
        metric.update(torch.zeros(2, 3, 4))
    metric.update(torch.zeros(2, 3))
    with pytest.raises(InputError, match="one net"):
        metric.update(torch.zeros(2, 4))
    with pytest.raises(ZooError, match="0 vectors"):
        metric.compute()


def test_kernel_distance_from_its_definition() -> None:
    x, y = features(7, 5, 1), features(9, 5, 2)

    def kernel(a: Tensor, b: Tensor) -> float:
        return ((a @ b).item() / 5 + 1) ** 3

    within_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert kernel_mmd(x, y).item() == pytest.approx(within_x + within_y - 2 * between)


def test_kernel_distance_of_one_distribution_is_near_zero_and_of_two_is_not() -> None:
    rows = standard(800, 8, 4)
    near, far = (KernelDistance(PROTOCOL, subsets=20, subset_size=200) for _ in range(2))
    near.update(rows[:400], rows[400:])
    far.update(rows[:400], rows[400:] + 1)
    assert abs(near.compute().value) < 0.1
    assert far.compute().value > 1


def test_kernel_subsets_need_two_vectors() -> None:
    metric = KernelDistance(PROTOCOL)
    metric.update(torch.zeros(5, 3), torch.zeros(1, 3))
    with pytest.raises(InputError, match="2 or more"):
        metric.compute()
    with pytest.raises(UsageError):
        KernelDistance(PROTOCOL, subsets=0)
