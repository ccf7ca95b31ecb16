"""Frames with noise of their own: who sees whom, what is kept, and going on without end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from zoo.errors import UsageError
from zoo.generator import Conditions, Decoding, Known, Space
from zoo.generators.causal_diffusion import CausalDiffusion
from zoo.grammar import asked, examples
from zoo.layers.backbone import BackboneConfig
from zoo.registry import preset

QUICK = Decoding(steps=2)
NOTHING = Conditions()
ONE_LAYER = BackboneConfig(48, 1, 2)
"""Of a frame's sight; with more layers frames also tell what they saw."""


class Recomputing(CausalDiffusion):
    """The same model, which keeps nothing and reads all finished frames at each step."""

    resting = False


def built(
    name: str, family: type[CausalDiffusion] = CausalDiffusion, **options: Any
) -> CausalDiffusion:
    torch.manual_seed(0)
    kind = "motion" if "blocks" in name else "video"
    model = family(replace(preset(f"{kind}/causal_diffusion_{name}").config, **options)).eval()
    torch.nn.init.normal_(model.network.leave.weight, std=0.1)
    return model


def gradient(model: CausalDiffusion, frame: int, frames: int = 4) -> list[float]:
    """How much the prediction of a frame depends on each frame."""
    shape = model.space.shape(1, frames)
    x = torch.randn(shape, requires_grad=True)
    time = torch.linspace(0.2, 0.9, frames).unsqueeze(0)
    model.predict(x, time, NOTHING)[:, frame].sum().backward()
    assert x.grad is not None
    return x.grad.flatten(2).abs().sum(-1)[0].tolist()


def test_fvdm_takes_a_time_for_each_frame_and_leaves_frames_at_zero() -> None:
    model = built("tiny", causal=False)
    x, time = torch.randn(2, 4, 2, 2, 4), torch.rand(2, 4)
    time[:, 1] = 0.0
    clean = model.estimate(x, time, NOTHING)
    assert torch.equal(clean[:, 1], x[:, 1])
    assert not torch.allclose(clean[:, 2], x[:, 2])
    assert model.draw_times(examples(model, 8, seed=0)[0]).shape == (8, 4)
    assert all(value > 0 for value in gradient(model, 1))
    mask = torch.zeros(1, 4, 2, 2, dtype=torch.bool)
    mask[:, [0, 3]] = True
    held = model.sample(1, known=Known(x[:1], mask), decoding=QUICK).x
    assert torch.equal(held[:, [0, 3]], x[:1, [0, 3]])


def test_ar_diffusion_noise_never_falls_along_the_frames() -> None:
    model = built("tiny")
    batch, _ = examples(model, 64, seed=0)
    assert bool((model.draw_times(batch).diff(dim=1) >= 0).all())
    assert gradient(model, 1)[2:] == [0.0, 0.0]


@pytest.mark.parametrize(("pace", "rungs"), [(0, 9), (3, 18), (8, 33)])
def test_ar_diffusion_goes_from_all_at_once_to_one_by_one(pace: int, rungs: int) -> None:
    times = built("tiny", pace=pace).times(8, 4)
    assert times.shape == (rungs, 4)
    assert bool((times.diff(dim=1) >= 0).all())
    assert bool((times.diff(dim=0) <= 0).all())
    assert times[0].tolist() == [1] * 4
    assert times[-1].tolist() == [0] * 4
    busy = ((times > 0) & (times < 1)).sum(1).amax()
    assert int(busy) == {0: 4, 3: 3, 8: 1}[pace]


