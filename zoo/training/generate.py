"""Training of generators: `fit_generator(model, feed, settings, folder)`.

The feed gives whole batches of the model's space; steps, checkpoints and resuming are those of
every run (`zoo/training/run.py`). Beside the losses a run logs positions per second and, on a GPU
whose peak is known, the share of it that is used.

    fit_generator(model, feed, GeneratorSettings(steps=1000, batch=64), "runs/first")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from zoo.card import Facts
from zoo.errors import InputError, UsageError
from zoo.generator import Batch, Generator
from zoo.training.run import Lesson, Outcome, Run, Taught, autocast
from zoo.training.settings import GeneratorSettings

__all__ = ["BatchFeed", "Draw", "Generation", "fit_generator"]

Draw = Callable[[Generator, Batch], Image.Image]
"""A picture of what a generator makes when it is asked as a batch is."""

_PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "4090": 165.0}
"""Dense bfloat16, as the makers state it."""


class BatchFeed(Protocol):
    """Endless batches that know where they are."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position on."""

    def state_dict(self) -> dict[str, Any]:
        """JSON values from which `load_state_dict` continues after the batch yielded last."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken, also when it was taken with more or fewer workers."""

    def shard(self, rank: int, world: int) -> BatchFeed:
        """One worker's part of every batch."""


def fit_generator(
    model: Generator,
    feed: BatchFeed,
    settings: GeneratorSettings,
    out_dir: str | Path,
    *,
    validation: Sequence[Batch] = (),
    draw: Draw | None = None,
    device: str | None = None,
    progress: bool = True,
    facts: Facts | None = None,
) -> Outcome:
    """Train `model` to the end of `settings`, from its latest checkpoint in `out_dir` if any.

    `validation` are batches that are not trained on; `draw` makes the pictures of
    `settings.sample_every`. The model itself ends with the averaged weights, in eval mode.
    """
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    lesson = Generation(model.to(chosen), settings, validation, draw)
    return Run(lesson, feed, settings, Path(out_dir), whole=True).go(progress, facts)


class Generation(Lesson[Batch]):
    """A generator's own losses."""

    model: Generator

    def __init__(
        self,
        model: Generator,
        settings: GeneratorSettings,
        validation: Sequence[Batch],
        draw: Draw | None,
    ):
        self.model, self.settings, self.validation, self.draw = model, settings, validation, draw
        self.levels = {}
        self.losses: Callable[[Batch], dict[str, Tensor]] = model
        self.sharded = settings.shard == "fsdp"
        if settings.compile and self.sharded:
            raise UsageError("a divided model is not compiled", allowed="compile or shard")
        if settings.compile:
            self.losses = torch.compile(model)
        self.positions = model.space.positions * max(1, len(model.space.levels))
        self.parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self.peak = settings.peak_tflops or _peak(model.device)

    def check(self, batch: Batch) -> None:
        self.model.check(batch)
        if not batch.x.is_floating_point():
            return
        if not bool(torch.isfinite(batch.x).all()):
            raise InputError("examples hold values that are not finite")

    def parts(self, batch: Batch, count: int) -> Sequence[Batch]:
        return batch.to(self.model.device).split(count)

    def teach(self, part: Batch, share: float, step: int) -> Taught:
        with autocast(self.settings, self.model.device):
            numbers = self.losses(part)
        loss = self.model.total(numbers)
        (loss * share).backward()
        return Taught({"loss": loss, **numbers})

    def validate(self, step: int) -> dict[str, float]:
        """The training losses, and the likelihood where there is one, on what was kept apart."""
        found: dict[str, list[float]] = {}
        with torch.random.fork_rng([self.model.device] if self.model.device.index else []):
            torch.manual_seed(self.settings.seed)
            for batch in self.validation:
                placed = batch.to(self.model.device)
                with autocast(self.settings, self.model.device):
                    numbers = self.model.losses(placed)
                found.setdefault("validation_loss", []).append(float(self.model.total(numbers)))
                if self.model.space.discrete:
                    nats = float(self.model.nll(placed).mean())
                    found.setdefault("validation_nll", []).append(nats)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def picture(self, first: Batch) -> Image.Image | None:
        return self.draw(self.model, first) if self.draw else None

    def speed(self, seconds_per_step: float) -> dict[str, float]:
        tokens = self.settings.batch * self.positions / seconds_per_step
        made = {"tokens_per_second": tokens}
        if self.peak:
            # A multiplication and an addition, forward once and backward twice.
            made["share_of_peak"] = 6 * self.parameters * tokens / (self.peak * 1e12)
        return made


def _peak(device: torch.device) -> float:
    """The device's peak in TFLOPS, 0 where it is not known."""
    if device.type != "cuda":
        return 0.0
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAK_TFLOPS.items() if part in name), 0.0)
