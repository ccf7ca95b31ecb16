"""Samplers as identities: with nothing to add, each draws what the generator alone would draw."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo.samplers
from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Conditions, Decoding, Known
from zoo.registry import generators
from zoo.samplers import (
    SAMPLERS,
    Blended,
    CoDenoised,
    Composed,
    Intervalled,
    LeaningOnMotion,
    Parallel,
    Rescheduled,
    Row,
    Steered,
    Timeline,
    extend,
    like_motion_of,
    motion_signature,
    programmed,
    queue,
    reduced,
    segments,
    smooth,
)
from zoo.samplers.queue import newcomer
from zoo.samplers.windows import slow

QUICK = Decoding(steps=2)
VIDEO, JOINT = "video/latent_dit_tiny", "video/latent_dit_motion_tiny"
MOTION, FRAMES = "motion/motion_diffusion_tiny", "video/causal_diffusion_tiny"


def built(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = generators()[name].build()
    torch.nn.init.normal_(model.network.leave.weight, std=0.1)
    for block in model.network.backbone.blocks:
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
    return model


def drawn(model: Denoiser, conditions: Conditions | None = None, **options: Any) -> Tensor:
    return model.sample(1, conditions, QUICK, seed=4, **options).x


def test_every_sampler_is_exported() -> None:
    for sampler in SAMPLERS:
        assert sampler.name in zoo.samplers.__all__
        assert getattr(importlib.import_module("zoo.samplers"), sampler.name).__doc__


@pytest.mark.parametrize(
    "around",
    [
        lambda model: CoDenoised(model, 4, stride=2),
        lambda model: Rescheduled(model, 4),
        lambda model: Blended(model, 4),
        lambda model: Parallel(model, 1),
        lambda model: Composed(model, built(VIDEO, 1), weight=0.0),
        lambda model: Steered(model, lambda x: x.flatten(1).sum(1), weight=0.0),
        lambda model: Intervalled(model, first=1.0, last=0.0),
    ],
    ids=[
        "gen-l-video",
        "freenoise",
        "freelong",
        "video-infinity",
        "adapter",
        "steered",
        "interval",
    ],
)
def test_with_nothing_to_add_it_is_the_baseline(around: Any) -> None:
    """A window of full length, one worker, a weight of zero: exactly what comes without."""
    model = built(VIDEO)
    given = model.given(text=["it leaps"])
    assert torch.equal(drawn(around(model), given), drawn(model, given))


def test_gen_l_video_averages_windows_with_a_text_for_each() -> None:
    model = built(VIDEO)
    asks = [model.given(label=[label]) for label in (0, 1, 2)]
    long = CoDenoised(model, 8, stride=2, asks=asks)
    assert long.begins(8) == [0, 2, 4]
    x, time = torch.randn(1, 8, 2, 2, 4), torch.tensor([0.5])
    made = long.estimate(x, time, Conditions())
    first, second, third = (
        model.estimate(x[:, begin : begin + 4], time, asked)
        for begin, asked in zip((0, 2, 4), asks, strict=True)
    )
    assert torch.allclose(made[:, :2], first[:, :2])
    assert torch.allclose(made[:, 2:4], (first[:, 2:] + second[:, :2]) / 2, atol=1e-6)
    assert torch.allclose(made[:, 6:], third[:, 2:])
    assert drawn(long).shape[1] == 8
    with pytest.raises(UsageError, match="1 windows"):
        CoDenoised(model, 8, stride=2, asks=asks[:1])


def test_freenoise_shuffles_the_first_noise() -> None:
    long = Rescheduled(built(VIDEO), 10)
    noise = long.noise(torch.zeros(1, 10, 2, 2, 4), torch.Generator().manual_seed(0))
    assert torch.equal(
        noise[0, 4:6].flatten(1).sum(1).sort().values, noise[0, :2].flatten(1).sum(1).sort().values
    )


def test_freelong_takes_slow_changes_from_the_whole() -> None:
    model = built(VIDEO)
    x, time = torch.randn(1, 16, 2, 2, 4), torch.tensor([0.5])
    near = CoDenoised(model, 16).estimate(x, time, Conditions())
    whole = model.estimate(x, time, Conditions())
    made = Blended(model, 16).estimate(x, time, Conditions())
    assert torch.allclose(slow(made, 0.25), slow(whole, 0.25), atol=1e-5)
    assert torch.allclose(made - slow(made, 0.25), near - slow(near, 0.25), atol=1e-5)
    assert drawn(Blended(model, 32)).shape[1] == 32


def test_video_infinity_makes_as_many_clips_as_there_are_workers() -> None:
    model = built(VIDEO)
    wide = Parallel(model, 3, context=1)
    x, time = torch.randn(1, 12, 2, 2, 4), torch.tensor([0.5])
    made = wide.estimate(x, time, Conditions())
    middle = model.estimate(x[:, 3:9], time, Conditions())[:, 1:5]
    assert torch.allclose(made[:, 4:8], middle, atol=1e-5)
    assert drawn(wide).shape[1] == 12


@pytest.mark.parametrize(
    "name", [VIDEO, "video/autoregressive_tiny", "video/causal_diffusion_clean_tiny"]
)
def test_windows_go_on_from_what_they_know(name: str) -> None:
    torch.manual_seed(0)
    model = generators()[name].build()
    decoding = QUICK if model.default_steps else None
    frames = model.space.grid[0]
    long = extend(model, 1, 2 * frames + 1, decoding=decoding, overlap=2, seed=1).x
    assert long.shape == model.space.shape(1, 2 * frames + 1)
    alone = model.sample(1, decoding=decoding, seed=1).x
    assert torch.equal(long[:, :frames], alone)


def test_mtvg_joins_a_segment_for_each_prompt() -> None:
    model = built(VIDEO)
    asks = [model.given(label=[label]) for label in (0, 2)]
    made = segments(model, asks, decoding=QUICK, seed=1).x
    assert made.shape[1] == 4 + 3
    again = segments(model, [asks[0], model.given(label=[3])], decoding=QUICK, seed=1).x
    assert torch.equal(made[:, :4], again[:, :4])
    assert not torch.allclose(made[:, 4:], again[:, 4:])


def test_zerosmooth_keeps_the_frames_there_are() -> None:
    model, x = built(VIDEO), torch.randn(1, 4, 2, 2, 4)
    made = smooth(model, x, 3, decoding=QUICK).x
    assert made.shape[1] == 10
    assert torch.equal(made[:, ::3], x)


def test_ouroboros_gives_a_frame_at_each_step_from_a_queue_of_one_length() -> None:
    model, seen = built(FRAMES), []
    real = model.predict

    def watched(x: Tensor, *options: Any) -> Tensor:
        seen.append(x.shape[1])
        return real(x, *options)

    model.predict = watched
    made = list(queue(model, 1, 9, decoding=QUICK))
    assert [frame.shape for frame in made] == [(1, 1, 2, 2, 4)] * 9
    assert set(seen) == {4}
    with pytest.raises(UsageError, match="one noise"):
        next(queue(built(JOINT), 1, 2))


def test_a_newcomer_has_the_slow_parts_of_the_frame_before() -> None:
    before, fresh = torch.randn(1, 1, 8, 8, 2), torch.randn(1, 1, 8, 8, 2)
    made = newcomer(before, fresh, 0.3)
    assert torch.allclose(made.mean((2, 3)), before.mean((2, 3)), atol=1e-5)
    assert torch.corrcoef(torch.stack([made.flatten(), fresh.flatten()]))[0, 1] > 0.5


def test_asymrnr_leaves_tokens_out_and_gives_the_shape_back() -> None:
    model, x, time = built(VIDEO), torch.randn(2, 4, 2, 2, 4), torch.rand(2)
    baseline = model.predict(x, time, Conditions())
    with reduced(model, 0.0):
        assert torch.equal(model.predict(x, time, Conditions()), baseline)
    with reduced(model, 0.5) as layers:
        made = model.predict(x, time, Conditions())
        assert all(layer.count == 4 for layer in layers)
    assert made.shape == baseline.shape
    assert not torch.allclose(made, baseline)
    assert torch.equal(model.predict(x, time, Conditions()), baseline)
    with pytest.raises(UsageError, match="left out"), reduced(model, 1.0):
        pass


def test_video_adapter_mixes_two_generators() -> None:
    large, small = built(VIDEO), built(VIDEO, 1)
    assert torch.allclose(drawn(Composed(large, small, 1.0)), drawn(small), atol=1e-5)
    half = drawn(Composed(large, small, 0.5))
    assert not torch.allclose(half, drawn(large))
    with pytest.raises(UsageError, match="differ"):
        Composed(large, built(JOINT))


def test_guidance_in_an_interval() -> None:
    model = built(VIDEO)
    given, strong = model.given(label=[1]), Decoding(steps=2, guidance=4.0)
    never = Intervalled(model, first=-1.0, last=-2.0)
    assert torch.equal(never.sample(1, given, strong).x, model.sample(1, given, QUICK).x)
    x, time = torch.randn(1, 4, 2, 2, 4), torch.tensor([0.5])
    with torch.no_grad():
        back = Intervalled(model, rescale=1.0).estimate(x, time, given, 4.0)
        plain = model.estimate(x, time, given)
    assert float(back.std()) == pytest.approx(float(plain.std()), rel=1e-4)


def test_videojam_leans_on_movement() -> None:
    model = built(JOINT)
    assert torch.equal(drawn(LeaningOnMotion(model, 0.0)), drawn(model))
    assert not torch.allclose(drawn(LeaningOnMotion(model, 1.0)), drawn(model))
    with pytest.raises(UsageError, match="no movement"):
        LeaningOnMotion(built(VIDEO))


def test_motion_consistency_brings_the_signature_nearer() -> None:
    model, reference = built(VIDEO), torch.randn(1, 4, 2, 2, 4)
    error = like_motion_of(reference)
    assert motion_signature(reference).shape == (1, 16)
    assert float(error(reference)) == pytest.approx(0, abs=1e-6)
    assert torch.equal(drawn(Steered(model, error, 0.0)), drawn(model))
    steered = drawn(Steered(model, error, 2.0))
    assert float(error(steered)) < 0.7 * float(error(drawn(model)))


def test_intercontrol_makes_two_people_touch() -> None:
    """The batch is two people; a joint of one shall be half a metre from one of the other."""

    def apart(x: Tensor) -> Tensor:
        distance = (x[0, :, :3] - x[1, :, 3:]).square().sum(-1).add(1e-9).sqrt()
        return (distance - 0.5).square().sum().expand(2) / 2

    model = built(MOTION)
    free = model.sample(2, decoding=QUICK, seed=1).x
    kept = Steered(model, apart, 0.1, repeats=30).sample(2, decoding=QUICK, seed=1).x
    assert float(apart(kept)[0]) < 0.01 < float(apart(free)[0])


def test_dip_stays_out_of_the_wall() -> None:
    def inside(x: Tensor) -> Tensor:
        return x[..., 0].clamp(min=0).square().sum(1)

    model = built(MOTION)
    free, kept = (
        way.sample(3, decoding=QUICK, seed=1).x for way in (model, Steered(model, inside, 0.2, 20))
    )
    assert float(inside(kept).sum()) < 0.05 * float(inside(free).sum())


def test_progmogen_seeks_the_noise_until_the_error_is_small() -> None:
    def reach(x: Tensor) -> Tensor:
        return (x[:, -1, :2] - torch.tensor([0.3, -0.2])).square().sum(1)

    model = built(MOTION)
    made, errors = programmed(model, reach, 2, decoding=QUICK, tolerance=0.05, rate=0.3)
    assert float(errors.max()) <= 0.05 < float(reach(model.sample(2, decoding=QUICK).x).max())
    assert torch.allclose(reach(made), errors)


def test_stmc_rows_do_not_reach_beyond_their_interval() -> None:
    model = built(MOTION)
    asks = [model.given(label=[label]) for label in (0, 1, 2)]
    rows = [Row(0, 6, asks[0]), Row(8, 16, asks[1]), Row(10, 14, asks[2], parts=(1,))]
    changed = [*rows[:2], Row(10, 14, model.given(label=[3]), parts=(1,))]
    one, two = (drawn(Timeline(model, 20, each, join=0)) for each in (rows, changed))
    assert one.shape[1] == 20
    assert torch.equal(one[:, :10], two[:, :10])
    assert torch.equal(one[:, 14:], two[:, 14:])
    assert not torch.allclose(one[:, 10:14, 2:4], two[:, 10:14, 2:4])
    near, far = (drawn(Timeline(model, 20, each, join=1)) for each in (rows, changed))
    assert not torch.equal(near[:, 9], far[:, 9])
    with pytest.raises(UsageError, match="a row holds"):
        Timeline(model, 20, [Row(5, 30, asks[0])])


def test_stmc_takes_parts_from_the_row_that_has_them() -> None:
    model = built(MOTION)
    whole, arms = model.given(label=[0]), model.given(label=[1])
    line = Timeline(model, 6, [Row(0, 6, whole), Row(0, 6, arms, parts=(1,))], join=0)
    x, time = torch.randn(1, 6, 6), torch.tensor([0.5])
    made = line.estimate(x, time, Conditions())
    assert torch.allclose(made[..., 2:4], model.estimate(x, time, arms)[..., 2:4])
    assert torch.allclose(
        made[..., [0, 1, 4, 5]], model.estimate(x, time, whole)[..., [0, 1, 4, 5]]
    )


def test_samplers_go_around_samplers() -> None:
    model = built(VIDEO)
    long = Steered(CoDenoised(model, 8), lambda x: x.flatten(1).square().sum(1), 0.05)
    x = torch.randn(1, 8, 2, 2, 4)
    mask = torch.zeros(1, 8, 2, 2, dtype=torch.bool)
    mask[:, 0] = True
    made = long.sample(1, decoding=QUICK, known=Known(x, mask)).x
    assert torch.equal(made[:, 0], x[:, 0])
    assert made.shape[1] == 8