@pytest.mark.parametrize("name", ["clean_tiny", "blocks_tiny"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_vid_gpt_draws_the_same_with_what_is_kept_and_without(name: str, guidance: float) -> None:
    keeps, recomputes = built(name), built(name, Recomputing)
    motifs = torch.tensor([0, 3])
    given = keeps.given(**asked(keeps, motifs))
    batch, _ = examples(keeps, 2, seed=0)
    mask = torch.zeros(batch.x.shape[:-1], dtype=torch.bool)
    mask[:, 0] = True
    makes = [
        model.sample(2, given, Decoding(steps=2, guidance=guidance), known=Known(batch.x, mask)).x
        for model in (keeps, recomputes)
    ]
    assert torch.allclose(*makes, atol=1e-4)


def test_a_noisy_frame_sees_finished_ones_before_it() -> None:
    assert [value > 0 for value in gradient(built("clean_tiny"), 2)] == [True, True, True, False]
    recent = built("clean_tiny", recent=1, backbone=ONE_LAYER)
    assert [value > 0 for value in gradient(recent, 3)] == [False, False, True, True]


def test_far_reads_old_frames_by_fewer_tokens_and_sixteen_times_as_many() -> None:
    model = built("far_tiny")
    assert [value > 0 for value in gradient(model, 3)] == [True] * 4
    old, near = (
        model._positions(torch.zeros(1, 4, 2, 2, 4), 0),
        model._positions(torch.zeros(1, 4, 2, 2, 4), 1),
    )
    assert len(near) == 4 * len(old)
    blind = built("far_tiny", far=0, backbone=ONE_LAYER)
    assert [value > 0 for value in gradient(blind, 3)] == [False, True, True, True]
    frames = 16 * 4
    made = list(model.roll(1, frames, decoding=Decoding(steps=1)))
    assert torch.cat(made, 1).shape == (1, frames, 2, 2, 4)


def test_river_sees_the_last_frame_and_one_at_random() -> None:
    model = built("sparse_tiny")
    kind, frame = torch.tensor([1, 1, 1, 1, 2]), torch.tensor([0, 1, 2, 3, 4])
    mask = model.visible(kind, frame, torch.tensor([[0, 0, 0, 0, 1]]))
    assert mask[0, 4].tolist() == [False, True, False, True, True]
    assert model._pick(
        torch.zeros(50, 1), 4, torch.Generator().manual_seed(0)
    ).unique().tolist() == [
        0,
        1,
        2,
    ]
    warm = built("sparse_tiny", warm=0.5).sample(1, decoding=QUICK, seed=1).x
    assert not torch.allclose(warm, model.sample(1, decoding=QUICK, seed=1).x)


def test_art_v_keeps_the_first_frame_in_sight_at_any_length() -> None:
    model = built("blocks_tiny", space=Space("video", (4, 2, 2), channels=4), block=1)
    kind = torch.cat([torch.full((9,), 1), torch.tensor([2])])
    seen = model.visible(kind, torch.arange(10))[9]
    assert seen.nonzero().flatten().tolist() == [0, 7, 8, 9]
    assert len(list(model.roll(1, 20, decoding=Decoding(steps=1)))) == 20
    assert model.config.blur > 0


def test_what_is_kept_does_not_grow() -> None:
    model = built("blocks_tiny")
    sizes = []
    real = model._keep

    def watched(*options: Any) -> None:
        real(*options)
        sizes.append({kept[0].shape[2] for kept in options[-1].values()})

    model._keep = watched  # type: ignore[method-assign]
    for _ in model.roll(1, 40, decoding=Decoding(steps=1)):
        pass
    assert sizes[0] == {3}
    assert all(size == {3} for size in sizes[1:])


def test_dart_may_be_asked_for_something_else_at_every_primitive() -> None:
    model = built("blocks_tiny")
    asks = [model.given(text=[text]) for text in ("it rises", "it waits", "it leaps")]
    first, second, third = model.roll(1, 12, asks, QUICK, seed=1)
    again = list(model.roll(1, 12, [asks[0], asks[2], asks[2]], QUICK, seed=1))
    assert torch.equal(first, again[0])
    assert not torch.allclose(second, again[1])
    assert first.shape == second.shape == third.shape == (1, 4, 4)
    kind, frame = torch.tensor([1] * 4 + [2] * 4), torch.arange(8)
    assert model.visible(kind, frame)[4, :4].tolist() == [True, False, True, True]


def test_only_frames_after_finished_ones_go_on() -> None:
    with pytest.raises(UsageError, match="go on"):
        next(built("tiny").roll(1, 8))
    with pytest.raises(UsageError, match="recent"):
        built("clean_tiny", far=2)
