"""A refiner that sees the levels before its own, on the base of any generator."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.errors import UsageError
from zoo.generator import Batch, Space
from zoo.generators.residual import Residual
from zoo.grammar import examples
from zoo.registry import preset


def built() -> Residual:
    torch.manual_seed(0)
    config = preset("motion/residual_tiny").config
    model = Residual(replace(config, space=Space("motion", (6,), (8, 8, 8)))).eval()
    for out in model.network.head.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
    return model


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_sees_those_before_it(level: int) -> None:
    model = built()
    batch, _ = examples(model, 2, seed=0)
    which = torch.full((2,), level)
    nats, _ = model._surprise(batch, which)
    for other in range(3):
        changed = batch.x.clone()
        changed[:, 0, other] = (changed[:, 0, other] + 3) % 8
        moved, _ = model._surprise(Batch(changed, batch.conditions), which)
        assert torch.allclose(moved[:, 1:], nats[:, 1:], atol=1e-5) == (other >= level)


def test_any_base_is_refined_and_stays() -> None:
    model = built()
    base = torch.randint(8, (3, 6))
    given = model.given(text=["it rises"] * 3)
    made = model.refine(base, given, seed=2)
    assert made.shape == (3, 6, 3)
    assert torch.equal(made[..., 0], base)
    assert torch.equal(made, model.refine(base, given, seed=2))
    assert not torch.equal(made, model.refine(base, given, seed=3))


def test_a_level_takes_one_call() -> None:
    model = built()
    calls: list[int] = []
    model.network.register_forward_pre_hook(lambda *_: calls.append(1))
    model.sample(2)
    assert len(calls) == 2


def test_padding_is_not_learned() -> None:
    model = built()
    batch, _ = examples(model, 3, seed=0)
    lengths = torch.tensor([1, 2, 4])
    changed = batch.x.clone()
    for row, length in zip(changed, lengths, strict=True):
        row[length:] = 7
    nats = [model.nll(Batch(x, batch.conditions, lengths)) for x in (batch.x, changed)]
    assert torch.allclose(*nats)


def test_one_level_has_nothing_to_refine() -> None:
    config = preset("motion/residual_tiny").config
    with pytest.raises(UsageError, match="nothing to refine"):
        Residual(replace(config, space=Space("motion", (6,), (8,))))
