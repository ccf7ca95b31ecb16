"""Frames behind masks, and a memory of the past that is the same in one pass and in steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

import zoo
from zoo.errors import UsageError
from zoo.generator import Condition, Decoding, Space
from zoo.generators.framewise import Framewise
from zoo.grammar import examples
from zoo.registry import preset
from zoo.tokenizer import State

NAMES = zoo.list_models("*/framewise*_tiny", kind="generator")


def built(name: str) -> Framewise:
    torch.manual_seed(0)
    model = preset(name).build()
    assert isinstance(model, Framewise)
    for out in model.head.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
    return model


def frames(model: Framewise, count: int) -> torch.Tensor:
    places = model.places_of_frame
    return torch.randint(8, (2, count, places, 1), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_magi_memory_in_steps_is_the_full_pass(name: str) -> None:
    model, state = built(name), State()
    ids = frames(model, 6)
    whole = model._pasts(ids)
    for time in range(5):
        step = model._remembered(ids[:, time : time + 1], time, state)
        assert torch.allclose(step, whole[:, time + 1], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_seen_causally_and_as_far_as_the_memory_reaches(name: str) -> None:
    model = built(name)
    layers, reach = model.config.memory.depth, model.config.reach
    ids = frames(model, 6)
    whole = model._pasts(ids)
    for frame in range(6):
        changed = ids.clone()
        changed[:, frame] = (changed[:, frame] + 3) % 8
        moved = (model._pasts(changed) - whole).abs().amax((0, 2, 3)) > 1e-6
        seen_by = range(frame + 1, min(6, frame + 1 + layers * (reach - 1) + 1))
        assert moved.nonzero()[:, 0].tolist() == list(seen_by)


@pytest.mark.parametrize("name", NAMES)
def test_pasts_are_clean_and_the_frame_is_masked(name: str) -> None:
    """Complete teacher forcing: what is hidden in a frame is hidden from itself alone."""
    model = built(name)
    batch, _ = examples(model, 2, seed=0)
    memories, masked = [], []
    model.memory.register_forward_pre_hook(lambda _, inputs: memories.append(inputs[0]))
    model.embedding.register_forward_pre_hook(lambda _, inputs: masked.append(inputs[0]))
    model.losses(batch)
    assert len(memories) == 1
    clean, hidden = masked
    assert not bool(clean.eq(8).any())
    assert bool(hidden.eq(8).any(dim=2).all())


def test_teco_rolls_out_at_constant_memory() -> None:
    """A hundred frames, far behind those of training, with the same state at each step."""
    model, state = built("video/framewise_tiny"), State()
    rolling = model.roll_out(1, model.given(label=[1]), Decoding(steps=1), state=state)
    sizes = []
    for ids in islice(rolling, 102):
        assert ids.shape == (1, 2, 2)
        sizes.append(sum(part.numel() for kept in state.values() for part in kept))
    assert sizes[2:] == [sizes[2]] * 100
    assert sizes[2] == 2 * 48
    assert model.tokens < model.places_of_frame


def test_a_rollout_begins_as_a_sample() -> None:
    model = built("video/framewise_whole_tiny")
    made = torch.stack(list(islice(model.roll_out(2, seed=4), 3)), 1)
    assert torch.equal(made, model.sample(2, seed=4).x)


def test_what_does_not_fit_is_refused() -> None:
    config = preset("video/framewise_tiny").config
    with pytest.raises(UsageError, match="frames of ids"):
        Framewise(replace(config, space=Space("motion", (8,), (8,))))
    with pytest.raises(UsageError, match="memory does not fit"):
        Framewise(replace(config, memory=replace(config.memory, dim=32)))
    with pytest.raises(UsageError, match="as a whole"):
        Framewise(replace(config, conditions=(Condition("action", "track", 2),)))
