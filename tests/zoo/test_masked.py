"""Schedules, tasks, budgets and levels of the masked generator."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.generator import Batch, Decoding, Known
from zoo.generators.masked import Masked
from zoo.grammar import examples
from zoo.layers.schedules import Schedule, Task, hidden_places, hidden_share, known_places
from zoo.registry import generators, preset

NAMES = [
    name
    for name in zoo.list_models("*/masked_*tiny", kind="generator")
    if issubclass(generators()[name].family, Masked)
]
CPU = torch.device("cpu")


def built(name: str) -> Masked:
    torch.manual_seed(0)
    model = preset(name).build()
    assert isinstance(model, Masked)
    for out in model.network.head.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
    return model


def fed(model: Masked) -> list[Tensor]:
    """The ids that the network reads, call by call."""
    seen: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    return seen


def knows(model: Masked, mask: Tensor, count: int = 2) -> Known:
    return Known(examples(model, count, seed=5)[0].x, mask.expand(count, *model.space.grid))


@pytest.mark.parametrize("name", ["cosine", "linear", "square", "root"])
def test_a_schedule_falls_from_all_to_nothing(name: Schedule) -> None:
    share = hidden_share(name, torch.linspace(0, 1, 11))
    assert share[0] == 1
    assert float(share[-1]) == pytest.approx(0, abs=1e-6)
    assert bool((share.diff() < 0).all())


def test_as_many_are_hidden_as_the_share_says() -> None:
    able = torch.arange(10) < torch.tensor([[10], [5], [1]])
    hidden = hidden_places(able, torch.tensor([0.5, 0.4, 0.0]), torch.rand(3, 10))
    assert hidden.sum(1).tolist() == [5, 2, 1]
    assert not bool((hidden & ~able).any())


@pytest.mark.parametrize("grid", [(1,), (8,), (2, 3), (4, 3, 3), (1, 4, 4)])
@pytest.mark.parametrize("task", ["create", "predict", "interpolate", "inpaint", "outpaint"])
def test_a_task_leaves_something_to_make(task: Task, grid: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    known = known_places(task, 200, grid, CPU)
    assert known.shape == (200, *grid)
    assert not bool(known.flatten(1).all(1).any())
    if task != "create" and grid[0] > 2:
        assert bool(known.any())


def test_tasks_know_what_their_names_say() -> None:
    torch.manual_seed(0)
    frames = known_places("predict", 50, (6, 2), CPU)[..., 0]
    assert torch.equal(frames, frames.int().cumprod(1).bool())
    assert set(frames.sum(1).tolist()) == {1, 2, 3, 4, 5}
    assert known_places("interpolate", 1, (5,), CPU).tolist() == [[True, *[False] * 3, True]]
    assert not bool(known_places("create", 9, (5, 2), CPU).any())


@pytest.mark.parametrize("name", NAMES)
def test_who_knows_nothing_is_surprised_by_every_code(name: str) -> None:
    model = zoo.create(name)
    batch, _ = examples(model, 2, seed=0)
    assert torch.allclose(model.nll(batch), torch.full((2,), math.log(8)), atol=1e-5)


def test_the_bound_follows_from_the_seed() -> None:
    model = built("motion/masked_nested_tiny")
    batch, _ = examples(model, 2, seed=0)
    assert torch.equal(model.nll(batch, seed=1), model.nll(batch, seed=1))
    assert not torch.equal(model.nll(batch, seed=1), model.nll(batch, seed=2))


def test_each_step_keeps_what_the_schedule_says() -> None:
    model = built("video/masked_tiny")
    seen = fed(model)
    model.sample(3, decoding=Decoding(steps=4))
    shares = [math.cos(step / 4 * math.pi / 2) for step in range(4)]
    left = [ids.eq(8).sum((1, 2)).tolist() for ids in seen]
    assert left == [[math.floor(share * 12 + 1e-6)] * 3 for share in shares]
    for before, after in pairwise(seen):
        decided = before.ne(8)
        assert torch.equal(before[decided], after[decided])


@pytest.mark.parametrize("steps", [1, 5])
def test_the_budget_is_kept(steps: int) -> None:
    """The network is asked once a step, twice with guidance, for each pass over the levels."""
    for name, guidance, calls in (
        ("motion/masked_tiny", 1.0, 1),
        ("motion/masked_tiny", 2.0, 2),
        ("motion/masked_nested_tiny", 1.0, 2),
    ):
        model = built(name)
        seen = fed(model)
        model.sample(1, decoding=Decoding(steps=steps, guidance=guidance))
        assert len(seen) == steps * calls


def test_nested_levels_come_one_after_the_other() -> None:
    model = built("motion/masked_nested_tiny")
    seen = fed(model)
    model.sample(2, decoding=Decoding(steps=3))
    for ids in seen[:3]:
        assert bool(ids[..., 1].eq(8).all())
    for ids in seen[3:]:
        assert not bool(ids[..., 0].eq(8).any())


def test_a_nested_level_sees_no_finer_one() -> None:
    model = built("motion/masked_nested_tiny")
    batch, _ = examples(model, 2, seed=0)
    seen = fed(model)
    model.losses(batch)
    hidden = seen[0].eq(8)
    coarse = hidden[..., 0].any(1)
    assert bool(hidden[coarse][..., 1].all())
    assert not bool(hidden[~coarse][..., 0].any())


def test_what_is_hidden_is_seen_from_both_sides() -> None:
    model = built("motion/masked_tiny")
    batch, _ = examples(model, 1, seed=0)
    grid, hidden = (8,), torch.zeros(1, 8, dtype=torch.bool)
    hidden[:, 4] = True
    given = model._given(batch.conditions, torch.zeros(1, dtype=torch.long))
    which = torch.zeros(1, dtype=torch.long)

    def nats(x: Tensor) -> float:
        parts = model._surprise(x.view(1, 8, 1), grid, given, None, hidden, hidden, which)
        return float(parts[0][0, 4].detach())

    for place in (0, 3, 5, 7):
        changed = batch.x.clone()
        changed[:, place] = (changed[:, place] + 3) % 8
        assert nats(changed) != pytest.approx(nats(batch.x), abs=1e-6)


@pytest.mark.parametrize("name", ["motion/masked_tiny", "video/masked_window_tiny"])
def test_padding_is_not_learned(name: str) -> None:
    model = built(name)
    batch, _ = examples(model, 4, seed=0)
    lengths = torch.tensor([1, 2, 3, 3])
    changed = batch.x.clone()
    for row, length in zip(changed, lengths, strict=True):
        row[length:] = 7
    losses = []
    for x in (batch.x, changed):
        torch.manual_seed(1)
        losses.append(model.losses(Batch(x, batch.conditions, lengths))["nll"])
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", NAMES)
def test_any_known_place_stays(name: str) -> None:
    model = built(name)
    seen = fed(model)
    torch.manual_seed(3)
    mask = torch.rand(1, *model.space.grid) < 0.4
    known = knows(model, mask)
    made = model.sample(2, known=known).x
    where = known.mask
    assert torch.equal(made[where], known.x[where])
    ids = known.x.view(2, math.prod(model.space.grid), -1)
    for read in seen:
        assert torch.equal(read[where.flatten(1)], ids[where.flatten(1)])
    assert int(made.max()) < 8


# What published systems are to do, by the presets that serve them.


def test_magvit_has_tasks_by_a_token() -> None:
    model = built("video/masked_tiny")
    frames, places = torch.zeros(3, 2, 2, dtype=torch.bool), torch.zeros(3, 2, 2, dtype=torch.bool)
    frames[0], places[:, 0] = True, True
    both = frames.clone()
    both[2] = True
    cases: dict[Task, Tensor] = {
        "create": torch.zeros_like(frames),
        "predict": frames,
        "interpolate": both,
        "inpaint": places,
    }
    for task, mask in cases.items():
        assert model.tasks[int(model._task_of(mask.unsqueeze(0)))] == task
    tokens = [model._given(model.given(label=[1]), torch.tensor([task])) for task in range(5)]
    ids = torch.full((1, 12, 1), 8)
    torch.nn.init.normal_(model.network.backbone.blocks[0].modulation.weight)
    logits = torch.stack([model._logits(ids, (3, 2, 2), given, None)[0] for given in tokens])
    assert bool(logits.std(0).mean() > 1e-3)
    full = preset("video/masked_magvit.ucf").config
    assert full.space.grid == (4, 16, 16)
    assert set(full.tasks) == {"predict", "interpolate", "inpaint", "outpaint"}


def test_phenaki_goes_on_with_another_text() -> None:
    model = built("video/masked_tiny")
    torch.nn.init.normal_(model.network.backbone.blocks[0].modulation.weight)
    first = model.sample(1, model.given(text=["it rises"]), seed=1).x
    mask = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    mask[:, :2] = True
    known = Known(first.roll(-1, dims=1), mask)
    made = [
        model.sample(1, model.given(text=[text]), Decoding(temperature=0), known=known).x
        for text in ("it rises", "it leaps")
    ]
    for x in made:
        assert torch.equal(x[:, :2], first[:, 1:])
    assert not torch.equal(made[0][:, 2], made[1][:, 2])


def test_mmm_makes_the_length_asked_for_and_fills_in() -> None:
    model = built("motion/masked_tiny")
    assert model.sample(2, frames=5, decoding=Decoding(steps=3)).x.shape == (2, 5)
    lengths = torch.tensor([3, 8])
    made = model.sample(2, lengths=lengths)
    assert made.lengths is not None
    assert torch.equal(made.lengths, lengths)
    mask = torch.ones(1, 8, dtype=torch.bool)
    mask[:, 3:5] = False
    known = knows(model, mask)
    filled = model.sample(2, known=known).x
    assert torch.equal(filled[known.mask], known.x[known.mask])


def test_maskvit_predicts_frames_in_windows_with_or_without_actions() -> None:
    model = built("video/masked_window_tiny")
    assert "window" in model.config.backbone.mixers
    mask = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    mask[:, :1] = True
    known = knows(model, mask)
    # The first input is a track by time; a large one cannot be overlooked.
    actions: list[Any] = [None, model.given(action=torch.full((2, 3, 3), 40.0))]
    made = [model.sample(2, given, Decoding(temperature=0), known=known).x for given in actions]
    for x in made:
        assert torch.equal(x[:, 0], known.x[:, 0])
    assert not torch.equal(*made)


def test_maskint_fills_between_two_frames() -> None:
    model = built("video/masked_between_tiny")
    mask = torch.zeros(1, 4, 2, 1, dtype=torch.bool)
    mask[:, [0, 3]] = True
    known = knows(model, mask)
    assert model.tasks[int(model._task_of(mask))] == "interpolate"
    structure = model.given(structure=torch.full((2, 4, 2), 40.0))
    made = [model.sample(2, given, known=known, seed=1).x for given in (None, structure)]
    for x in made:
        assert torch.equal(x[:, [0, 3]], known.x[:, [0, 3]])
    assert not torch.equal(*made)


def test_magvit2_draws_both_factors_of_an_id() -> None:
    model = built("video/masked_factors_tiny")
    made = model.sample(1).x
    assert made.shape == (1, 2, 2, 2, 2)
    joined = made[..., 0] * 8 + made[..., 1]
    assert torch.equal(torch.stack([joined // 8, joined % 8], -1), made)
    assert preset("video/masked_magvit2.k600").config.space.levels == (512, 512)
