"""Training of tokenizers: `fit(model, feed, settings, folder)`.

A tokenizer learns to give back what it was given, and a discriminator beside it, when there is
one, to tell the two apart. Steps, checkpoints and resuming are those of every run (`run.py`).

    fit(model, Clips(arrays, Window(17, 64)), Settings(steps=1000), "runs/first")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from zoo.card import Facts
from zoo.errors import InputError, UsageError
from zoo.inputs import check_input
from zoo.tokenizer import Tokenizer
from zoo.training.adversarial import Critic
from zoo.training.data import Feed
from zoo.training.losses import Features, Joints, Objective
from zoo.training.pictures import comparison
from zoo.training.run import Lesson, Outcome, Rival, Run, Taught, autocast
from zoo.training.settings import Settings

__all__ = ["fit"]

_PICTURED_CLIPS = 4


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
    lesson = _Reconstruction(model.to(chosen), settings, objective)
    return Run(lesson, feed, settings, Path(out_dir), whole=False).go(progress, facts)


class _Reconstruction(Lesson[Tensor]):
    """To give back what was given, and to pass a discriminator."""

    model: Tokenizer

    def __init__(self, model: Tokenizer, settings: Settings, objective: Objective):
        self.model, self.settings, self.objective = model, settings, objective
        self.spec = model.describe()
        self.levels = {s.name: s.levels for s in self.spec.streams if s.levels}
        self.critic: Critic | None = None
        if settings.adversarial:
            self.critic = Critic(settings.adversarial, self.spec).to(model.device)
            self.rival = Rival("critic", self.critic, self.critic.optimiser)

    def check(self, batch: Tensor) -> None:
        """Refuse a batch that the tokenizer would have to pad."""
        check_input(batch, self.spec)
        size = self.spec.extents(batch.shape)
        if self.spec.padded(size) != size:
            raise InputError(
                f"training clips are {size}",
                allowed=f"{self.spec.length} frames, rows and columns of {self.spec.multiple}k",
                hint=f"cut windows of {self.spec.padded(size)}",
            )

    def parts(self, batch: Tensor, count: int) -> Sequence[Tensor]:
        return batch.to(self.model.device, non_blocking=True).chunk(count)

    def teach(self, part: Tensor, share: float, step: int) -> Taught:
        with autocast(self.settings, self.model.device):
            made = self.model(part)
        loss, numbers = self.objective(part, made)
        if self.critic and made.output is not None:
            if self.critic.weight(step) > 0:
                felt = self.critic.tokenizer_loss(made.output, numbers["reconstruction"], step)
                numbers["adversarial"] = felt
                loss = loss + felt
            if self.critic.learns(step):
                numbers["critic"] = self.critic.own_loss(part, made.output)
                (numbers["critic"] * share).backward()
        (loss * share).backward()
        return Taught({"loss": loss, **numbers}, made.ids)

    def rival_moves(self, step: int) -> bool:
        return self.critic is not None and self.critic.learns(step)

    def picture(self, first: Tensor) -> Image.Image | None:
        x = first[:_PICTURED_CLIPS]
        made = self.model(x.to(self.model.device))
        if made.output is None:
            return None
        return comparison(x, made.output, self.spec.layout)
