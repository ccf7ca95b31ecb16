"""Flicker, temporal similarity and seams on clips with planted faults."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics import Flicker, SeamDip, TemporalSimilarity
from zoo.metrics.clips import ClipMetric

UNIT = (0.0, 1.0)


def moving(frames: int = 8) -> Tensor:
    """A texture that moves by a pixel a frame, (1, 1, T, 32, 32) within 0.2..0.8."""
    texture = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    return torch.stack([texture.roll(t, 1) for t in range(frames)])[None, None]


def value(metric: ClipMetric, reference: Tensor, reconstruction: Tensor) -> float:
    metric.update(reference, reconstruction)
    return metric.compute().value


def test_alternating_brightness_is_flicker_of_its_size() -> None:
    reference = moving()
    sign = torch.tensor([1.0, -1.0] * 4).view(1, 1, 8, 1, 1)
    assert value(Flicker(UNIT), reference, reference + sign * 0.05) == pytest.approx(0.1 * 255)


def test_a_constant_error_does_not_flicker() -> None:
    reference = moving()
    assert value(Flicker(UNIT), reference, reference + 0.1) == pytest.approx(0, abs=1e-4)
    assert value(TemporalSimilarity(UNIT), reference, reference + 0.1) == pytest.approx(1)


def test_temporal_similarity_of_motion_that_is_lost_or_reversed() -> None:
    reference = moving()
    frozen = reference[:, :, :1].expand_as(reference)
    energy = reference.diff(dim=2).square().mean().item()
    floor = 0.03**2
    lost = value(TemporalSimilarity(UNIT), reference, frozen)
    assert lost == pytest.approx(floor / (energy + floor), rel=1e-4)
    backwards = value(TemporalSimilarity(UNIT), reference, 1 - reference)
    assert backwards == pytest.approx((floor - 2 * energy) / (floor + 2 * energy), rel=1e-4)
    assert value(TemporalSimilarity(UNIT), frozen, frozen) == 1


@pytest.mark.parametrize(("first", "seam"), [(None, {3, 4, 7, 8}), (1, {0, 1, 4, 5, 8, 9})])
def test_a_planted_dip_at_the_seams(first: int | None, seam: set[int]) -> None:
    reference = torch.full((2, 1, 11, 8, 8), 0.5)
    worse = torch.tensor([0.1 if t in seam else 0.01 for t in range(11)]).view(1, 1, 11, 1, 1)
    metric = SeamDip(4, first=first, value_range=UNIT)
    rounded = [round(255 * 0.5) - round(255 * (0.5 - x)) for x in (0.1, 0.01)]
    dip = 20 * math.log10(rounded[0] / rounded[1])
    assert value(metric, reference, reference - worse) == pytest.approx(dip, abs=1e-3)


def test_no_seam_no_dip() -> None:
    reference = moving(12)
    assert value(SeamDip(4, value_range=UNIT), reference, reference + 0.1) == pytest.approx(0)


def test_clips_without_change_or_seam_are_refused() -> None:
    for metric, least in ((Flicker(UNIT), 2), (TemporalSimilarity(UNIT), 2), (SeamDip(8), 10)):
        with pytest.raises(InputError, match=f"{least} frames"):
            metric.update(moving(least - 1), moving(least - 1))
    with pytest.raises(UsageError, match="longer than both"):
        SeamDip(4, reach=2)
