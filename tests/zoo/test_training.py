"""The loop on tiny models: it learns, and what must not change its outcome does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo import create
from zoo.artefact import load
from zoo.errors import InputError, UsageError
from zoo.layers.quantizers import Quantizer
from zoo.registry import presets
from zoo.tokenizer import Tokenizer
from zoo.training import Adversarial, Clips, Losses, Outcome, Settings, Window, fit
from zoo.training.recompute import recomputed_blocks

FEATURES = 24
FAMILIES = {
    entry.family.family(): name
    for name, entry in presets().items()
    if entry.is_tiny and entry.family.trainable
}
SETTINGS = Settings(steps=6, batch=8, warmup_steps=2, log_every=1, save_every=2, seed=3)


def takes(count: int = 6) -> list[np.ndarray]:
    """Smooth curves of different pace."""
    dice = np.random.default_rng(0)
    time = np.arange(48)[:, None] / 10
    pace, phase = dice.uniform(0.3, 2, (2, count, 1, FEATURES))
    return [np.sin(time * p + q).astype(np.float32) for p, q in zip(pace, phase, strict=True)]


def feed() -> Clips:
    return Clips(takes(), Window(16), seed=1)


def model(name: str = "motion/conv_fsq_tiny") -> Tokenizer:
    torch.manual_seed(0)
    return create(name)


def trained(folder: Path, settings: Settings = SETTINGS, **options: Any) -> dict[str, Tensor]:
    tokenizer = model()
    fit(tokenizer, options.pop("feed", feed()), settings, folder, progress=False, **options)
    return tokenizer.state_dict()


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], within: float = 0.0) -> None:
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=0, atol=within), name


def test_a_model_learns_and_is_kept(tmp_path: Path) -> None:
    tokenizer = model("motion/conv_rvq_tiny")
    settings = replace(SETTINGS, steps=40, log_every=10, save_every=20, learning_rate=5e-3)
    outcome = fit(tokenizer, feed(), settings, tmp_path, progress=False)
    lines = logged(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert lines[-1]["features"] < 0.75 * lines[0]["features"]
    assert 0 < lines[-1]["usage"] <= 1
    assert lines[-1]["samples_per_second"] > 0
    assert outcome == Outcome(40, outcome.losses, tmp_path / "model")
    x = feed().clip(5)[None]
    assert torch.equal(load(outcome.folder).encode(x)["tokens"], tokenizer.encode(x)["tokens"])


class Repeated:
    """The same few clips again and again."""

    def __init__(self, clips: Tensor):
        self.clips, self.seen = clips, 0

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            self.seen += 1
            yield self.clips[self.seen % len(self.clips)]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def shard(self, rank: int, world: int) -> Repeated:
        assert (rank, world) == (0, 1)
        return self


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_in_this_loop(tmp_path: Path, family: str) -> None:
    tokenizer = model(FAMILIES[family])
    low, high = tokenizer.spec.value_range or (-1.0, 1.0)
    clips = torch.rand(tokenizer.example_shape(2)) * (high - low) + low
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    settings = Settings(steps=1, batch=2, warmup_steps=0, ema_decay=0.0, log_every=1)
    outcome = fit(tokenizer, Repeated(clips), settings, tmp_path, progress=False)
    assert np.isfinite(list(outcome.losses.values())).all()
    assert any(not torch.equal(value, before[n]) for n, value in tokenizer.state_dict().items())


def test_the_averaged_weights_are_the_outcome(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", replace(SETTINGS, ema_decay=0.0))
    averaged = trained(tmp_path / "averaged")
    assert any(not torch.equal(value, averaged[name]) for name, value in plain.items())


class Broken(Clips):
    """Fails at a clip, as a disk would."""

    def __iter__(self) -> Iterator[Tensor]:
        for number, clip in enumerate(super().__iter__()):
            if number == 30:
                raise OSError("the disk is gone")
            yield clip


def test_a_run_that_failed_ends_like_one_that_did_not(tmp_path: Path) -> None:
    settings = replace(SETTINGS, adversarial=Adversarial(dims=1, start_step=1, lecam=0.1))
    expected = trained(tmp_path / "undisturbed", settings)
    with pytest.raises(OSError, match="disk"):
        trained(tmp_path / "failed", settings, feed=Broken(takes(), Window(16), seed=1))
    assert max(line["step"] for line in logged(tmp_path / "failed")) < 6
    with (tmp_path / "failed" / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "lo')
    assert_same(expected, trained(tmp_path / "failed", settings))
    assert [line["step"] for line in logged(tmp_path / "failed")] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    expected = trained(tmp_path)
    assert_same(expected, trained(tmp_path))
    assert len(logged(tmp_path)) == SETTINGS.steps


def test_two_parts_of_four_are_a_batch_of_eight(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    parts = trained(tmp_path / "parts", replace(SETTINGS, accumulate=2))
    for one, two in zip(logged(tmp_path / "whole"), logged(tmp_path / "parts"), strict=True):
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-3)
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    assert_same(whole, parts, within=1e-4)


def test_recomputed_blocks_change_nothing(tmp_path: Path) -> None:
    kept = trained(tmp_path / "kept")
    again = trained(tmp_path / "again", replace(SETTINGS, checkpoint_blocks=True))
    assert_same(kept, again, within=1e-6)


def test_blocks_are_recomputed_in_the_backward_pass() -> None:
    tokenizer = model("motion/conv_rvq_tiny").train()
    first = next(m for m in tokenizer.modules() if type(m).__name__ == "Block")
    quantizer = next(m for m in tokenizer.modules() if isinstance(m, Quantizer))
    calls = {first: 0, quantizer: 0}

    def count(module: torch.nn.Module, *_: object) -> None:
        calls[module] += 1

    for module in calls:
        # Submodules of a recomputed block run again; the quantizer must not.
        next(module.children(), module).register_forward_pre_hook(
            lambda _module, _inputs, owner=module: count(owner)
        )
    with recomputed_blocks(tokenizer) as blocks:
        made = tokenizer(feed().clip(0)[None])
        before = dict(calls)
        sum(made.losses.values(), torch.zeros(())).backward()
    assert blocks > 0
    assert calls[first] == before[first] + 1
    assert calls[quantizer] == before[quantizer]
    assert "forward" not in vars(first)


def test_bfloat16_computes_coarsely_and_keeps_weights_exact(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=1)
    trained(tmp_path / "exact", settings)
    weights = trained(tmp_path / "coarse", replace(settings, precision="bfloat16"))
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {
        torch.float32
    }
    exact, coarse = logged(tmp_path / "exact")[0], logged(tmp_path / "coarse")[0]
    assert coarse["features"] == pytest.approx(exact["features"], rel=0.05)
    assert coarse["features"] != exact["features"]


def test_the_discriminator_comes_in_when_told(tmp_path: Path) -> None:
    adversarial = Adversarial(
        dims=1, start_step=4, lead_steps=2, warmup_steps=2, gradient_penalty=0.1, lecam=0.1
    )
    trained(tmp_path, replace(SETTINGS, adversarial=adversarial))
    lines = logged(tmp_path)
    assert ["critic" in line for line in lines] == [False, False, True, True, True, True]
    assert ["adversarial" in line for line in lines] == [False] * 4 + [True] * 2


def test_a_joint_loss_is_added(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=1, losses=Losses(weight=0.0, joints=2.0))
    trained(tmp_path, settings, joints=lambda x: x.unflatten(-1, (-1, 3)))
    line = logged(tmp_path)[0]
    family = line["features"] + 0.5 * line["velocity"]
    assert line["loss"] == pytest.approx(family + 2 * line["joints"], rel=1e-5)


def test_pictures_show_footage_and_curves(tmp_path: Path) -> None:
    trained(tmp_path / "motion", replace(SETTINGS, steps=2, sample_every=2))
    with Image.open(tmp_path / "motion/samples/step-00000002.png") as curves:
        assert curves.width == 4 * 360
        assert len(curves.getcolors()) == 3

    dice = np.random.default_rng(0)
    footage = [dice.integers(0, 256, (9, 40, 40, 3), dtype=np.uint8) for _ in range(2)]
    fit(
        model("video/folded_cnn_fsq_tiny"),
        Clips(footage, Window(5, size=16, flip=True)),
        replace(SETTINGS, steps=1, batch=2, sample_every=1),
        tmp_path / "video",
        progress=False,
    )
    with Image.open(tmp_path / "video/samples/step-00000001.png") as frames:
        assert frames.size == (5 * 16, 2 * 2 * 16)


def test_numbers_of_the_caller_stay_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tokenizer, state = create("motion/conv_fsq_tiny"), torch.get_rng_state()
    fit(tokenizer, feed(), replace(SETTINGS, steps=1), tmp_path, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), expected)


def test_another_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(UsageError, match=r"learning_rate 0.001 to 0.1"):
        trained(tmp_path, replace(SETTINGS, learning_rate=0.1))
    trained(tmp_path, replace(SETTINGS, log_every=3))


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training clips are"):
        trained(tmp_path / "length", feed=Clips(takes(), Window(15)))
    with pytest.raises(UsageError, match="nothing to train"):
        fit(model("video/codec_jpeg_tiny"), feed(), SETTINGS, tmp_path / "codec")
    with pytest.raises(UsageError, match="needs a feature network"):
        trained(tmp_path / "net", replace(SETTINGS, losses=Losses(perceptual=1.0)))
    with pytest.raises(UsageError, match="cannot judge motion"):
        trained(tmp_path / "dims", replace(SETTINGS, adversarial=Adversarial(dims=3)))


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not finite"):
        trained(
            tmp_path,
            replace(SETTINGS, losses=Losses(joints=1.0)),
            joints=lambda x: x / torch.zeros(()),
        )
