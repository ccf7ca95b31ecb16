"""The text-motion evaluator: it learns which text belongs to which motion, and keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.errors import InputError, UnsafeFileError, UsageError
from zoo.evaluators.text_motion import Config, Pairs, TextMotion, fit_evaluator, load_evaluator
from zoo.metrics import RPrecision
from zoo.training.settings import Training

FEATURES, FRAMES = 6, 16
PACES = ("slowly", "calmly", "briskly", "fast", "madly", "never", "twice", "thrice")
WAYS = ("up", "down", "left", "right", "around")
TINY = Config(FEATURES, patch=4, dim=32, depth=1, heads=2, space=16)


def grammar(seed: int) -> tuple[list[Tensor], list[str]]:
    """One motion of each of 40 texts: the pace decides a frequency, the way a channel."""
    dice = torch.Generator().manual_seed(seed)
    time, motions, texts = torch.arange(FRAMES) / FRAMES, [], []
    for number, pace in enumerate(PACES):
        for channel, way in enumerate(WAYS):
            motion = 0.1 * torch.randn(FRAMES, FEATURES, generator=dice)
            motion[:, channel] += 2 + torch.sin(time * (number + 1))
            motion[:, -1] += number
            motions.append(motion[: FRAMES - number % 3])
            texts.append(f"it goes {way} {pace}")
    return motions, texts


def precision(model: TextMotion, motions: list[Tensor], texts: list[str]) -> list[float]:
    metric = RPrecision(model.identity, batch=32)
    metric.update(model.texts(texts), model.motions(motions))
    return [measured.value for measured in metric.measurements()]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    motions, texts = grammar(0)
    torch.manual_seed(0)
    model = TextMotion(TINY)
    model.fit_normalizer(motions)
    settings = Training(
        steps=60, batch=40, learning_rate=2e-2, warmup_steps=5, save_every=60, ema_decay=0
    )
    feed = Pairs(motions, [[text] for text in texts], batch=40)
    folder = tmp_path_factory.mktemp("judge")
    return fit_evaluator(model, feed, settings, folder, device="cpu", progress=False).folder


def test_a_trained_evaluator_matches_unseen_motions(judge: Path) -> None:
    model = load_evaluator(judge)
    motions, texts = grammar(1)
    first, _, third = precision(model, motions, texts)
    assert first >= 95
    assert third == 100
    assert model.sha256[:12] in model.identity


def test_shuffled_texts_are_matched_by_chance(judge: Path) -> None:
    motions, texts = grammar(1)
    first, _, third = precision(load_evaluator(judge), motions, texts[7:] + texts[:7])
    assert first < 15
    assert third < 30


def test_neither_padding_nor_company_changes_a_vector(judge: Path) -> None:
    model = load_evaluator(judge)
    motions, texts = grammar(2)
    together = model.motions(motions)
    alone = torch.cat([model.motions([motion]) for motion in motions[:6]])
    torch.testing.assert_close(together[:6], alone, rtol=0, atol=1e-5)
    words = model.texts([texts[0], f"{texts[1]} and then on and on and on"])
    torch.testing.assert_close(words[:1], model.texts(texts[:1]), rtol=0, atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(len(together)))


def test_texts_that_are_equal_are_no_negatives() -> None:
    torch.manual_seed(0)
    model = TextMotion(TINY)
    batch = next(iter(Pairs(grammar(0)[0][:4], [["same words"]] * 4, batch=4)))
    assert model(batch).detach() == pytest.approx(0, abs=1e-6)


def test_what_does_not_fit_is_refused(judge: Path, tmp_path: Path) -> None:
    model = load_evaluator(judge)
    with pytest.raises(InputError, match="motions of 3 features"):
        model.motions([torch.zeros(8, 3)])
    with pytest.raises(UsageError, match="do not fill a batch"):
        Pairs([torch.zeros(8, 6)], [["a"]], batch=2)
    with pytest.raises(UsageError, match="a list of one text or more"):
        Pairs([torch.zeros(8, 6)], [[]], batch=1)
    copy = model.save(tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UnsafeFileError, match="are not the ones"):
        load_evaluator(copy)


def test_the_feed_goes_on_where_it_was_and_is_shared() -> None:
    motions, texts = grammar(0)

    def feed() -> Pairs:
        return Pairs(motions, [[text] for text in texts], batch=8, longest=10)

    first = feed()
    batches = iter(first)
    next(batches)
    state = first.state_dict()
    expected = next(batches)
    again = feed()
    again.load_state_dict(state)
    assert torch.equal(next(iter(again)).features, expected.features)
    assert int(expected.lengths.max()) == 10
    halves = [next(iter(feed().shard(rank, 2))).features for rank in range(2)]
    assert torch.equal(torch.cat(halves), next(iter(feed())).features)
