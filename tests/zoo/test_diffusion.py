"""Processes as identities: what is mixed comes apart, targets name the same, samplers agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.diffusion import Denoise, Process, ladder, pushed, shifted, step, walk

PATHS = ("flow", "cosine", "linear", "edm")
TARGETS = ("data", "noise", "v", "flow", "edm")
DATA, NOISE = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double().split(1)


def towards(data: Tensor) -> Denoise:
    """A network that knows the answer."""
    return lambda x, time: data.expand_as(x)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_data_and_noise_come_back_from_every_target(path: Any, target: Any) -> None:
    process = Process(path, target, spread=0.7)
    for time in (0.2, 0.5, 0.9):
        at = torch.full((1,), time).double()
        mixture = process.mix(DATA, NOISE, at)
        clean = process.clean(process.wanted(DATA, NOISE, at), mixture, at)
        assert torch.allclose(clean, DATA, atol=1e-5)
        assert torch.allclose(process.noise(clean, mixture, at), NOISE, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_clean_stays_and_noise_is_pure(path: Any, target: Any) -> None:
    process = Process(path, target)
    none = torch.zeros(1).double()
    assert torch.equal(process.clean(NOISE, DATA, none), DATA)
    assert torch.equal(process.noise(DATA, DATA, none), torch.zeros_like(DATA))
    alpha, sigma = process.shares(torch.ones(1).double())
    assert float(sigma) > (0.99 if path != "edm" else 79)
    assert float(alpha) < 0.02 or path == "edm"


@pytest.mark.parametrize("path", ["cosine", "linear"])
def test_variance_is_preserved(path: Any) -> None:
    alpha, sigma = Process(path).shares(torch.linspace(0, 1, 11).double())
    assert torch.allclose(alpha.square() + sigma.square(), torch.ones(11).double())


def test_the_network_of_edm_reads_and_names_values_of_deviation_one() -> None:
    process = Process("edm", "edm", spread=0.5)
    data, noise = torch.randn(2, 4000).double().split(1)
    for time in (0.1, 0.5, 0.8):
        at = torch.full((1,), time).double()
        mixture = process.mix(data * 0.5, noise, at)
        assert float(process.scaled(mixture, at).std()) == pytest.approx(1, abs=0.1)
        assert float(process.wanted(data * 0.5, noise, at).std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fresh", [0.0, 1.0])
def test_a_network_that_knows_the_answer_arrives(path: Any, fresh: float) -> None:
    process = Process(path, "data")
    dice = torch.Generator().manual_seed(1)
    begin = process.start(NOISE)
    made = walk(process, towards(DATA), begin, ladder(4), fresh=fresh, dice=dice)
    assert torch.allclose(made, DATA)


def test_steps_of_straight_paths_are_those_of_euler() -> None:
    process = Process("flow", "flow")
    now, after = torch.tensor([0.8]), torch.tensor([0.5])
    denoise: Denoise = lambda x, time: x.sin()  # noqa: E731
    velocity = (NOISE - NOISE.sin()) / 0.8
    made = step(process, denoise, NOISE, now, after)
    assert torch.allclose(made, NOISE - 0.3 * velocity, atol=1e-6)


def test_heun_is_nearer_than_euler_at_as_many_calls() -> None:
    process = Process("cosine", "data")
    wide = torch.tensor(0.6)

    def denoise(x: Tensor, time: Tensor) -> Tensor:
        """The answer for data of deviation 0.6."""
        alpha, sigma = process.shares(time.view(-1, 1, 1))
        return x * alpha * wide**2 / (alpha**2 * wide**2 + sigma**2)

    exact = walk(process, denoise, NOISE, ladder(400))
    euler = walk(process, denoise, NOISE, ladder(20))
    heun = walk(process, denoise, NOISE, ladder(10), method="heun")
    assert (heun - exact).abs().mean() < 0.5 * (euler - exact).abs().mean()


def test_frames_walk_at_their_own_pace() -> None:
    process = Process("flow", "data")
    times = torch.tensor([[0, 0.5, 1, 1, 1], [0, 0, 0.5, 1, 1]]).double()
    begin = NOISE.clone()
    made = walk(process, towards(DATA), begin, times)
    assert torch.equal(made[:, [0, 3, 4]], begin[:, [0, 3, 4]])
    assert torch.allclose(made[:, 1], DATA[:, 1])
    assert not torch.allclose(made[:, 2], begin[:, 2])


def test_ladders_go_down_and_shift_towards_noise() -> None:
    plain, moved = ladder(8), ladder(8, shift=3.0)
    assert plain[0] == moved[0] == 1
    assert plain[-1] == moved[-1] == 0
    assert bool((plain.diff() < 0).all())
    assert bool((moved[1:-1] > plain[1:-1]).all())
    assert torch.allclose(shifted(plain, 3.0), moved)
    with pytest.raises(UsageError, match="0 steps"):
        ladder(0)


@pytest.mark.parametrize("times", ["uniform", "logit-normal"])
def test_times_to_train_at_lie_inside(times: Any) -> None:
    process = Process(times=times)
    for shape in ((400,), (40, 10)):
        drawn = process.draw_times(shape, "cpu")
        assert drawn.shape == shape
        assert 0 < float(drawn.min()) < float(drawn.max()) < 1
        assert float(drawn.mean()) == pytest.approx(0.5, abs=0.06)
    assert float(replace(process, shift=4.0).draw_times((400,), "cpu").mean()) > 0.6


def test_guidance_of_one_changes_nothing_and_rescaling_keeps_the_deviation() -> None:
    asked, unasked = DATA, NOISE
    assert torch.allclose(pushed(asked, unasked, 1.0), asked)
    assert torch.allclose(pushed(asked, unasked, 0.0), unasked)
    strong = pushed(asked, unasked, 8.0, rescale=1.0)
    assert float(strong.std()) == pytest.approx(float(asked.std()))
