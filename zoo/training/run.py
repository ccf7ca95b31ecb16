"""One process of a training run, whatever is trained: `Run(lesson, feed, settings, folder).go()`.

A step reads a batch, goes through it in parts, averages gradients over the workers, clips, and
moves the weights and their running average. What a part teaches is the `Lesson`'s: reconstruction
for tokenizers, a generator's own losses. All randomness of a step follows from (seed, step,
worker), and the feed knows its position, so a run that was killed and started again ends as if
nothing had happened, with no generator state to keep.

Files of a run: `checkpoints/`, `log.jsonl`, `samples/`, `tensorboard/`, and at the end `model/`,
the artefact with the averaged weights.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from zoo.artefact import save
from zoo.card import Facts
from zoo.errors import InputError, UsageError
from zoo.layers.quantizers import hold_updates
from zoo.metrics import CodebookUse
from zoo.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    flatten_optimiser,
    restore_optimiser,
)
from zoo.training.ema import Ema
from zoo.training.monitor import Monitor
from zoo.training.prefetch import batches
from zoo.training.recompute import recomputed_blocks
from zoo.training.schedule import rate_factor
from zoo.training.settings import BOOKKEEPING, Training
from zoo.training.shards import gathered, in_parts, shard, whole_root
from zoo.training.workers import Workers

__all__ = ["Lesson", "Outcome", "Rival", "Run", "Taught"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    steps: int
    losses: dict[str, float]
    """Means over the last logged steps, with usage of the codebooks."""
    folder: Path
    """The artefact; `zoo.artefact.load(folder)` gives the model back."""


@dataclass(frozen=True)
class Taught:
    """What one part of a batch gave: numbers to log, and ids by stream for the usage meter."""

    numbers: Mapping[str, Tensor]
    ids: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Rival:
    """A second network that learns beside the model: its weights, optimiser, and when it moves."""

    name: str
    module: nn.Module
    optimiser: torch.optim.Optimizer


class Lesson(ABC, Generic[Item]):
    """What a model learns from a batch."""

    model: Any
    """A module that knows its `device`: a tokenizer, a generator, an evaluator."""
    levels: Mapping[str, tuple[int, ...]]
    """Codebook sizes of the streams whose usage is metered."""
    rival: Rival | None = None
    sharded = False
    """Whether the model is to be divided among the workers; its `forward` must be its lesson."""
    also: Mapping[str, Any] = MappingProxyType({})
    """What a run was told besides its settings; it is only continued under the same."""

    @abstractmethod
    def check(self, batch: Item) -> None:
        """Refuse a batch that the model cannot learn from."""

    @abstractmethod
    def parts(self, batch: Item, count: int) -> Sequence[Item]:
        """A batch in equal parts, on the model's device."""

    @abstractmethod
    def teach(self, part: Item, share: float, step: int) -> Taught:
        """Add the gradients of a part, which is `share` of its batch."""

    def moves(self, step: int) -> bool:
        """Whether the model learns at this step."""
        return True

    def rival_moves(self, step: int) -> bool:
        """Whether the rival learns at this step."""
        return self.rival is not None

    def validate(self, step: int) -> dict[str, float]:
        """Numbers on examples that are not trained on, with the averaged weights."""
        return {}

    def picture(self, first: Item) -> Image.Image | None:
        """What the model makes now, with the averaged weights; `first` is the run's first batch."""
        return None

    def speed(self, seconds_per_step: float) -> dict[str, float]:
        """What is done in a second, besides steps and samples."""
        return {}

    def save(self, folder: Path, facts: Facts | None) -> None:
        """Write what the run results in."""
        save(self.model, folder, facts)


