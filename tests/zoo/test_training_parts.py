"""Settings, data, losses, averages, discriminator and checkpoints, each on its own."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo import create
from zoo.errors import InputError, NotFoundError, UsageError
from zoo.tokenizer import Reconstruction
from zoo.training import Adversarial, Clips, FolderArrays, Losses, ReadFiles, Settings, Window
from zoo.training.adversarial import Critic
from zoo.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    flatten_optimiser,
    restore_optimiser,
)
from zoo.training.ema import Ema
from zoo.training.losses import Objective, perceptual
from zoo.training.prefetch import batches
from zoo.training.schedule import rate_factor

MOTION = create("motion/conv_fsq_tiny").describe()
VIDEO = create("video/folded_cnn_fsq_tiny").describe()


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        ({"steps": 5, "learning_rat": 1}, "no setting 'learning_rat'"),
        ({}, "lacks steps"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"steps": 5, "precision": "float16"}, "precision is 'float16'"),
        ({"steps": 5, "learning_rate": -1}, "learning_rate is -1"),
        ({"steps": 5, "batch": 6, "accumulate": 4}, "no 4 equal parts"),
        ({"steps": 5, "losses": {"perceptal": 1}}, "Losses has no setting 'perceptal'"),
        ({"steps": 5, "losses": 3}, "losses is 3"),
        ({"steps": 5, "losses": {"family": {"commitment": "much"}}}, "family.commitment is 'much'"),
        ({"steps": 5, "adversarial": {"dims": 4}}, "dims is 4"),
        ({"steps": 5, "adversarial": {"kind": "wgan"}}, "kind is 'wgan'"),
    ],
)
def test_wrong_settings_are_refused(known: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Settings.from_json(known)


def test_settings_come_from_yaml_and_json(tmp_path: Path) -> None:
    settings = Settings(
        steps=7,
        losses=Losses(reconstruction="huber", family={"commitment": 0.5}),
        adversarial=Adversarial(weight=0.2),
    )
    stored = tmp_path / "run.json"
    stored.write_text(json.dumps(settings.to_json()))
    assert Settings.read(stored) == settings
    written = tmp_path / "run.yaml"
    written.write_text(
        "steps: 7\nlosses: {reconstruction: huber, family: {commitment: 0.5}}\n"
        "adversarial:\n  weight: 0.2\n"
    )
    assert Settings.read(written) == settings


def test_files_without_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Settings.read(tmp_path / "missing.yaml")
    path = tmp_path / "run.yaml"
    for text, problem in (("steps: [", "neither YAML nor JSON"), ("- 5", "holds no settings")):
        path.write_text(text)
        with pytest.raises(UsageError, match=problem):
            Settings.read(path)


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_factor(step, 110, 10, 0.1) for step in range(110)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_averages_follow_the_weights() -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
        ema = Ema(module, decay=0.5)
        for step, value in enumerate((1.0, 2.0, 3.0)):
            module.weight.fill_(value)
            ema.update(module, step)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, 3.0)):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with ema.applied(module):
        assert module.weight.item() == pytest.approx(expected)
    assert module.weight.item() == 3.0


def arrays(count: int = 5, frames: int = 20) -> list[np.ndarray]:
    """Motion whose values tell the array and the frame."""
    rows = np.arange(frames, dtype=np.float32)[:, None]
    return [np.concatenate([rows * 0 + number, rows], 1) for number in range(count)]


def test_every_array_comes_once_an_epoch() -> None:
    feed = Clips(arrays(), Window(8, stride=2), seed=4)
    clips = list(itertools.islice(feed, 15))
    for epoch in range(3):
        assert {int(clip[0, 0]) for clip in clips[epoch * 5 : epoch * 5 + 5]} == set(range(5))
    assert all((clip[:, 1].diff() == 2).all() for clip in clips)
    assert len({float(clip[0, 1]) for clip in clips}) > 1


def test_the_order_follows_from_the_seed() -> None:
    def read(seed: int) -> Tensor:
        return torch.stack(list(itertools.islice(Clips(arrays(), Window(8), seed=seed), 10)))

    assert torch.equal(read(1), read(1))
    assert not torch.equal(read(1), read(2))


def test_a_feed_goes_on_where_it_was() -> None:
    feed = Clips(arrays(), Window(8))
    whole = list(itertools.islice(feed, 12))
    first = Clips(arrays(), Window(8))
    begun = list(itertools.islice(first, 7))
    state = json.loads(json.dumps(first.state_dict()))
    second = Clips(arrays(), Window(8))
    second.load_state_dict(state)
    assert torch.equal(torch.stack(whole), torch.stack([*begun, *itertools.islice(second, 5)]))


def test_workers_share_one_order() -> None:
    feed = Clips(arrays(), Window(8))
    shards = [iter(feed.shard(rank, 3)) for rank in range(3)]
    together = [next(shards[n % 3]) for n in range(12)]
    assert torch.equal(torch.stack(list(itertools.islice(feed, 12))), torch.stack(together))


def test_weights_decide_how_often() -> None:
    feed = Clips(arrays(2), Window(8), weights=[3, 1])
    drawn = [int(clip[0, 0]) for clip in itertools.islice(feed, 400)]
    assert 0.68 < drawn.count(0) / 400 < 0.82


def test_footage_becomes_crops_in_range() -> None:
    columns = np.arange(40, dtype=np.uint8)
    footage = np.broadcast_to(columns[None, None, :, None] * 6, (5, 30, 40, 3))
    feed = Clips([footage], Window(3, size=16, flip=True))
    clips = list(itertools.islice(feed, 20))
    assert {tuple(clip.shape) for clip in clips} == {(3, 3, 16, 16)}
    slopes = {round(float(clip[0, 0, 0].diff().mean() * 127.5)) for clip in clips}
    assert slopes == {6, -6}
    assert all(float(clip.min()) >= -1 and float(clip.max()) <= 1 for clip in clips)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="a window of 21 frames"):
        Clips(arrays(), Window(21)).clip(0)
    pixels = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="a crop of 16"):
        Clips([pixels], Window(4, size=16)).clip(0)
    with pytest.raises(InputError, match="footage is float32"):
        Clips([pixels.astype(np.float32)], Window(4)).clip(0)
    with pytest.raises(NotFoundError):
        Clips([], Window(4))


def test_arrays_come_from_folders_and_files(tmp_path: Path) -> None:
    first, second = arrays(2)
    np.save(tmp_path / "a.npy", first)
    (tmp_path / "deeper").mkdir()
    np.savez(tmp_path / "deeper" / "b.npz", clip=second)
    stored = FolderArrays(tmp_path)
    assert len(stored) == 2
    assert np.array_equal(stored[0], first)
    assert np.array_equal(stored[1], second)
    with pytest.raises(NotFoundError, match="has no 'motion'"):
        FolderArrays(tmp_path, key="motion")[1]
    with pytest.raises(NotFoundError, match="holds no arrays"):
        FolderArrays(tmp_path / "none")

    reads: list[Path] = []

    def read(path: Path) -> np.ndarray:
        reads.append(path)
        return np.load(path)

    files = ReadFiles([tmp_path / "a.npy"], read)
    assert np.array_equal(files[0], files[0])
    assert reads == [tmp_path / "a.npy"]


def test_batches_carry_the_position_after_them() -> None:
    source = batches(Clips(arrays(), Window(8)), 3)
    expected = itertools.islice(Clips(arrays(), Window(8)), 6)
    read = [next(source), next(source)]
    source.close()
    assert torch.equal(torch.cat([x for x, _ in read]), torch.stack(list(expected)))
    assert [state["seen"] for _, state in read] == [3, 6]


def test_clips_of_different_shapes_make_no_batch() -> None:
    mixed = [np.zeros((9, 2), np.float32), np.zeros((9, 3), np.float32)]
    with pytest.raises(InputError, match="differ in shape"):
        next(batches(Clips(mixed, Window(8)), 2))


def made(output: Tensor | None, **losses: float) -> Reconstruction:
    return Reconstruction(output, {name: torch.tensor(value) for name, value in losses.items()})


@pytest.mark.parametrize(
    ("kind", "value"), [("l1", 0.5), ("l2", 0.25), ("huber", 0.1 * (0.5 - 0.05))]
)
def test_distances_are_those_of_their_names(kind: str, value: float) -> None:
    x = torch.zeros(2, 8, 24)
    objective = Objective(Losses(reconstruction=kind), MOTION, {})
    total, parts = objective(x, made(x + 0.5))
    assert total.item() == pytest.approx(value)
    assert list(parts) == ["reconstruction"]


def test_losses_are_weighed() -> None:
    x = torch.zeros(1, 8, 24)
    y = x + torch.arange(8)[None, :, None] * 0.1
    losses = Losses(weight=2.0, velocity=3.0, family={"entropy": 7.0})
    objective = Objective(losses, MOTION, {"commitment": 0.5, "entropy": 1.0})
    total, parts = objective(x, made(y, commitment=4.0, entropy=1.0, other=5.0))
    assert float(parts["velocity"]) == pytest.approx(0.01)
    expected = 2 * float(y.square().mean()) + 3 * 0.01 + 0.5 * 4 + 7 + 5
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_a_model_without_output_has_its_own_losses_only() -> None:
    objective = Objective(Losses(velocity=1.0), MOTION, {"denoise": 2.0})
    total, _ = objective(torch.zeros(1, 8, 24), made(None, denoise=3.0))
    assert total.item() == 6.0


def test_perceptual_distance_sees_features_not_their_strength() -> None:
    def features(frames: Tensor) -> list[Tensor]:
        return [frames, frames.roll(1, dims=1)]

    x = torch.rand(2, 3, 4, 8, 8) + 0.1
    assert float(perceptual(features, x, x * 2)) == pytest.approx(0, abs=1e-6)
    assert float(perceptual(features, x, x.roll(1, dims=1))) > 0.01
    with pytest.raises(UsageError, match="judges pictures"):
        Objective(Losses(perceptual=1.0), MOTION, {}, features=features)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["hinge", "vanilla"])
def test_a_critic_learns_to_tell(dims: int, kind: str) -> None:
    torch.manual_seed(0)
    settings = Adversarial(dims=dims, kind=kind, width=8, depth=2, gradient_penalty=0.01)
    critic = Critic(settings, VIDEO)
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    real, fake = torch.full((2, 3, 5, 16, 16), 0.5), torch.full((2, 3, 5, 16, 16), -0.5)
    losses = []
    for _ in range(15):
        loss = critic.own_loss(real, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_the_weight_of_a_critic_starts_and_rises() -> None:
    critic = Critic(Adversarial(weight=0.4, start_step=10, lead_steps=5, warmup_steps=4), VIDEO)
    assert [critic.learns(step) for step in (4, 5)] == [False, True]
    weights = [critic.weight(step) for step in (9, 10, 11, 13, 50)]
    assert weights == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])


def test_an_adaptive_weight_makes_gradients_equally_strong() -> None:
    torch.manual_seed(0)
    critic = Critic(Adversarial(weight=0.5), VIDEO)
    x = torch.rand(1, 3, 5, 16, 16)
    y = torch.rand(1, 3, 5, 16, 16, requires_grad=True)
    reconstruction = (x - y).square().mean()
    (wanted,) = torch.autograd.grad(reconstruction, y, retain_graph=True)
    loss = critic.tokenizer_loss(y, reconstruction, step=0)
    (felt,) = torch.autograd.grad(loss, y)
    assert float(felt.norm()) == pytest.approx(0.5 * float(wanted.norm()), rel=1e-3)
    assert all(p.grad is None for p in critic.parameters())


def test_lecam_pulls_to_running_means() -> None:
    settings = Adversarial(width=8, depth=1)
    real, fake = torch.rand(1, 3, 5, 16, 16), torch.rand(1, 3, 5, 16, 16)
    torch.manual_seed(0)
    plain = Critic(settings, VIDEO)
    held = Critic(replace(settings, lecam=10.0), VIDEO)
    held.load_state_dict(plain.state_dict())
    assert held.own_loss(real, fake).item() != pytest.approx(plain.own_loss(real, fake).item())
    assert float(held.real_mean) != 0.0
    assert float(plain.real_mean) == 0.0


def test_checkpoints_are_whole_or_not_there(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    assert kept.latest() is None
    for step in (1, 2, 3):
        tensors = {"model": {"a/b.weight": torch.full((2,), float(step)).t()}}
        kept.save(step, Checkpoint(tensors, {"step": step}))
    (tmp_path / "unfinished-step-00000004").mkdir()
    found = kept.latest()
    assert found is not None
    assert found.state == {"step": 3}
    assert found.tensors["model"]["a/b.weight"].tolist() == [3.0, 3.0]
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [
        "step-00000002",
        "step-00000003",
    ]
    assert {path.suffix for path in (tmp_path / "step-00000003").iterdir()} == {
        ".json",
        ".safetensors",
    }


def test_an_optimiser_comes_back_with_its_moments() -> None:
    torch.manual_seed(0)
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    first, second = (torch.optim.AdamW(module.parameters(), 0.1) for module in (one, two))
    for step in range(3):
        one(torch.full((1, 3), step + 1.0)).sum().backward()
        first.step()
    two.load_state_dict(one.state_dict())
    moments = {name: value.clone() for name, value in flatten_optimiser(first).items()}
    restore_optimiser(second, moments)
    for module, optimiser in ((one, first), (two, second)):
        optimiser.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimiser.step()
    assert torch.equal(one.weight, two.weight)
    smaller = torch.optim.AdamW(nn.Linear(2, 1, bias=False).parameters())
    with pytest.raises(UsageError, match="more parameters"):
        restore_optimiser(smaller, moments)
