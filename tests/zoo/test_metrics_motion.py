"""Motion errors on takes with planted errors, Procrustes against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics import (
    MPJPE,
    AccelerationError,
    ContactRule,
    FootSkate,
    Metric,
    VelocityError,
    procrustes_align,
)


def takes(batch: int = 2, frames: int = 12, joints: int = 22, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    body = torch.rand(batch, 1, joints, 3, generator=rng, dtype=torch.float64)
    return body + torch.randn(batch, frames, joints, 3, generator=rng).double().cumsum(1) * 0.01


def rotation(seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=rng).double())
    return q * torch.linalg.det(q)


def value(metric: Metric, *batch: Tensor) -> float:
    metric.update(*batch)  # type: ignore[attr-defined]
    return metric.measurements()[0].value


def test_a_shift_is_an_error_in_the_world_alone() -> None:
    reference = takes()
    moved = reference + torch.tensor([0.03, 0.0, 0.04])
    assert value(MPJPE(), reference, moved) == pytest.approx(50)
    for align in ("root", "procrustes"):
        assert value(MPJPE(align), reference, moved) == pytest.approx(0, abs=1e-9)


def test_turning_and_scaling_is_taken_out_by_procrustes_alone() -> None:
    reference = takes()
    other = 1.3 * reference @ rotation().T + 2
    assert value(MPJPE("procrustes"), reference, other) == pytest.approx(0, abs=1e-9)
    assert value(MPJPE("root"), reference, other) > 100


def test_a_mirrored_body_is_an_error() -> None:
    reference = takes()
    mirrored = reference * torch.tensor([-1, 1, 1])
    assert value(MPJPE("procrustes"), reference, mirrored) > 50


def test_procrustes_equals_scipy() -> None:
    target, noise = takes(1, 3)[0], takes(1, 3, seed=9)[0]
    source = 0.7 * target @ rotation(2).T + 0.05 * noise
    aligned = procrustes_align(source, target)
    for frame in range(3):
        _, _, disparity = scipy.spatial.procrustes(target[frame].numpy(), source[frame].numpy())
        centred = target[frame] - target[frame].mean(0)
        residual = (aligned[frame] - target[frame]).square().sum() / centred.square().sum()
        assert residual.item() == pytest.approx(disparity, rel=1e-9)


def test_procrustes_of_a_body_in_one_point() -> None:
    target = takes(1, 1)
    aligned = procrustes_align(torch.zeros_like(target), target)
    assert torch.allclose(aligned, target.mean(-2, keepdim=True).expand_as(target))


def test_velocity_and_acceleration_of_a_known_error() -> None:
    reference = takes(frames=20)
    time = torch.arange(20).double().view(1, 20, 1, 1)
    drift = torch.zeros_like(reference)
    drift[..., 0] = (0.002 * time + 0.0005 * time**2)[..., 0]
    mean_speed = float((0.002 + 0.0005 * (2 * time[:, :-1] + 1)).mean())
    assert value(VelocityError(), reference, reference + drift) == pytest.approx(1000 * mean_speed)
    assert value(AccelerationError(), reference, reference + drift) == pytest.approx(1)
    per_second = AccelerationError(fps=20)
    assert value(per_second, reference, reference + drift) == pytest.approx(400)
    assert per_second.info.unit == "mm/s²"


def test_padding_does_not_count_and_long_takes_weigh_more() -> None:
    reference = torch.zeros(2, 10, 22, 3)
    other = reference.clone()
    other[0] += torch.tensor([0.1, 0, 0])
    other[1] += torch.tensor([0.4, 0, 0])
    other[1, 2:] = torch.nan
    metric = MPJPE()
    metric.update(reference, other, torch.tensor([10, 2]))
    assert metric.compute().value == pytest.approx((10 * 100 + 2 * 400) / 12)
    acceleration = AccelerationError()
    acceleration.update(reference, other, torch.tensor([10, 2]))
    assert acceleration.compute().count == 1


def test_takes_in_millimetres_are_refused() -> None:
    reference = 1000 * takes()
    with pytest.raises(InputError, match="divide millimetres by 1000"):
        MPJPE().update(reference, reference)
    with pytest.raises(InputError, match="one shape"):
        MPJPE().update(takes(), takes(frames=3))
    with pytest.raises(InputError, match="joints, 3"):
        MPJPE().update(takes()[0], takes()[0])
    with pytest.raises(InputError, match="NaN"):
        MPJPE("procrustes").update(takes(), takes() * torch.nan)
    with pytest.raises(UsageError, match="'root'"):
        MPJPE("hips")  # type: ignore[arg-type]


def walk(slide_m_s: float, fps: float = 20, frames: int = 41) -> Tensor:
    """Two feet on the floor, the second sliding for half of the take; a hip above, (1, T, 3, 3)."""
    joints = torch.zeros(1, frames, 3, 3, dtype=torch.float64)
    joints[:, :, 0, 1] = 1
    steps = torch.arange(frames).clamp(max=frames // 2)
    joints[:, :, 2, 0] = slide_m_s / fps * steps
    return joints


def test_a_planted_slide() -> None:
    metric = FootSkate((1, 2), 20)
    metric.update(walk(1.0))
    share, speed = metric.measurements()
    assert share.value == pytest.approx(25)
    assert speed.value == pytest.approx(25)
    assert "joints (1, 2)" in share.info.protocol


def test_slow_and_airborne_feet_do_not_skate() -> None:
    assert value(FootSkate((1, 2), 20), walk(0.4)) == 0
    airborne = walk(1.0)
    airborne[:, :, 2, 1] += 0.2
    assert value(FootSkate((1, 2), 20, rule=ContactRule(floor_m=0.0)), airborne) == 0
    rising = walk(1.0)
    rising[:, 1::2, 2, 1] += 0.04
    assert value(FootSkate((1, 2), 20), rising) == 0


def test_the_rule_and_the_axis_are_the_callers() -> None:
    strict = ContactRule(slide_m_s=0.1)
    assert value(FootSkate((1, 2), 20, rule=strict), walk(0.4)) == pytest.approx(25)
    z_up = walk(1.0)[..., [0, 2, 1]]
    assert value(FootSkate((1, 2), 20, up=2), z_up) == pytest.approx(25)


def test_padding_neither_stands_nor_sets_the_floor() -> None:
    joints = walk(1.0)
    joints[..., 1] += 0.5
    metric = FootSkate((1, 2), 20)
    metric.update(torch.nn.functional.pad(joints, (0, 0, 0, 0, 0, 20)), torch.tensor([41]))
    share, _ = metric.measurements()
    assert share.value == pytest.approx(25)


def test_errors_add_up_in_float64() -> None:
    reference = takes().float()
    assert value(MPJPE(), reference, reference + np.float32(1e-4)) == pytest.approx(
        1000 * 1e-4 * 3**0.5, rel=1e-2
    )