class Run(Generic[Item]):
    """The steps of one process."""

    def __init__(
        self, lesson: Lesson[Item], feed: Any, settings: Training, folder: Path, *, whole: bool
    ):
        """With `whole` the feed gives whole batches, else examples that are stacked."""
        self.lesson, self.model = lesson, lesson.model
        self.settings, self.folder = settings, folder
        self.workers = Workers.current()
        self.feed = feed.shard(self.workers.rank, self.workers.world)
        share = _share(settings, self.workers)
        self.share = None if whole else share
        self.rival = lesson.rival
        self.workers.same_weights(self.model, *([self.rival.module] if self.rival else []))
        self.sharded = lesson.sharded and self.workers.world > 1
        self.shell: nn.Module | None = None
        if self.sharded:
            self.shell = copy.deepcopy(self.model).to("meta")
            shard(self.model, self.workers)
        self.optimiser = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
        )
        self.ema = Ema(self.model, settings.ema_decay) if settings.ema_decay else None
        self.checkpoints = Checkpoints(folder / "checkpoints", settings.keep)
        self.position: dict[str, Any] = self.feed.state_dict()
        self.step = 0
        self.window = _LogWindow(lesson.levels)
        self.clock = (time.perf_counter(), 0)

    def go(self, progress: bool, facts: Facts | None) -> Outcome:
        """Train to the end of the settings, from the latest checkpoint if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        means: dict[str, float] = {}
        with ExitStack() as stack:
            monitor = None
            if self.workers.leads:
                monitor = Monitor(self.folder, self.step, self.settings.steps, progress=progress)
                stack.enter_context(monitor)
            if self.settings.checkpoint_blocks:
                stack.enter_context(recomputed_blocks(getattr(self.model, "trunk", self.model)))
            stack.enter_context(_seeded_apart())
            source = batches(self.feed, self.share)
            stack.callback(source.close)
            first: Item | None = None
            self.clock = (time.perf_counter(), self.step)
            while self.step < self.settings.steps:
                batch, position = next(source)
                if first is None:
                    self.lesson.check(batch)
                    first = batch
                self._train(batch)
                self.step, self.position = self.step + 1, position
                means = self._report(monitor, first) or means
        return self._finish(means, facts)

    def _train(self, batch: Item) -> None:
        """One step on this worker's share of a batch."""
        settings = self.settings
        torch.manual_seed(_step_seed(settings.seed, self.step, self.workers.rank))
        factor = rate_factor(self.step, settings.steps, settings.warmup_steps, settings.final_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * factor
        self.model.train()
        parts = self.lesson.parts(batch, settings.accumulate)
        for number, part in enumerate(parts, start=1):
            last, share = number == len(parts), 1 / len(parts)
            with nullcontext() if last else hold_updates(self.model):
                self.window.add(self.lesson.teach(part, share, self.step), share)
        if self.rival and self.lesson.rival_moves(self.step):
            self._move(self.rival.optimiser, f"{self.rival.name}_gradient_norm")
        if not self.lesson.moves(self.step):
            return
        self._move(self.optimiser, "gradient_norm")
        if self.ema:
            self.ema.update(self.model, self.step)

    def _move(self, optimiser: torch.optim.Optimizer, name: str) -> None:
        """Take the optimiser's step along gradients that all workers share."""
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self.workers.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm or float("inf"))
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if not torch.isfinite(norm):
            raise InputError(
                f"the gradient at step {self.step} is not finite",
                hint="lower learning_rate, or look for broken clips in the data",
            )
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        self.window.add_number(name, norm)

    def _report(self, monitor: Monitor | None, first: Item) -> dict[str, float]:
        """Log, validate, save and draw where it is time to."""
        settings, means = self.settings, {}
        ends = self.step == settings.steps
        if ends or self.step % settings.log_every == 0:
            means = self.workers.average(self.window.close(), self.model.device)
            means["learning_rate"] = self.optimiser.param_groups[0]["lr"]
            means |= self._speed()
        if ends or (settings.validate_every and self.step % settings.validate_every == 0):
            means |= self._averaged_answer(lambda: self.lesson.validate(self.step))
        if monitor and means:
            monitor.log(self.step, means, settings.batch)
        if self._takes_part(monitor) and (ends or self.step % settings.save_every == 0):
            checkpoint = self._checkpoint()
            if monitor:
                self.checkpoints.save(self.step, checkpoint)
        drawn = settings.sample_every and self.step % settings.sample_every == 0
        if drawn and self._takes_part(monitor):
            picture = self._averaged_answer(lambda: self.lesson.picture(first))
            if monitor and picture is not None:
                monitor.picture(self.step, picture)
        return means

    def _takes_part(self, monitor: Monitor | None) -> bool:
        """Whether this process is needed where one alone writes: all are, for their parts."""
        return self.sharded or monitor is not None

    def _speed(self) -> dict[str, float]:
        now, (before, since) = time.perf_counter(), self.clock
        self.clock = (now, self.step)
        return self.lesson.speed((now - before) / max(1, self.step - since))

    @torch.no_grad()
    def _averaged_answer(self, ask: Any) -> Any:
        self.model.eval()
        averaged = self.ema.applied(self.model) if self.ema else nullcontext()
        with averaged, whole_root(self.model):
            return ask()

    def _finish(self, means: dict[str, float], facts: Facts | None) -> Outcome:
        if self.ema:
            self.ema.copy_to(self.model)
        self.model.eval()
        folder = self.folder / "model"
        if self.shell is not None:
            weights = gathered(self.model.state_dict(), keep=self.workers.leads)
            if self.workers.leads:
                self.shell.load_state_dict(weights, assign=True)
                self.lesson.model = self.shell
        if self.workers.leads:
            self.lesson.save(folder, facts)
        self.workers.wait()
        return Outcome(self.step, means, folder)

    def _checkpoint(self) -> Checkpoint:
        tensors = {
            "model": self.model.state_dict(),
            "optimiser": flatten_optimiser(self.optimiser),
        }
        if self.ema:
            tensors["ema"] = self.ema.weights
        if self.rival:
            tensors[self.rival.name] = self.rival.module.state_dict()
            tensors[f"{self.rival.name}_optimiser"] = flatten_optimiser(self.rival.optimiser)
        if self.sharded:
            leads = self.workers.leads
            tensors = {name: gathered(group, keep=leads) for name, group in tensors.items()}
        state = {"step": self.step, "feed": self.position, "settings": self._told()}
        return Checkpoint(tensors, state)

    def _told(self) -> dict[str, Any]:
        return {**self.settings.to_json(), **self.lesson.also}

    def _resume(self) -> None:
        """Continue from the latest checkpoint, if there is one of these settings."""
        found = self.checkpoints.latest()
        if found is None:
            return
        _check_same(found.state["settings"], self._told(), self.folder)
        own = self.model.state_dict()
        weights = found.tensors["model"]
        self.model.load_state_dict({n: in_parts(v, own.get(n, v)) for n, v in weights.items()})
        restore_optimiser(self.optimiser, found.tensors["optimiser"])
        if self.ema:
            self.ema.load(dict(found.tensors["ema"]))
        if self.rival:
            name = self.rival.name
            self.rival.module.load_state_dict(dict(found.tensors[name]))
            restore_optimiser(self.rival.optimiser, found.tensors.get(f"{name}_optimiser", {}))
        self.step, self.position = found.state["step"], found.state["feed"]
        self.feed.load_state_dict(self.position)


