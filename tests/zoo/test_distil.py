"""Students of few steps: what they learn of a teacher, how they walk, what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.artefact import load
from zoo.denoiser import Denoiser
from zoo.errors import UsageError
from zoo.generator import Batch, Conditions, Decoding, Space
from zoo.generators.causal_diffusion import CausalDiffusion
from zoo.generators.latent_dit import LatentDit
from zoo.generators.motion_diffusion import MotionDiffusion
from zoo.grammar import NOISE, asked, examples, spread
from zoo.layers.backbone import BackboneConfig
from zoo.layers.diffusion import Process, aim, step
from zoo.registry import preset
from zoo.training import GeneratorSettings
from zoo.training.distil import distil, student_of
from zoo.training.settings import Distillation

SETTINGS = GeneratorSettings(
    steps=70,
    batch=32,
    learning_rate=1e-3,
    warmup_steps=5,
    ema_decay=0.95,
    log_every=70,
    save_every=1000,
    weight_decay=0.0,
)
SHORT = replace(SETTINGS, steps=2, batch=4, log_every=1)


class Lessons:
    """Endless batches of the grammar; stops with an error where it is told to."""

    def __init__(self, model: Denoiser, batch: int = 4, fatal: int = -1):
        self.model, self.batch, self.fatal, self.seen = model, batch, fatal, 0

    def __iter__(self) -> Iterator[Batch]:
        while self.seen != self.fatal:
            batch, _ = examples(self.model, self.batch, seed=50_000 + self.seen)
            self.seen += 1
            yield batch
        raise KeyboardInterrupt

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Lessons:
        return self


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small(**options: Any) -> LatentDit:
    """Fresh, with an answer of its own."""
    torch.manual_seed(0)
    template = preset("video/latent_dit_gathered_tiny").config
    backbone = BackboneConfig(32, 1, 2)
    asked = template.conditions[:1]
    config = replace(template, backbone=backbone, joins="plain", conditions=asked, **options)
    model = LatentDit(config).eval()
    nn.init.normal_(model.network.leave.weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def teacher() -> LatentDit:
    """A teacher that is right when it takes many steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LatentDit(replace(small().config, backbone=BackboneConfig(48, 2, 2)))
    steps = 150
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, (0.9, 0.95), weight_decay=0.0)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=0.1)
    for number in range(steps):
        torch.manual_seed(number)
        loss = model.loss(examples(model, 32, seed=number)[0])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rates.step()
    return model.eval()


def drawn(model: Denoiser, steps: int = 0) -> tuple[float, float]:
    """Agreement with the motifs and spread around them; 0 steps are the model's own."""
    motifs = torch.arange(4).repeat_interleave(32)
    given = model.given(**asked(model, motifs))
    made = model.sample(128, given, Decoding(steps=steps), seed=1).x
    return spread(model.space, made, motifs)


def calls(model: Denoiser) -> int:
    """How often the network is asked in one sample."""
    asked: list[int] = []
    handle = model.network.register_forward_hook(lambda *_: asked.append(1))
    model.sample(1)
    handle.remove()
    return len(asked)


@pytest.mark.parametrize(
    ("method", "lessons"), [("consistency", 40), ("distribution_matching", 70)]
)
def test_a_student_does_in_one_step_what_its_teacher_needs_many_for(
    teacher: LatentDit, tmp_path: Path, method: str, lessons: int
) -> None:
    (right, calm), (wrong, rough) = drawn(teacher, 24), drawn(teacher, 1)
    assert wrong < 0.85 < 0.9 < right
    assert abs(calm - NOISE) < 0.1 < 0.3 < abs(rough - NOISE)
    how = Distillation(method=method, steps=1)
    settings = replace(SETTINGS, steps=lessons, log_every=lessons)
    outcome = distil(teacher, Lessons(teacher, 32), settings, tmp_path, how, progress=False)
    student = load(outcome.folder)
    assert isinstance(student, LatentDit)
    assert calls(student) == 1
    agreement, spreads = drawn(student)
    assert agreement > 0.9
    assert NOISE * 0.5 < spreads < NOISE * 1.8


@pytest.mark.parametrize("steps", [1, 3, 16])
def test_pcm_has_as_many_parts_as_it_takes_steps(tmp_path: Path, steps: int) -> None:
    how = Distillation(steps=steps, parts=2)
    model = small()
    outcome = distil(model, Lessons(model), replace(SHORT, steps=1), tmp_path, how, progress=False)
    student = load(outcome.folder)
    assert isinstance(student, LatentDit)
    assert calls(student) == steps
    assert bool(torch.isfinite(student.sample(1).x).all())


def test_videolcm_keeps_how_far_the_teacher_skips_and_its_guidance(tmp_path: Path) -> None:
    model, how = small(), Distillation(steps=4, parts=12, guidance=7.5)
    distil(model, Lessons(model), SHORT, tmp_path, how, progress=False)
    with pytest.raises(UsageError, match="begun with other settings: distil"):
        distil(model, Lessons(model), SHORT, tmp_path, Distillation(steps=4), progress=False)


