"""Seen places read once and kept; hidden ones by a network that may grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.generator import Decoding, Known
from zoo.generators.masked_apart import Apart
from zoo.grammar import examples
from zoo.layers.backbone import BackboneConfig
from zoo.registry import preset


def built(sizes: tuple[int, ...] = ()) -> Apart:
    torch.manual_seed(0)
    model = Apart(replace(preset("image/masked_apart_tiny").config, sizes=sizes)).eval()
    for out in model.network.head.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
    return model


def revealed(rows: list[list[int]], truth: Tensor) -> tuple[list[Tensor], Tensor]:
    """Ids as the places of each row appear, one stage after the other, and the stage of each."""
    stage = torch.tensor(rows)
    steps = [
        torch.where(stage < step, truth[..., 0], 8).unsqueeze(-1)
        for step in range(1, int(stage.max()) + 1)
    ]
    return steps, stage


def test_what_is_kept_is_what_one_pass_computes() -> None:
    """Rows may reveal different numbers of places at a step."""
    model = built()
    truth = torch.randint(8, (2, 12, 1))
    steps, stage = revealed(
        [[0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3], [2, 3, 3, 1, 2, 2, 2, 3, 0, 3, 3, 3]], truth
    )
    given = model.network.given(model.given(label=[1, 2]), 2)
    read = model._reader((4, 3), given, None, len(steps))
    for step, ids in enumerate(steps):
        hidden = stage > step
        whole = model.in_one_pass(ids, (4, 3), given, None, torch.where(hidden, 9, stage))
        assert torch.allclose(read(ids)[0][hidden], whole[0][hidden], atol=1e-5)


def test_seen_places_see_no_hidden_one() -> None:
    model = built()
    stage = torch.zeros(1, 12, dtype=torch.long)
    stage[:, 6:] = 1
    ids = torch.randint(8, (1, 12, 1))
    ids[:, 6:] = 8
    given = model.network.given(model.given(label=[1]), 1)
    one = model.in_one_pass(ids, (4, 3), given, None, stage)[0]
    ids[:, 8] = 3
    other = model.in_one_pass(ids, (4, 3), given, None, stage)[0]
    assert torch.allclose(one[:, :6], other[:, :6], atol=1e-6)
    assert not torch.allclose(one[:, 6:], other[:, 6:], atol=1e-6)


def work(model: Apart, **options: Any) -> list[int]:
    """How many places each layer reads, call by call."""
    counts: list[int] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].shape[1]))
        for block in model.network.backbone.blocks
    ]
    model.sample(1, **options)
    for hook in hooks:
        hook.remove()
    return counts


def test_enat_reads_seen_places_once() -> None:
    """Fewer places are read than 12 at each of 8 steps, by each of 2 layers; ids are codes."""
    model = built()
    plain = 8 * 12 * 2
    counts = work(model, decoding=Decoding(steps=8))
    assert sum(counts) < 0.8 * plain
    made = model.sample(4, decoding=Decoding(steps=8)).x
    assert 0 <= int(made.min()) <= int(made.max()) < 8


def test_magnets_at_full_size_is_plain_drawing_and_growing_costs_less() -> None:
    model, growing = built(), built((1, 2))
    growing.load_state_dict(model.state_dict())
    full = built((2,))
    full.load_state_dict(model.state_dict())
    assert torch.equal(full.sample(2, seed=3).x, model.sample(2, seed=3).x)
    costs = [sum(work(each, decoding=Decoding(steps=8))) for each in (model, growing)]
    assert costs[1] < costs[0]


def test_every_step_read_anew_is_plain_masked_drawing() -> None:
    """With one step nothing is kept: the same guesses as one pass over the grid."""
    model = built()
    batch, _ = examples(model, 2, seed=0)
    mask = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0)) < 0.4
    likeliest = Decoding(steps=1, temperature=0)
    made = model.sample(2, batch.conditions, likeliest, known=Known(batch.x, mask)).x
    ids = torch.where(mask, batch.x, 8).view(2, 12, 1)
    given = model.network.given(batch.conditions, 2)
    guesses = model._logits(ids, (4, 3), given, None)[0].argmax(-1).view(2, 4, 3)
    assert torch.equal(made, torch.where(mask, batch.x, guesses))


def test_sizes_must_grow_to_all_layers() -> None:
    with pytest.raises(UsageError, match="growing numbers that end with 2"):
        built((2, 1))
    config = replace(preset("image/masked_apart_tiny").config, sizes=())
    with pytest.raises(UsageError, match="who sees whom"):
        Apart(replace(config, backbone=BackboneConfig(48, 2, 2, mixers=("linear",))))
