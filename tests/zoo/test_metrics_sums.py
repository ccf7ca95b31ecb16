"""Every metric gives one value for one data set: however batched, ordered, split or shipped."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError, ZooError
from zoo.metrics import (
    METRICS,
    MPJPE,
    MSSSIM,
    PSNR,
    SSIM,
    AccelerationError,
    BodyPhysics,
    CodebookUse,
    Diversity,
    DynamicDegree,
    FeatureProtocol,
    Flicker,
    FlickerScore,
    FootSkate,
    FrechetDistance,
    KernelDistance,
    Likelihood,
    MatchingScore,
    Measurement,
    MetricInfo,
    MotionSmoothness,
    Multimodality,
    PerceptualDistance,
    RPrecision,
    SeamDip,
    SubjectConstancy,
    TemporalSimilarity,
    VelocityError,
    combine_runs,
)

ITEMS = 12


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips() -> tuple[Tensor, ...]:
    reference = torch.rand(ITEMS, 3, 5, 24, 24, generator=rng(0)) * 2 - 1
    return reference, reference + 0.1 * torch.randn(reference.shape, generator=rng(1))


def takes() -> tuple[Tensor, ...]:
    reference = torch.rand(ITEMS, 9, 22, 3, generator=rng(2))
    other = reference + 0.02 * torch.randn(reference.shape, generator=rng(3))
    return reference, other, torch.arange(ITEMS) % 7 + 3


def standing() -> tuple[Tensor, ...]:
    reference, _, lengths = takes()
    return reference * 0.05, lengths


def vectors() -> tuple[Tensor, ...]:
    return torch.randn(ITEMS, 6, generator=rng(4)), torch.randn(ITEMS, 6, generator=rng(5)) + 1


FEATURES = FeatureProtocol("random")
CASES: dict[str, tuple[Callable[[], Any], Callable[[], tuple[Tensor, ...]]]] = {
    "psnr": (PSNR, clips),
    "ssim": (SSIM, clips),
    "ms_ssim": (lambda: MSSSIM(scales=2), clips),
    "perceptual": (PerceptualDistance, clips),
    "frechet": (lambda: FrechetDistance(FEATURES), vectors),
    "kernel": (lambda: KernelDistance(FEATURES, subsets=5, subset_size=6), vectors),
    "codebook": (
        lambda: CodebookUse((16, 8)),
        lambda: (torch.randint(0, 8, (ITEMS, 5, 2), generator=rng(6)),),
    ),
    "flicker": (Flicker, clips),
    "temporal_similarity": (TemporalSimilarity, clips),
    "seam_dip": (lambda: SeamDip(3), clips),
    "mpjpe": (lambda: MPJPE("procrustes"), takes),
    "velocity": (VelocityError, takes),
    "acceleration": (AccelerationError, takes),
    "foot_skate": (lambda: FootSkate((0, 1), 1), standing),
    "diversity": (lambda: Diversity("e", pairs=2), lambda: vectors()[:1]),
    "multimodality": (
        lambda: Multimodality("e"),
        lambda: (torch.randn(ITEMS, 4, 6, generator=rng(7)),),
    ),
    "matching": (lambda: MatchingScore("e"), vectors),
    "r_precision": (lambda: RPrecision("e", batch=5), vectors),
    "likelihood": (Likelihood, lambda: (vectors()[0][:, 0].exp(), takes()[2])),
    "physics": (lambda: BodyPhysics(20), lambda: (takes()[0] - 0.5, takes()[2].clamp(min=4))),
    "temporal_flickering": (FlickerScore, lambda: clips()[:1]),
    "motion_smoothness": (MotionSmoothness, lambda: clips()[:1]),
    "dynamic_degree": (DynamicDegree, lambda: clips()[:1]),
    "subject_constancy": (SubjectConstancy, lambda: clips()[:1]),
}


def measured(parts: list[tuple[Tensor, ...]], make: Callable[[], Any]) -> Any:
    metric = make()
    for part in parts:
        metric.update(*part)
    return metric


def assert_equal(found: Any, expected: Any) -> None:
    pairs = zip(found.measurements(), expected.measurements(), strict=True)
    for a, b in pairs:
        assert a.info == b.info
        assert a.count == b.count
        assert a.value == pytest.approx(b.value, rel=1e-5, abs=1e-9)
        assert a.parts == pytest.approx(b.parts, rel=1e-5, abs=1e-9)


def test_every_metric_has_a_case_here() -> None:
    assert CASES.keys() == METRICS.keys()
    assert all(type(make()) is METRICS[name] for name, (make, _) in CASES.items())


@pytest.mark.parametrize("name", METRICS)
def test_batches_and_order_do_not_matter(name: str) -> None:
    make, data = CASES[name]
    whole = measured([data()], make)
    order = torch.randperm(ITEMS, generator=rng(8))
    pieces = zip(*(x[order].split([1, 4, 7]) for x in data()), strict=True)
    assert_equal(measured(list(pieces), make), whole)


@pytest.mark.parametrize("name", METRICS)
def test_parts_from_other_processes_merge_into_the_whole(name: str) -> None:
    make, data = CASES[name]
    halves = list(zip(*(x.split([5, 7]) for x in data()), strict=True))
    first, second = (measured([half], make) for half in halves)
    before = copy.deepcopy(second.measurements())
    first.merge(pickle.loads(pickle.dumps(second)))  # noqa: S301
    assert_equal(first, measured([data()], make))
    assert second.measurements() == before
    empty = make()
    empty.merge(first)
    empty.merge(make())
    assert_equal(empty, first)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_states_itself(name: str) -> None:
    make, _ = CASES[name]
    metric = make()
    for info in metric.infos:
        assert info.name.replace("_", "").isalnum()
        assert len(info.protocol) > 20
        assert info.version >= 1
    with pytest.raises(ZooError):
        metric.measurements()


def test_metrics_with_other_options_do_not_merge() -> None:
    with pytest.raises(UsageError, match="psnr cannot take in psnr"):
        PSNR().merge(PSNR(pool="clip"))
    with pytest.raises(UsageError, match="different things"):
        PSNR().merge(SSIM())  # type: ignore[arg-type]


def test_runs_combine_into_a_mean_and_its_interval() -> None:
    info = MetricInfo("fid", "", False, "of a test")
    runs = [Measurement(info, value, 10, "vectors") for value in (1.0, 2.0, 3.0)]
    combined = combine_runs(runs)
    assert combined.value == 2
    assert combined.interval == pytest.approx(1.96 / 3**0.5)
    assert str(combined) == "fid 2 ± 1.132 (3 runs)"
    with pytest.raises(UsageError, match="two or more"):
        combine_runs(runs[:1])
