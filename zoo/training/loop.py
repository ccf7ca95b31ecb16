"""The loop that trains every tokenizer: `fit(model, feed, settings, folder)`.

A step reads a batch, goes through it in parts, averages gradients over the workers, clips, moves
the weights and their running average, and lets the discriminator learn when there is one. All
randomness of a step follows from (seed, step, worker), and the feed knows its position, so a run
that was killed and started again ends as if nothing had happened, with no generator state to keep.

    fit(model, Clips(arrays, Window(17, 64)), Settings(steps=1000), "runs/first")

Files of a run: `checkpoints/`, `log.jsonl`, `samples/`, `tensorboard/`, and at the end `model/`,
the artefact with the averaged weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.artefact import save
from zoo.card import Facts
from zoo.errors import InputError, UsageError
from zoo.inputs import check_input
from zoo.layers.quantizers import hold_updates
from zoo.metrics import CodebookUse
from zoo.tokenizer import Reconstruction, Tokenizer
from zoo.training.adversarial import Critic
from zoo.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    flatten_optimiser,
    restore_optimiser,
)
from zoo.training.data import Feed
from zoo.training.ema import Ema
from zoo.training.losses import Features, Joints, Objective
from zoo.training.monitor import Monitor
from zoo.training.pictures import comparison
from zoo.training.prefetch import batches
from zoo.training.recompute import recomputed_blocks
from zoo.training.schedule import rate_factor
from zoo.training.settings import BOOKKEEPING, Settings
from zoo.training.workers import Workers

__all__ = ["Outcome", "fit"]

_PICTURED_CLIPS = 4


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    steps: int
    losses: dict[str, float]
    """Means over the last logged steps, with usage of the codebooks."""
    folder: Path
    """The artefact; `zoo.artefact.load(folder)` gives the model back."""


def fit(
    model: Tokenizer,
    feed: Feed,
    settings: Settings,
    out_dir: str | Path,
    *,
    features: Features | None = None,
    joints: Joints | None = None,
    device: str | None = None,
    progress: bool = True,
    facts: Facts | None = None,
) -> Outcome:
    """Train `model` to the end of `settings`, from its latest checkpoint in `out_dir` if any.

    `features` and `joints` are the functions that a perceptual and a joint loss need; `facts` are
    for the model's card. The model itself ends with the averaged weights, in eval mode.
    """
    if not model.trainable:
        raise UsageError(f"{model.name or model.family()} has nothing to train")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    objective = Objective(
        settings.losses, model.describe(), model.loss_weights, features=features, joints=joints
    )
    run = _Run(model.to(chosen), feed, settings, Path(out_dir), objective)
    return run.go(progress, facts)


class _Run:
    """One process of a run."""

    def __init__(
        self,
        model: Tokenizer,
        feed: Feed,
        settings: Settings,
        folder: Path,
        objective: Objective,
    ):
        self.model, self.settings, self.folder, self.objective = model, settings, folder, objective
        self.workers = Workers.current()
        self.feed = feed.shard(self.workers.rank, self.workers.world)
        self.share = _share(settings, self.workers)
        self.spec = model.describe()
        self.critic: Critic | None = None
        if settings.adversarial:
            self.critic = Critic(settings.adversarial, self.spec).to(model.device)
        self.workers.same_weights(model, *([self.critic] if self.critic else []))
        self.optimiser = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
        )
        self.ema = Ema(model, settings.ema_decay) if settings.ema_decay else None
        self.checkpoints = Checkpoints(folder / "checkpoints", settings.keep)
        self.position: dict[str, Any] = self.feed.state_dict()
        self.step = 0
        self.window = _LogWindow(model)

    def go(self, progress: bool, facts: Facts | None) -> Outcome:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        means: dict[str, float] = {}
        with ExitStack() as stack:
            monitor = None
            if self.workers.leads:
                monitor = Monitor(self.folder, self.step, self.settings.steps, progress=progress)
                stack.enter_context(monitor)
            if self.settings.checkpoint_blocks:
                stack.enter_context(recomputed_blocks(self.model))
            stack.enter_context(_seeded_apart())
            source = batches(self.feed, self.share)
            stack.callback(source.close)
            pictured: Tensor | None = None
            while self.step < self.settings.steps:
                x, position = next(source)
                if pictured is None:
                    self._check(x)
                    pictured = x[:_PICTURED_CLIPS]
                self._train(x.to(self.model.device, non_blocking=True))
                self.step, self.position = self.step + 1, position
                means = self._report(monitor, pictured) or means
        return self._finish(means, facts)

    def _train(self, x: Tensor) -> None:
        """One step on this worker's share of a batch."""
        settings = self.settings
        torch.manual_seed(_step_seed(settings.seed, self.step, self.workers.rank))
        factor = rate_factor(self.step, settings.steps, settings.warmup_steps, settings.final_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * factor
        self.model.train()
        parts = x.chunk(settings.accumulate)
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            with nullcontext() if last else hold_updates(self.model):
                self._backward(part, 1 / len(parts))
        self._move(self.optimiser, settings.clip_norm, "gradient_norm")
        if self.critic and self.critic.learns(self.step):
            self._move(self.critic.optimiser, settings.clip_norm, "critic_gradient_norm")
        if self.ema:
            self.ema.update(self.model, self.step)

    def _backward(self, x: Tensor, share: float) -> None:
        with self._autocast():
            made = self.model(x)
        loss, parts = self.objective(x, made)
        if self.critic and made.output is not None:
            if self.critic.weight(self.step) > 0:
                felt = self.critic.tokenizer_loss(made.output, parts["reconstruction"], self.step)
                parts["adversarial"] = felt
                loss = loss + felt
            if self.critic.learns(self.step):
                parts["critic"] = self.critic.own_loss(x, made.output)
                (parts["critic"] * share).backward()
        (loss * share).backward()
        self.window.add({"loss": loss, **parts}, made, share)

    def _move(self, optimiser: torch.optim.Optimizer, clip_norm: float, name: str) -> None:
        """Take the optimiser's step along gradients that all workers share."""
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self.workers.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm or float("inf"))
        if not torch.isfinite(norm):
            raise InputError(
                f"the gradient at step {self.step} is not finite",
                hint="lower learning_rate, or look for broken clips in the data",
            )
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        self.window.add_number(name, norm)

    def _report(self, monitor: Monitor | None, pictured: Tensor) -> dict[str, float]:
        """Log, save and draw where it is time to."""
        settings, means = self.settings, {}
        ends = self.step == settings.steps
        if ends or self.step % settings.log_every == 0:
            means = self.workers.average(self.window.close(), self.model.device)
            means["learning_rate"] = self.optimiser.param_groups[0]["lr"]
            if monitor:
                monitor.log(self.step, means, settings.batch)
        if monitor and (ends or self.step % settings.save_every == 0):
            self.checkpoints.save(self.step, self._checkpoint())
        if monitor and settings.sample_every and self.step % settings.sample_every == 0:
            self._picture(monitor, pictured)
        return means

    @torch.no_grad()
    def _picture(self, monitor: Monitor, x: Tensor) -> None:
        self.model.eval()
        with self._averaged():
            made = self.model(x.to(self.model.device))
        if made.output is not None:
            monitor.picture(self.step, comparison(x, made.output, self.spec.layout))

    def _finish(self, means: dict[str, float], facts: Facts | None) -> Outcome:
        if self.ema:
            self.ema.copy_to(self.model)
        self.model.eval()
        folder = self.folder / "model"
        if self.workers.leads:
            save(self.model, folder, facts)
        self.workers.wait()
        return Outcome(self.step, means, folder)

    def _check(self, x: Tensor) -> None:
        """Refuse a batch that the tokenizer would have to pad."""
        check_input(x, self.spec)
        size = self.spec.extents(x.shape)
        if self.spec.padded(size) != size:
            raise InputError(
                f"training clips are {size}",
                allowed=f"{self.spec.length} frames, rows and columns of {self.spec.multiple}k",
                hint=f"cut windows of {self.spec.padded(size)}",
            )

    def _checkpoint(self) -> Checkpoint:
        tensors = {
            "model": self.model.state_dict(),
            "optimiser": flatten_optimiser(self.optimiser),
        }
        if self.ema:
            tensors["ema"] = self.ema.weights
        if self.critic:
            tensors["critic"] = self.critic.state_dict()
            tensors["critic_optimiser"] = flatten_optimiser(self.critic.optimiser)
        state = {"step": self.step, "feed": self.position, "settings": self.settings.to_json()}
        return Checkpoint(tensors, state)

    def _resume(self) -> None:
        """Continue from the latest checkpoint, if there is one of these settings."""
        found = self.checkpoints.latest()
        if found is None:
            return
        _check_same(found.state["settings"], self.settings.to_json(), self.folder)
        self.model.load_state_dict(dict(found.tensors["model"]))
        restore_optimiser(self.optimiser, found.tensors["optimiser"])
        if self.ema:
            self.ema.load(dict(found.tensors["ema"]))
        if self.critic:
            self.critic.load_state_dict(dict(found.tensors["critic"]))
            restore_optimiser(self.critic.optimiser, found.tensors.get("critic_optimiser", {}))
        self.step, self.position = found.state["step"], found.state["feed"]
        self.feed.load_state_dict(self.position)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)

    def _averaged(self) -> AbstractContextManager[None]:
        return self.ema.applied(self.model) if self.ema else nullcontext()


class _LogWindow:
    """Means and codebook usage of the steps since the last log."""

    def __init__(self, model: Tokenizer):
        self.levels = {s.name: s.levels for s in model.describe().streams if s.levels}
        self._open()

    def _open(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}
        self.meters = {name: CodebookUse(levels) for name, levels in self.levels.items()}

    def add(self, parts: dict[str, Tensor], made: Reconstruction, share: float) -> None:
        """Count one part of a batch, which is `share` of it."""
        for name, value in parts.items():
            self.add_number(name, value.detach(), share)
        for name, ids in made.ids.items():
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


def _share(settings: Settings, workers: Workers) -> int:
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
