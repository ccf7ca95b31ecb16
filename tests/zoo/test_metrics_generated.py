"""What is measured of samples without a reference: bits, bodies, the dimensions of video."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.metrics import (
    BodyPhysics,
    DynamicDegree,
    FeatureProtocol,
    FlickerScore,
    FrechetDistance,
    Likelihood,
    MotionSmoothness,
    SubjectConstancy,
    take_features,
)

FPS = 20.0


def values(metric: BodyPhysics) -> dict[str, float]:
    return {m.info.name: m.value for m in metric.measurements()}


def moving(pixels: int, frames: int = 6, side: int = 64) -> Tensor:
    """A textured square that moves to the right, (1, 3, T, H, W)."""
    patch = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    clip = torch.zeros(1, 3, frames, side, side)
    for frame in range(frames):
        clip[0, :, frame, 24:40, 8 + pixels * frame : 24 + pixels * frame] = patch
    return clip


def body(takes: int = 8, frames: int = 24, noise: float = 0.01) -> Tensor:
    """Takes that walk along x with their hips across, (B, T, 22, 3)."""
    dice = torch.Generator().manual_seed(3)
    pose = torch.rand(22, 3, generator=dice) * torch.tensor([0.4, 1.6, 0.4])
    pose[0], pose[1], pose[2] = (
        torch.tensor(place) for place in ((0.0, 0.9, 0), (0.1, 0.9, 0), (-0.1, 0.9, 0))
    )
    speed = 0.5 + torch.rand(takes, 1, generator=dice)
    travel = speed * torch.arange(frames) / FPS
    joints = pose.expand(takes, frames, 22, 3).clone()
    joints[..., 2] += travel[..., None]
    return joints + noise * torch.randn(joints.shape, generator=dice)


def turned(joints: Tensor, degrees: float) -> Tensor:
    """The same takes elsewhere, facing another way."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return joints @ torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + torch.tensor([3.0, 0, -2])


def test_bits_of_a_uniform_code_are_its_log2() -> None:
    metric = Likelihood(levels=2, exact=False)
    metric.update(torch.full((3,), math.log(1024)), torch.tensor([4, 5, 6]))
    assert metric.compute().value == pytest.approx(10)
    assert "bound from above" in metric.info.protocol
    metric.update(torch.zeros(1), torch.tensor([15]))
    assert metric.compute().value == pytest.approx(5)


def test_a_body_below_or_above_the_floor_is_measured_in_centimetres() -> None:
    joints = torch.zeros(2, 8, 22, 3)
    joints[..., 1] = torch.linspace(0, 1.7, 22)
    joints[0, ..., 1] -= 0.02
    joints[1, ..., 1] += 0.05
    metric = BodyPhysics(FPS)
    metric.update(joints)
    found = values(metric)
    assert found["floor_penetration"] == pytest.approx(1, rel=1e-4)
    assert found["floating"] == pytest.approx(2.5, rel=1e-4)
    assert found["jerk"] == pytest.approx(0, abs=1e-3)


def test_jerk_is_the_third_difference() -> None:
    t = torch.arange(10.0) / FPS
    joints = torch.zeros(1, 10, 22, 3)
    joints[..., 0] = (t**3)[None, :, None]
    metric = BodyPhysics(FPS)
    metric.update(joints)
    assert values(metric)["jerk"] == pytest.approx(6, rel=1e-3)


def test_statistics_of_a_take_do_not_depend_on_place_and_heading() -> None:
    joints = body()
    torch.testing.assert_close(
        take_features(turned(joints, 130), FPS), take_features(joints, FPS), rtol=0, atol=1e-3
    )
    assert take_features(joints, FPS).shape == (8, 2 * (3 * 22 + 3))


def test_walking_forwards_and_turning_left_are_positive() -> None:
    joints = body(1, noise=0)
    mean = take_features(joints, FPS)[0, 6 * 22 : 6 * 22 + 2]
    assert mean[0] > 0.3
    assert abs(mean[1]) < 0.05
    angles = torch.linspace(0, 90, joints.shape[1])
    frames = [turned(joints[:, n : n + 1], float(a)) for n, a in enumerate(angles)]
    turning = take_features(torch.cat(frames, 1), FPS)[0, -2]
    assert turning == pytest.approx(math.radians(90) / (23 / FPS), rel=0.05)


def test_frechet_of_equal_takes_is_nothing_and_of_other_takes_is_not() -> None:
    features = take_features(body(40), FPS)
    same, other = (FrechetDistance(FeatureProtocol("t")) for _ in range(2))
    same.update(features, features.flip(0))
    other.update(features, take_features(body(40) * 1.3, FPS))
    assert same.compute().value == pytest.approx(0, abs=1e-6)
    assert other.compute().value > 0.05


def test_a_still_clip_neither_flickers_nor_moves() -> None:
    still = moving(0)
    for metric, expected in (
        (FlickerScore(), 100),
        (MotionSmoothness(), 100),
        (SubjectConstancy(), 100),
        (DynamicDegree(), 0),
    ):
        metric.update(still)
        assert metric.compute().value == pytest.approx(expected, abs=1e-3), metric.info.name


def test_flicker_of_a_blinking_clip_is_its_depth() -> None:
    clip = torch.zeros(1, 3, 6, 16, 16)
    clip[:, :, ::2] = 0.5
    metric = FlickerScore()
    metric.update(clip)
    assert metric.compute().value == pytest.approx(75)


def test_motion_is_dynamic_and_smooth_until_frames_change_places() -> None:
    clip = moving(4, frames=8)
    dynamic, smooth, mixed = DynamicDegree(), MotionSmoothness(), MotionSmoothness()
    dynamic.update(clip)
    smooth.update(moving(2, frames=8))
    mixed.update(moving(2, frames=8)[:, :, [0, 3, 1, 5, 2, 7, 4, 6]])
    assert dynamic.compute().value == 100
    assert smooth.compute().value > 99.5
    assert mixed.compute().value < smooth.compute().value - 0.5


def test_another_scene_is_another_subject() -> None:
    scenes = torch.tensor([-1.0, 1]).view(1, 1, 2, 1, 1).expand(1, 3, 2, 32, 32)
    metric = SubjectConstancy()
    metric.update(scenes)
    assert metric.compute().value < 20
    with pytest.raises(InputError, match="2 frames or more"):
        metric.update(scenes[:, :, :1])
