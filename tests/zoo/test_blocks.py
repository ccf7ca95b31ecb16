"""Blocks: who sees whom, how often the network is asked, and what the cache must not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import zoo
from zoo.errors import UsageError
from zoo.generator import Batch, Decoding, Known
from zoo.generators.blocks import Blocks
from zoo.grammar import asked, examples
from zoo.layers.backbone import BackboneConfig
from zoo.registry import preset

NAMES = zoo.list_models("*/blocks*_tiny", kind="generator")


def built(name: str) -> Blocks:
    torch.manual_seed(0)
    model = preset(name).build()
    assert isinstance(model, Blocks)
    for out in model.head.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
    return model


def calls(model: Blocks) -> list[Tensor]:
    made: list[Tensor] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: made.append(inputs[0]))
    return made


@pytest.mark.parametrize("name", NAMES)
def test_nbp_calls_the_network_once_a_block(name: str) -> None:
    model = built(name)
    made = calls(model)
    model.sample(2, decoding=Decoding(guidance=2.0))
    assert len(made) == model.space.positions // model.config.block
    assert {x.shape[1] for x in made} == {model.config.block}


@pytest.mark.parametrize("name", NAMES)
def test_a_block_sees_no_id_of_its_own_or_later(name: str) -> None:
    model = built(name)
    batch, _ = examples(model, 2, seed=0)
    block = model.config.block
    nats, _ = model._surprise(batch)
    for start in range(0, model.space.positions, block):
        ids = batch.x.view(2, model.space.positions, -1).clone()
        ids[:, start + 1 :] = (ids[:, start + 1 :] + 3) % 8
        other, _ = model._surprise(Batch(ids.view(batch.x.shape), batch.conditions))
        assert torch.allclose(other[:, : start + 1], nats[:, : start + 1], atol=1e-5)
    ids = batch.x.view(2, model.space.positions, -1).clone()
    ids[:, block - 1] = (ids[:, block - 1] + 3) % 8
    other, _ = model._surprise(Batch(ids.view(batch.x.shape), batch.conditions))
    # The last place of the first block is seen by the first place of the second.
    assert not torch.allclose(other[:, block], nats[:, block], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_with_a_cache_is_what_the_whole_would_draw(name: str) -> None:
    model = built(name)
    given = model.given(**asked(model, torch.tensor([0, 1, 2])))
    made = model.sample(3, given, Decoding(temperature=0)).x
    nats, _ = model._surprise(Batch(made, given))
    ids = made.view(3, model.space.positions, -1)
    for change in range(1, 8):
        other = ids.clone()
        # Changed in the last block alone, so that nothing after it moves.
        other[:, -1] = (other[:, -1] + change) % 8
        worse, _ = model._surprise(Batch(other.view(made.shape), given))
        assert bool((worse[:, -1] > nats[:, -1]).all())
    first = model._surprise(Batch((made + 1) % 8, given))[0][:, 0]
    assert bool((first > nats[:, 0]).all())


def test_what_is_known_stays_anywhere() -> None:
    model = built("video/blocks_tiny")
    batch, _ = examples(model, 2, seed=0)
    mask = torch.rand(2, 3, 2, 2) < 0.5
    made = model.sample(2, known=Known(batch.x, mask)).x
    assert torch.equal(made[mask], batch.x[mask])


def test_blocks_that_do_not_fit_are_refused() -> None:
    config = preset("video/blocks_tiny").config
    with pytest.raises(UsageError, match="do not divide frames of 4"):
        Blocks(replace(config, block=3))
    with pytest.raises(UsageError, match="mask of full attention"):
        Blocks(replace(config, backbone=BackboneConfig(48, 2, 2, mixers=("time",))))
