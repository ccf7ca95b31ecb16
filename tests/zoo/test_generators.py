"""The registry is the test list: every tiny generator learns a grammar whose laws are known.

A lesson takes some ten seconds. By default each family has one for ids and one for values;
CLIPMILL_LESSONS=all (`make lessons`) gives every preset its own. All other laws hold for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from zoo.artefact import load
from zoo.config import config_from_json
from zoo.errors import InputError, SpecMismatchError, UsageError
from zoo.generator import Batch, Decoding, Generator, Known, Source
from zoo.grammar import ENTROPY, NOISE, asked, examples, lawful, spread
from zoo.registry import generators

TINY = [name for name, entry in generators().items() if entry.is_tiny]
FULL = [name for name, entry in generators().items() if not entry.is_tiny]
DISCRETE = [name for name in TINY if generators()[name].config.space.discrete]
CONTINUOUS = [name for name in TINY if name not in DISCRETE]


def taught(names: Iterable[str]) -> list[str]:
    """Those that have a lesson: the plainest of each family and modality, or all."""
    if os.environ.get("CLIPMILL_LESSONS") == "all":
        return list(names)
    plainest: dict[tuple[str, str], str] = {}
    for name in sorted(names, key=lambda name: (len(name), name)):
        family = generators()[name].family.__name__
        plainest.setdefault((family, name.partition("/")[0]), name)
    return sorted(plainest.values())


def tiny(name: str) -> Generator:
    torch.manual_seed(0)
    model: Generator = zoo.create(name)
    return model


def learn(model: Generator, steps: int, batch: int = 32) -> None:
    """A few seconds of training."""
    model.train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=3e-3, weight_decay=0.0, betas=(0.9, 0.95), fused=True
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        torch.manual_seed(step)
        loss = model.loss(examples(model, batch, seed=step)[0])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rates.step()
    model.eval()


@pytest.mark.parametrize("name", taught(DISCRETE))
def test_the_laws_of_ids_are_learned(name: str) -> None:
    model = tiny(name)
    learn(model, model.lesson_steps)
    unseen, _ = examples(model, 128, seed=10_001)
    assert ENTROPY * 0.98 < float(model.nll(unseen).mean()) < ENTROPY * 1.10

    motifs = torch.arange(4).repeat_interleave(32)
    made = model.sample(128, model.given(**asked(model, motifs)), seed=1)
    allowed, ones = lawful(model.space, made.x, motifs)
    assert allowed > 0.9
    assert 0.4 < ones < 0.6


@pytest.mark.parametrize("name", taught(CONTINUOUS))
def test_the_laws_of_values_are_learned(name: str) -> None:
    model = tiny(name)
    learn(model, model.lesson_steps)
    motifs = torch.arange(4).repeat_interleave(16)
    made = model.sample(64, model.given(**asked(model, motifs)), seed=1)
    agreement, noise = spread(model.space, made.x, motifs)
    assert agreement > 0.9
    assert NOISE * 0.5 < noise < NOISE * 1.8


@pytest.mark.parametrize("name", TINY)
def test_samples_follow_from_the_seed(name: str) -> None:
    model = tiny(name)
    one, same, other = (model.sample(2, seed=seed).x for seed in (3, 3, 4))
    assert one.shape == model.space.shape(2)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", TINY)
def test_what_is_known_stays(name: str) -> None:
    model = tiny(name)
    batch, _ = examples(model, 2, seed=5)
    mask = torch.zeros(2, *model.space.grid, dtype=torch.bool)
    mask[:, 0] = True
    made = model.sample(2, batch.conditions, known=Known(batch.x, mask)).x
    assert torch.equal(made[:, 0], batch.x[:, 0])


@pytest.mark.parametrize("name", TINY)
def test_shorter_is_made_too(name: str) -> None:
    model = tiny(name)
    assert model.sample(1, frames=model.space.grid[0] - 1).x.shape[1] == model.space.grid[0] - 1


@pytest.mark.parametrize("name", TINY)
def test_conditions_can_be_left_out_one_by_one(name: str) -> None:
    model = tiny(name)
    batch, _ = examples(model, 4, seed=2)
    for hidden in (batch.conditions.none(), batch.conditions.without("label")):
        losses = model.losses(Batch(batch.x, hidden))
        assert bool(torch.isfinite(model.total(losses)))
    assert bool(torch.isfinite(model.loss(Batch(batch.x))))


@pytest.mark.parametrize("name", TINY)
def test_guidance_asks_twice(name: str) -> None:
    model = tiny(name)
    motifs = torch.tensor([1, 2])
    given = model.given(**asked(model, motifs))
    made = model.sample(2, given, Decoding(guidance=3.0, steps=2 if model.default_steps else 0)).x
    assert made.shape == model.space.shape(2)
    assert bool(torch.isfinite(made.float()).all())


@pytest.mark.parametrize("name", TINY)
def test_a_saved_generator_makes_the_same(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    model.source = Source("video/x", "ab" * 32, "cd" * 32, (17, 64, 64))
    again = load(model.save(tmp_path / "model"))
    assert isinstance(again, Generator)
    assert again.config == model.config
    assert again.source == model.source
    assert torch.equal(again.sample(1, seed=2).x, model.sample(1, seed=2).x)


@pytest.mark.parametrize("name", TINY)
def test_wrong_examples_are_refused(name: str) -> None:
    model = tiny(name)
    batch, _ = examples(model, 2, seed=0)
    with pytest.raises(InputError, match="examples are"):
        model(Batch(batch.x[:, :, None]))
    with pytest.raises(InputError, match="Allowed"):
        model(Batch(batch.x.float() if model.space.discrete else batch.x.long()))
    with pytest.raises(UsageError, match="cannot be asked for 'colour'"):
        model.given(colour=3)


@pytest.mark.parametrize("name", [*TINY, *FULL])
def test_a_preset_says_where_it_is_from(name: str) -> None:
    entry = generators()[name]
    assert name.split("/")[0] == entry.config.space.modality
    assert entry.paper
    if not entry.is_tiny:
        assert generators()[entry.tiny].is_tiny
        assert generators()[entry.tiny].family is entry.family
    restored = config_from_json(entry.family.config_class, entry.build_json())
    assert restored == entry.config


@pytest.mark.parametrize("name", FULL)
def test_full_sizes_build(name: str) -> None:
    with torch.device("meta"):
        model = generators()[name].build()
    published = generators()[name].published.get("parameters")
    if published is not None:
        count = sum(p.numel() for p in model.parameters())
        assert abs(count / float(published) - 1) < 0.15


def test_foreign_tokens_are_refused() -> None:
    model = tiny(DISCRETE[0])
    model.source = Source("video/x", "ab" * 32, "cd" * 32, (17, 64, 64))
    with pytest.raises(SpecMismatchError, match="learned those of video/x"):
        model.source.check("ef" * 32, "video/other")
