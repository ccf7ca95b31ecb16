"""Drafts with an end, corrections from both sides, and edits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.errors import UsageError
from zoo.generator import Batch, Decoding, Known, Space
from zoo.generators.bamm import Bidirectional
from zoo.grammar import examples
from zoo.registry import preset


def built() -> Bidirectional:
    torch.manual_seed(0)
    model = preset("motion/bamm_tiny").build()
    assert isinstance(model, Bidirectional)
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def test_forwards_nothing_sees_what_comes_later() -> None:
    model = built()
    batch, _ = examples(model, 2, seed=0)
    given = model.conditioner(batch.conditions, 2)
    nats, _ = model._surprise(batch, given)
    changed = batch.x.clone()
    changed[:, 5] = (changed[:, 5] + 3) % 8
    other, _ = model._surprise(replace(batch, x=changed), given)
    assert torch.allclose(nats[:, :5], other[:, :5], atol=1e-5)
    assert not torch.allclose(nats[:, 6:], other[:, 6:], atol=1e-5)


def test_in_both_directions_everything_is_seen_but_the_place_itself() -> None:
    model = built()
    batch, _ = examples(model, 1, seed=0)
    given = model.conditioner(batch.conditions, 1)
    everything = torch.ones(1, 8, dtype=torch.bool)

    def logits(ids: torch.Tensor) -> torch.Tensor:
        hidden = ids.clone()
        hidden[:, 4] = model.codes
        return model._between(hidden, batch.x, given, everything)[0, 4]

    for place in range(8):
        changed = batch.x.clone()
        changed[:, place] = (changed[:, place] + 3) % 8
        same = torch.allclose(logits(changed), logits(batch.x), atol=1e-6)
        assert same == (place == 4)


def test_bamm_decides_how_long_and_edits_keep_ids() -> None:
    """The end is an id of its own; what an edit does not hide stays."""
    model = built()
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    lengths = torch.tensor([3, 5] * 8)
    for seed in range(45):
        batch, _ = examples(model, 16, seed)
        batch = Batch(batch.x, model.given(label=[0, 1] * 8), lengths)
        optimiser.zero_grad()
        model.train().loss(batch).backward()
        optimiser.step()
    made = model.sample(8, model.given(label=[0, 1] * 4), Decoding(temperature=0, steps=3))
    assert made.lengths is not None
    assert made.lengths.tolist() == [3, 5] * 4
    assert bool((made.x[0, 3:] == 0).all())

    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, [0, 2, 6]] = True
    edited = model.sample(8, model.given(label=[0, 1] * 4), known=Known(made.x, mask), seed=3)
    assert edited.lengths is not None
    assert torch.equal(edited.x[mask], made.x[mask])
    # Nothing ends before the last id that is known.
    assert int(edited.lengths.min()) >= 7


def test_a_length_that_is_given_is_kept() -> None:
    model = built()
    lengths = torch.tensor([2, 8])
    made = model.sample(2, lengths=lengths, decoding=Decoding(guidance=2.0))
    assert made.lengths is not None
    assert torch.equal(made.lengths, lengths)
    assert bool((made.x[0, 2:] == 0).all())


@pytest.mark.parametrize("redo", [0.0, 0.5])
def test_a_draft_is_corrected_as_far_as_asked(redo: float) -> None:
    model = built()
    model.config = replace(model.config, redo=redo)
    hidden: list[int] = []
    model.here.register_forward_pre_hook(lambda _, ids: hidden.append(int(ids[0].eq(8).sum())))
    model.sample(2, lengths=torch.tensor([8, 8]), decoding=Decoding(steps=2))
    # Forwards every place is told a mask, eight times one place of two examples.
    assert hidden[:8] == [2] * 8
    assert hidden[8] == int(redo * 8) * 2
    assert len(hidden) == 10


def test_several_levels_are_refused() -> None:
    config = preset("motion/bamm_tiny").config
    with pytest.raises(UsageError, match="a residual generator adds the others"):
        Bidirectional(replace(config, space=Space("motion", (8,), (8, 8))))
