"""Few steps instead of many: a student learns from a trained generator that denoises.

    distil(zoo.load("local-dir:teacher"), feed, settings, "runs/fast", Distillation(steps=4))

The student begins with its teacher's weights and ends as a generator of its own, which takes
`steps` steps when none are asked for, with the teacher's guidance inside of them. Three methods:

    consistency            from any place of a step the student jumps to the step's end; two places
                           on one path of the teacher must arrive alike (LCM; of several steps, PCM)
    distribution_matching  the student's samples are noised, and moved to where the teacher would
                           see them from where a third network, which learns from the samples, does
                           (DMD); the student may be another network than its teacher, such as one
                           that goes on frame by frame (CausVid)
    adversarial            a judge, the teacher's network with a score on top, tells noised samples
                           from noised examples

The first walks straight from step to step. The other two name samples, not means, so sampling goes
back by noise that is all new (`renoise`).
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.card import Facts
from zoo.denoiser import Denoiser, counted
from zoo.errors import UsageError
from zoo.generator import Batch
from zoo.layers.diffusion import Method as Walk
from zoo.layers.diffusion import aim, ladder
from zoo.layers.diffusion import step as walked_on
from zoo.training.generate import BatchFeed, Draw, Generation
from zoo.training.run import Outcome, Rival, Run, Taught, autocast
from zoo.training.settings import Distillation, GeneratorSettings

__all__ = ["METHODS", "Method", "distil", "student_of"]


@dataclass(frozen=True)
class Method:
    """A method by its name in a recipe, the papers behind it, and the systems it serves."""

    name: str
    papers: str
    serves: tuple[str, ...] = ()


METHODS = (
    Method(
        "consistency",
        "VideoLCM, arXiv 2312.09109; PCM, arXiv 2405.18407",
        ("videolcm", "pcm"),
    ),
    Method(
        "distribution_matching",
        "DMD2, arXiv 2405.14867; CausVid, arXiv 2412.07772",
        ("video-dmd", "causvid"),
    ),
    Method("adversarial", "EMDM, arXiv 2312.02256"),
)


def distil(
    teacher: Denoiser,
    feed: BatchFeed,
    settings: GeneratorSettings,
    out_dir: str | Path,
    how: Distillation,
    *,
    student: Denoiser | None = None,
    draw: Draw | None = None,
    device: str | None = None,
    progress: bool = True,
    facts: Facts | None = None,
) -> Outcome:
    """Train a student to the end of `settings`, from its latest checkpoint in `out_dir` if any.

    `student` gives family and configuration where they are others than the teacher's. The feed's
    examples are those that the teacher learned from, or like them.
    """
    if settings.compile or settings.shard != "none":
        raise UsageError(
            "a distillation is neither compiled nor divided", allowed="compile: false, shard: none"
        )
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    made = student_of(teacher, how, student).to(chosen)
    teacher = copy.deepcopy(teacher).to(chosen).eval().requires_grad_(False)
    lesson = _LESSONS[how.method](made, teacher, settings, how, draw)
    return Run(lesson, feed, settings, Path(out_dir), whole=True).go(progress, facts)


def student_of(teacher: Denoiser, how: Distillation, like: Denoiser | None = None) -> Denoiser:
    """A generator of few steps, of the teacher's family and size or of those of `like`.

    It has every weight of the teacher that fits.
    """
    like = like or teacher
    if (like.space, like.config.conditions) != (teacher.space, teacher.config.conditions):
        raise UsageError(
            "a student makes what its teacher makes",
            allowed=f"{teacher.space} with {len(teacher.config.conditions)} conditions",
        )
    method: Walk = "euler" if how.method == "consistency" else "renoise"
    process = replace(teacher.process, steps=how.steps, method=method)
    student = type(like)(replace(like.config, process=process))
    own = student.state_dict()
    fits = {
        name: value
        for name, value in teacher.state_dict().items()
        if name in own and own[name].shape == value.shape
    }
    student.load_state_dict(fits, strict=False)
    student.name, student.source = like.name, like.source or teacher.source
    return student


class _Distilled(Generation):
    """What the methods share: conditions, guidance, and the clean values that a student sees."""

    model: Denoiser

    def __init__(
        self,
        student: Denoiser,
        teacher: Denoiser,
        settings: GeneratorSettings,
        how: Distillation,
        draw: Draw | None,
    ):
        super().__init__(student, settings, (), draw)
        self.teacher, self.how, self.process = teacher, how, student.process
        self.also = {"distil": how.to_json()}

    def teach(self, part: Batch, share: float, step: int) -> Taught:
        asked = part.conditions.dropped(self.model.config.drop)
        part = replace(part, x=self.model.inward(part.x), conditions=asked)
        with autocast(self.settings, self.model.device):
            losses = self.lessons(part, step)
        torch.stack([loss * share for loss in losses.values()]).sum().backward()
        return Taught(losses)

    @abstractmethod
    def lessons(self, part: Batch, step: int) -> dict[str, Tensor]:
        """Losses of a part, whose values are as the network knows them."""

    def clean(self, part: Batch, mixture: Tensor, time: Tensor) -> Tensor:
        """The clean values that the student sees behind mixtures."""
        return self.process.clean(self.model.named(part, mixture, time), mixture, time)

    def taught(self, part: Batch, mixture: Tensor, time: Tensor) -> Tensor:
        """Those that the teacher sees."""
        return self.teacher.estimate(
            mixture, time, part.conditions, self.how.guidance, part.lengths
        )


class _Consistency(_Distilled):
    """To arrive from everywhere where the teacher's path leads."""

    def lessons(self, part: Batch, step: int) -> dict[str, Tensor]:
        process, parts = self.process, self.how.parts
        fine = ladder(self.how.steps * parts, process.shift).to(part.x.device)
        place = torch.randint(len(fine) - 1, (len(part),), device=part.x.device)
        now, after, end = fine[place], fine[place + 1], fine[(place // parts + 1) * parts]
        mixture = process.mix(part.x, torch.randn_like(part.x), now)
        with torch.no_grad():
            teacher, student = partial(self.taught, part), partial(self.clean, part)
            walked = walked_on(process, teacher, mixture, now, after, method="heun")
            arrived = walked_on(process, student, walked, after, end)
            aimed = aim(process, mixture, now, end, arrived)
            wanted = process.wanted(aimed, process.noise(aimed, mixture, now), now)
        error = (self.model.named(part, mixture, now) - wanted).square()
        return {"loss": counted(error, part, now)}


class _WithRival(_Distilled):
    """Methods with a second network, which learns at every step, the student at some."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.seed)
            self.second = self.opponent().train().requires_grad_()
        optimiser = torch.optim.AdamW(
            self.second.parameters(),
            self.settings.learning_rate * self.how.rival_rate,
            betas=(0.0, 0.99),
            weight_decay=0.0,
        )
        self.rival = Rival(self.how.method, self.second, optimiser)

    def moves(self, step: int) -> bool:
        return step % self.how.turns == 0

    def lessons(self, part: Batch, step: int) -> dict[str, Tensor]:
        begins = ladder(self.how.steps, self.process.shift)[:-1].to(part.x.device)
        time = begins[torch.randint(len(begins), (len(part),), device=part.x.device)]
        mixture = self.process.mix(part.x, torch.randn_like(part.x), time)
        with nullcontext() if self.moves(step) else torch.no_grad():
            made = self.clean(part, mixture, time)
        losses = {self.how.method: self.answer(part, made.detach())}
        if self.moves(step):
            worse = self.slope(part, made.detach())
            losses["loss"] = counted(made * worse, part, time)
            if self.how.lesson:
                known = replace(part, x=self.model.outward(part.x))
                losses["lesson"] = self.how.lesson * self.model.total(self.model.losses(known))
        return losses

    def noised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values at times at which they are judged."""
        time = self.process.draw_times((len(x),), x.device)
        return self.process.mix(x, torch.randn_like(x), time), time

    @abstractmethod
    def opponent(self) -> nn.Module:
        """The second network."""

    @abstractmethod
    def answer(self, part: Batch, made: Tensor) -> Tensor:
        """What the second network makes small, given what the student made."""

    @abstractmethod
    def slope(self, part: Batch, made: Tensor) -> Tensor:
        """The direction in which each value that was made gets worse."""


class _DistributionMatching(_WithRival):
    """The second network learns to denoise what the student makes."""

    second: Denoiser

    def opponent(self) -> nn.Module:
        return copy.deepcopy(self.teacher)

    def answer(self, part: Batch, made: Tensor) -> Tensor:
        own = replace(part, x=self.second.outward(made))
        return self.second.total(self.second.losses(own))

    @torch.no_grad()
    def slope(self, part: Batch, made: Tensor) -> Tensor:
        mixture, time = self.noised(made)
        real = self.taught(part, mixture, time)
        seen = self.second.estimate(mixture, time, part.conditions, lengths=part.lengths)
        axes, there = tuple(range(1, made.dim())), _there(part, made)
        far = ((made - real).abs() * there).sum(axes, keepdim=True)
        far = far / there.sum(axes, keepdim=True)
        return (seen - real) / far.clamp_min(1e-3)


class _Adversarial(_WithRival):
    """The second network learns to tell what the student makes from examples."""

    second: _Judge

    def opponent(self) -> nn.Module:
        return _Judge(copy.deepcopy(self.teacher)).to(self.model.device)

    def answer(self, part: Batch, made: Tensor) -> Tensor:
        real, time = self.noised(part.x)
        scores = self.second(part, real, time)
        told = functional.softplus(-scores) + functional.softplus(
            self.second(part, self.process.mix(made, torch.randn_like(made), time), time)
        )
        shaken = self.second(part, real + 0.1 * torch.randn_like(real), time)
        return counted(told + self.how.penalty * (scores - shaken).square(), part, time)

    def slope(self, part: Batch, made: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = made.requires_grad_()
            mixture, time = self.noised(leaf)
            doubt = functional.softplus(-self.second(part, mixture, time))
            (worse,) = torch.autograd.grad((doubt * _there(part, doubt)).sum(), leaf)
        return worse


class _Judge(nn.Module):
    """A generator's network with a score for each place on top, (B, *grid, 1)."""

    def __init__(self, network: Denoiser):
        super().__init__()
        self.network, self.score = network, nn.Linear(network.space.channels, 1)

    def forward(self, part: Batch, mixture: Tensor, time: Tensor) -> Tensor:
        named = self.network.predict(mixture, time, part.conditions, part.lengths)
        score: Tensor = self.score(named)
        return score


def _there(part: Batch, like: Tensor) -> Tensor:
    """1 at places that are no padding, in the shape of `like`."""
    valid = part.valid().to(like.dtype)
    return valid.view(*valid.shape, *(1,) * (like.dim() - 2)).expand_as(like)


_LESSONS: dict[str, type[_Distilled]] = {
    "consistency": _Consistency,
    "distribution_matching": _DistributionMatching,
    "adversarial": _Adversarial,
}
