"""How ids fade and come back, against the laws written out for one id."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import zoo
from zoo.generator import Batch, Known
from zoo.generators.discrete_diffusion import DiscreteDiffusion
from zoo.grammar import examples
from zoo.layers.fading import Fading, divergence
from zoo.registry import preset

NAMES = zoo.list_models("*/discrete_diffusion*_tiny", kind="generator")
CODES = 4
SHARES = [0.0, 0.6, 1.0]


def built(name: str) -> DiscreteDiffusion:
    torch.manual_seed(0)
    model = preset(name).build()
    assert isinstance(model, DiscreteDiffusion)
    for out in model.network.head.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
    return model


def looks(fading: Fading, lost: float) -> Tensor:
    """(whole id, id as it looks): the chances of all looks, the mask at the end."""
    seen, kept = (float(part) for part in fading.whole(torch.tensor(lost)))
    chances = seen * (kept * torch.eye(CODES) + (1 - kept) / CODES)
    return torch.cat([chances, torch.full((CODES, 1), 1 - seen)], dim=1)


@pytest.mark.parametrize("masked", SHARES)
def test_ids_fade_as_their_chances_say(masked: float) -> None:
    fading, dice = Fading(masked), torch.Generator().manual_seed(0)
    ids = torch.full((20_000,), 1)
    made = fading.faded(ids, torch.tensor(0.7), CODES, dice)
    shares = torch.bincount(made, minlength=CODES + 1) / len(made)
    assert torch.allclose(shares, looks(fading, 0.7)[1], atol=0.02)
    assert torch.equal(fading.faded(ids, torch.tensor(0.0), CODES, dice), ids)


@pytest.mark.parametrize("masked", SHARES)
def test_a_moment_earlier_follows_bayes(masked: float) -> None:
    """What was before and what is now, summed over what was before, is what is now."""
    fading = Fading(masked)
    before, lost = looks(fading, 0.3), looks(fading, 0.8)
    wholes = torch.eye(CODES)
    summed = torch.zeros(CODES, CODES + 1)
    for now in range(CODES + 1):
        ids = torch.full((CODES,), now)
        each = fading.earlier(wholes, ids, torch.tensor(0.8), torch.tensor(0.3))
        summed += torch.nan_to_num(each) * lost[:, now : now + 1]
    assert torch.allclose(summed, before, atol=1e-5)


@pytest.mark.parametrize("masked", SHARES)
def test_perfect_guesses_reach_the_entropy(masked: float) -> None:
    """The bound of all moments is the nats of an id, if the guesses are right."""
    fading, dice = Fading(masked), torch.Generator().manual_seed(0)
    moments, count = 50, 40_000
    ids = torch.randint(2, (count,), generator=dice)
    after = torch.randint(moments, (count,), generator=dice)
    lost, before = (after + 1) / moments, after / moments
    now = fading.faded(ids, lost, CODES, dice)
    prior = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])
    guesses = (prior + fading.evidence(now, lost, CODES)).softmax(-1)
    wanted = functional.one_hot(ids, CODES).float()
    nats = moments * divergence(
        *(fading.earlier(shares, now, lost, before) for shares in (wanted, guesses))
    )
    assert float(nats.mean()) == pytest.approx(math.log(2), rel=0.03)


def test_the_bound_follows_from_the_seed() -> None:
    model = built("video/discrete_diffusion_tiny")
    batch, _ = examples(model, 2, seed=0)
    assert torch.equal(model.nll(batch, seed=1), model.nll(batch, seed=1))
    assert not torch.equal(model.nll(batch, seed=1), model.nll(batch, seed=2))


def test_padding_is_not_learned() -> None:
    model = built("motion/discrete_diffusion_tiny")
    batch, _ = examples(model, 4, seed=0)
    lengths = torch.tensor([1, 2, 3, 3])
    changed = batch.x.clone()
    for row, length in zip(changed, lengths, strict=True):
        row[length:] = 7
    nats = [model.nll(Batch(x, batch.conditions, lengths)) for x in (batch.x, changed)]
    assert torch.allclose(*nats)


@pytest.mark.parametrize("name", NAMES)
def test_any_known_place_stays(name: str) -> None:
    model = built(name)
    batch, _ = examples(model, 2, seed=5)
    torch.manual_seed(3)
    mask = torch.rand(2, *model.space.grid) < 0.5
    made = model.sample(2, known=Known(batch.x, mask)).x
    assert torch.equal(made[mask], batch.x[mask])


def drawn(model: DiscreteDiffusion, **options: Any) -> list[Tensor]:
    """The ids of each step of drawing."""
    steps: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda _, inputs: steps.append(inputs[0].clone()))
    made = model.sample(2, **options)
    return [*steps, made.x.view(2, -1, len(model.space.levels))]


# What published systems are to do, by the presets that serve them.


def test_motionaura_ends_with_no_masks() -> None:
    model = built("video/discrete_diffusion_tiny")
    steps = drawn(model, seed=1)
    left = [int(ids.eq(8).sum()) for ids in steps]
    assert len(steps) == model.default_steps + 1
    assert left[0] > 0.6 * steps[0].numel()
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert int(steps[-1].max()) < 8


def test_m2dm_recovers_important_ids_first() -> None:
    model = built("motion/discrete_diffusion_tiny")
    priority = torch.zeros(2, 8, 1)
    priority[:, [2, 5]], priority[:, [0, 7]] = 2.5, -2.5
    shown = torch.zeros(8)
    for seed in range(5):
        for ids in drawn(model, conditions=model.given(priority=priority), seed=seed):
            shown += ids[..., 0].ne(8).float().sum(0)
            assert int(ids.max()) <= 8
        assert int(ids.max()) < 8
        model.network._forward_pre_hooks.clear()
    assert float(shown[[2, 5]].min()) > float(shown[[1, 3, 4, 6]].max())
    assert float(shown[[0, 7]].max()) < float(shown[[1, 3, 4, 6]].min())