def autocast(settings: Training, device: torch.device) -> AbstractContextManager[Any]:
    """The precision in which networks of a run compute."""
    if settings.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


class _LogWindow:
    """Means and codebook usage of the steps since the last log."""

    def __init__(self, levels: Mapping[str, tuple[int, ...]]):
        self.levels = levels
        self._open()

    def _open(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}
        self.meters = {name: CodebookUse(levels) for name, levels in self.levels.items()}

    def add(self, taught: Taught, share: float) -> None:
        """Count one part of a batch, which is `share` of it."""
        for name, value in taught.numbers.items():
            self.add_number(name, value.detach(), share)
        for name, ids in taught.ids.items():
            self.meters[name].update(ids)

    def add_number(self, name: str, value: Tensor, share: float = 1.0) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value * share
        self.counts[name] = self.counts.get(name, 0.0) + share

    def close(self) -> dict[str, float]:
        """The means, and a new window."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        for name, meter in self.meters.items():
            if meter.counts().any():
                mark = "" if len(self.meters) == 1 else f"_{name}"
                used_percent, perplexity, *_ = (m.value for m in meter.measurements())
                means[f"usage{mark}"] = used_percent / 100
                means[f"perplexity{mark}"] = perplexity
        self._open()
        return means


def _share(settings: Training, workers: Workers) -> int:
    """Clips that this worker reads each step."""
    parts = workers.world * settings.accumulate
    if settings.batch % parts:
        raise UsageError(
            f"a batch of {settings.batch} has no {parts} equal parts "
            f"({workers.world} workers, accumulate {settings.accumulate})",
            hint=f"choose a batch that is a multiple of {parts}",
        )
    return settings.batch // workers.world


def _step_seed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step) * 1_009 + rank


@contextmanager
def _seeded_apart() -> Iterator[None]:
    """Leave the caller's random numbers as they were."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _check_same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    changed = [
        f"{name} {before.get(name)!r} to {now.get(name)!r}"
        for name in sorted({*before, *now} - BOOKKEEPING)
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise UsageError(
            f"the run in {folder} was begun with other settings: {', '.join(changed)}",
            hint="use its settings to continue it, or another folder to begin anew",
        )