@pytest.mark.parametrize("method", ["consistency", "distribution_matching"])
def test_a_stopped_distillation_ends_like_an_undisturbed_one(tmp_path: Path, method: str) -> None:
    how, settings = Distillation(method=method), replace(SHORT, steps=4, save_every=1)
    model = small()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    whole = distil(model, Lessons(model), settings, tmp_path / "whole", how, progress=False)
    with pytest.raises(KeyboardInterrupt):
        distil(model, Lessons(model, fatal=2), settings, tmp_path / "two", how, progress=False)
    again = distil(model, Lessons(model), settings, tmp_path / "two", how, progress=False)
    one, two = (load(outcome.folder).state_dict() for outcome in (whole, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert any(not torch.equal(one[name], weights[name]) for name in one)


def test_causvid_streams_four_steps_a_block_after_a_teacher_that_sees_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is kept, blocks are those of the full pass; the teacher is of another family."""
    space = Space("video", (4, 2, 2), channels=4)
    wide = small(space=space)
    template = preset("video/causal_diffusion_clean_tiny").config
    like = CausalDiffusion(
        replace(
            template, space=space, backbone=wide.config.backbone, conditions=wide.config.conditions
        )
    )
    how = Distillation(method="distribution_matching", steps=4)
    outcome = distil(wide, Lessons(wide), SHORT, tmp_path, how, student=like, progress=False)
    student = load(outcome.folder)
    assert isinstance(student, CausalDiffusion)
    assert student.process.steps == 4
    blocks = torch.cat(list(student.roll(1, 4, seed=3)), dim=1)
    assert torch.equal(blocks, student.sample(1, seed=3).x)
    monkeypatch.setattr(CausalDiffusion, "resting", property(lambda _: False))
    uncached = torch.cat(list(student.roll(1, 4, seed=3)), dim=1)
    assert torch.allclose(blocks, uncached, atol=1e-4)


def test_a_judged_student_draws_motion_in_ten_steps_with_finite_losses(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MotionDiffusion(preset("motion/motion_diffusion_tiny").config).eval()
    how = Distillation(method="adversarial", steps=10, lesson=0.5, turns=1)
    outcome = distil(model, Lessons(model), SHORT, tmp_path, how, progress=False)
    assert torch.isfinite(
        torch.tensor([outcome.losses[n] for n in ("lesson", "adversarial")])
    ).all()
    student = load(outcome.folder)
    assert isinstance(student, MotionDiffusion)
    assert calls(student) == 10
    assert "velocity" in student.losses(examples(student, 2, seed=0)[0])


@pytest.mark.parametrize("process", [Process(), Process("cosine", "v"), Process("linear", "noise")])
def test_a_straight_step_arrives_where_it_aims(process: Process) -> None:
    torch.manual_seed(0)
    x, clean = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    now, after = torch.tensor([0.9, 0.6, 0.5]), torch.tensor([0.5, 0.0, 0.4])
    arrived = step(process, lambda *_: clean, x, now, after)
    assert torch.allclose(aim(process, x, now, after, arrived), clean, atol=1e-4)


def test_new_noise_is_drawn_from_the_seed_alone() -> None:
    model = student_of(small(), Distillation(method="adversarial", steps=3))
    torch.manual_seed(1)
    one = model.sample(1, seed=5).x
    torch.manual_seed(2)
    assert torch.equal(one, model.sample(1, seed=5).x)
    assert not torch.equal(one, model.sample(1, seed=6).x)


@pytest.mark.parametrize("method", ["distribution_matching", "adversarial"])
def test_padding_teaches_nothing(tmp_path: Path, method: str) -> None:
    """What stands behind an example's end changes no weight."""

    class Padded(Lessons):
        def __init__(self, model: Denoiser, behind: float):
            super().__init__(model)
            self.behind = behind

        def __iter__(self) -> Iterator[Batch]:
            for batch in super().__iter__():
                x: Tensor = batch.x.clone()
                x[:, 2:] = self.behind
                yield Batch(x, Conditions(), torch.full((len(x),), 2))

    made = []
    for behind in (0.0, 3.0):
        model = small()
        how, folder = Distillation(method=method, turns=1), tmp_path / str(behind)
        outcome = distil(model, Padded(model, behind), SHORT, folder, how, progress=False)
        made.append(load(outcome.folder).state_dict())
    assert all(torch.allclose(made[0][n], made[1][n], atol=1e-6) for n in made[0])


def test_what_cannot_be_distilled_is_refused(tmp_path: Path) -> None:
    model = small()
    other = small(space=Space("video", (3, 2, 2), channels=6))
    with pytest.raises(UsageError, match="makes what its teacher makes"):
        student_of(model, Distillation(), other)
    compiled = replace(SHORT, compile=True)
    with pytest.raises(UsageError, match="neither compiled nor divided"):
        distil(model, Lessons(model), compiled, tmp_path, Distillation())
