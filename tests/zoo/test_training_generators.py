"""The training loop with a generator: exact resuming, parts, validation, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from zoo.artefact import load
from zoo.errors import InputError, UsageError
from zoo.generator import Batch, Generator
from zoo.generators.autoregressive import Autoregressive
from zoo.grammar import examples
from zoo.registry import preset
from zoo.training import GeneratorSettings, fit_generator

SETTINGS = GeneratorSettings(
    steps=4, batch=4, warmup_steps=1, log_every=1, save_every=1, ema_decay=0.9
)


class Lessons:
    """Endless batches of the grammar; stops with an error where it is told to."""

    def __init__(self, model: Generator, *, fatal: int = -1, rank: int = 0, world: int = 1):
        self.model, self.fatal, self.rank, self.world = model, fatal, rank, world
        self.seen = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            if self.seen == self.fatal:
                raise KeyboardInterrupt
            batch, _ = examples(self.model, 4, seed=self.seen)
            self.seen += 1
            yield batch.split(self.world)[self.rank]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Lessons:
        return self if world == 1 else Lessons(self.model, rank=rank, world=world)


def fresh(drop: float = 0.2) -> Autoregressive:
    torch.manual_seed(0)
    return Autoregressive(replace(preset("motion/autoregressive_delay_tiny").config, drop=drop))


def losses(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_a_stopped_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    whole, stopped = fresh(), fresh()
    fit_generator(whole, Lessons(whole), SETTINGS, tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        fit_generator(
            stopped, Lessons(stopped, fatal=2), SETTINGS, tmp_path / "stopped", progress=False
        )
    again = fresh()
    outcome = fit_generator(again, Lessons(again), SETTINGS, tmp_path / "stopped", progress=False)

    assert losses(tmp_path / "whole") == losses(tmp_path / "stopped")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    restored = load(outcome.folder)
    assert isinstance(restored, Autoregressive)
    assert torch.equal(restored.sample(1, seed=1).x, whole.sample(1, seed=1).x)


def test_parts_of_a_batch_teach_what_the_whole_does() -> None:
    """The mean of the gradients of halves, as of two workers, is the gradient of the whole."""
    model = fresh(drop=0)
    batch, _ = examples(model, 8, seed=0)
    model.loss(batch).backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for half in batch.split(2):
        (model.loss(half) / 2).backward()
    for name, parameter in model.named_parameters():
        if name in whole:
            assert parameter.grad is not None
            assert torch.allclose(whole[name], parameter.grad, atol=1e-6), name


# Torch looks at gradients of tensors in the middle of a graph while it traces.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_losses_are_those_of_plain_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced; turning the trace into machine code is the matter of torch."""
    traced = partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    config = fresh(drop=0).config
    small = replace(
        config, backbone=replace(config.backbone, depth=1), conditions=config.conditions[:1]
    )
    for compiled in (False, True):
        torch.manual_seed(0)
        model, folder = Autoregressive(small), tmp_path / str(compiled)
        settings = replace(SETTINGS, steps=1, compile=compiled)
        fit_generator(model, Lessons(model), settings, folder, progress=False)
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-5)


def test_what_is_kept_apart_is_measured_and_drawn(tmp_path: Path) -> None:
    model = fresh()
    apart = examples(model, 8, seed=999)[0]
    settings = replace(SETTINGS, validate_every=2, sample_every=4)
    outcome = fit_generator(
        model,
        Lessons(model),
        settings,
        tmp_path,
        validation=[apart],
        draw=lambda made, batch: Image.new("RGB", (8, 8), "red"),
        progress=False,
    )
    assert outcome.losses["validation_nll"] == pytest.approx(
        float(model.nll(apart).mean()), rel=1e-5
    )
    assert outcome.losses["tokens_per_second"] > 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert ["validation_loss" in line for line in lines] == [False, True, False, True]
    assert (tmp_path / "samples" / "step-00000004.png").exists()


def test_examples_of_another_space_are_refused(tmp_path: Path) -> None:
    model, other = fresh(), Autoregressive(preset("video/autoregressive_tiny").config)
    with pytest.raises(InputError, match="examples are"):
        fit_generator(model, Lessons(other), SETTINGS, tmp_path, progress=False)


def test_another_budget_is_another_run(tmp_path: Path) -> None:
    model = fresh()
    fit_generator(model, Lessons(model), replace(SETTINGS, steps=1), tmp_path, progress=False)
    with pytest.raises(UsageError, match="steps 1 to 4"):
        fit_generator(model, Lessons(model), SETTINGS, tmp_path, progress=False)
