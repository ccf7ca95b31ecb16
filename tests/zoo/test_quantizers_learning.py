"""How codebooks learn: averages, resets, accumulation over micro-batches, several ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers import (
    KL,
    Centroids,
    Continuous,
    Factorised,
    Lfq,
    Quantizer,
    Rvq,
    Stochastic,
    Vocabulary,
    Vq,
    build,
    hold_updates,
)
from zoo.layers.quantizers._ranks import mean_over_ranks
from zoo.layers.quantizers._search import kmeans, nearest

LEARNING = {
    "vq": Vq(dim=6, size=24),
    "vq_learned": Vq(dim=6, size=24, learned=True),
    "rvq_shared": Rvq(dim=6, size=8, depth=2, shared=True),
    "continuous": Continuous(dim=6, channels=3, normalise=True),
}
ENTROPIC = {"lfq": Lfq(dim=6, bits=5, temperature=1.0)}


def rows(count: int, seed: int, dim: int = 6) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


# Ranks get unlike numbers of rows, but for the last batch: sums must weigh rows, not ranks.
BATCHES = [rows(64, seed).split(cut) for seed, cut in enumerate(([5, 59], [40, 24], [32, 32]))]


def built(name: str) -> Quantizer:
    torch.manual_seed(0)
    return build(LEARNING[name]).train()


def same_state(one: Quantizer, other: Quantizer) -> None:
    for (key, value), again in zip(
        one.state_dict().items(), other.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, again, msg=lambda text, key=key: f"{key}: {text}")


def test_the_nearest_code_is_found_exactly() -> None:
    table, z = rows(300, 1, 7), rows(500, 2, 7)
    expected = (z[:, None].double() - table.double()).square().sum(-1).argmin(-1)
    assert torch.equal(nearest(z, table), expected)


def test_near_ties_do_not_depend_on_the_batch() -> None:
    """Codes a rounding apart, far from the origin, where products of matrices lose all digits."""
    centre = torch.full((1, 16), 100.0)
    table = centre + 1e-3 * rows(3, 1, 16)
    z = centre + 1e-3 * rows(400, 2, 16)
    together = nearest(z, table)
    assert torch.equal(together, torch.cat([nearest(row, table) for row in z.split(1)]))
    assert torch.equal(together, (z[:, None] - table).double().square().sum(-1).argmin(-1))


def test_an_average_is_the_one_of_the_paper() -> None:
    quantizer = build(Vq(dim=6, size=4, decay=0.9, kmeans_iterations=0, dead_below=0.0)).train()
    book = quantizer.codebook
    z, before = rows(50, 3), book.codes.clone()

    ids = quantizer(z.requires_grad_()).ids

    one_hot = torch.nn.functional.one_hot(ids, 4).float()
    counts = 0.9 * torch.ones(4) + 0.1 * one_hot.sum(0)
    sums = 0.9 * before + 0.1 * one_hot.T @ z.detach()
    torch.testing.assert_close(book.codes, sums / counts[:, None])


def test_the_first_training_batch_starts_the_codebook() -> None:
    z = rows(8, 1).repeat_interleave(40, 0) + 0.01 * rows(320, 2)
    quantizer = build(Vq(dim=6, size=8))

    quantizer.eval()(z)
    assert not quantizer.codebook.started
    quantizer.train()(z)

    assert quantizer.codebook.started
    assert float((quantizer.eval()(z).values - z).square().mean()) < 0.001


@pytest.mark.parametrize("learned", [False, True])
def test_dead_codes_are_revived(learned: bool) -> None:
    quantizer = build(
        Vq(dim=6, size=32, learned=learned, decay=0.9, kmeans_iterations=0, dead_below=0.1)
    ).train()
    with torch.no_grad():
        quantizer.codebook.codes[1:] += 100.0

    for step in range(60):
        used = quantizer(rows(256, step).requires_grad_()).ids

    assert used is not None
    assert len(used.unique()) >= 28


def test_codes_in_use_are_left_alone() -> None:
    quantizer = build(Vq(dim=6, size=8, learned=True, kmeans_iterations=0)).train()
    before = quantizer.codebook.codes.detach().clone()
    for step in range(5):
        quantizer(rows(256, step))
    assert torch.equal(quantizer.codebook.codes, before)


def test_kmeans_leaves_no_centre_empty() -> None:
    samples = torch.cat([torch.zeros(90, 2), rows(10, 4, 2) + 50.0])
    centres = kmeans(samples, 8, iterations=10)
    assert len(nearest(samples, centres).unique()) == 8


@pytest.mark.parametrize("name", LEARNING)
def test_micro_batches_count_as_one_batch(name: str) -> None:
    start, z = rows(64, 1), rows(48, 2)
    joint, split = built(name), built(name)
    for quantizer in (joint, split):
        quantizer(start)
    split.load_state_dict(joint.state_dict())

    joint(z)
    with hold_updates(split):
        split(z[:16])
        split(z[16:32])
    split(z[32:])

    same_state(joint, split)


def test_held_codebooks_do_not_move() -> None:
    quantizer = built("vq")
    quantizer(rows(64, 1))
    before = quantizer.codebook.codes.clone()
    with hold_updates(quantizer):
        quantizer(rows(64, 2))
    assert torch.equal(quantizer.codebook.codes, before)
    assert not quantizer.codebook.holding


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes learned, each from its part of `BATCHES`."""
    folder = tmp_path_factory.mktemp("ranks")
    configs = {name: config.to_json() for name, config in {**LEARNING, **ENTROPIC}.items()}
    (folder / "configs.json").write_text(json.dumps(configs))
    torch.save(BATCHES, folder / "batches")
    script = Path(__file__).with_name("quantizer_rank.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    running = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(folder)], env=environment)
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    return folder


@pytest.mark.parametrize("name", LEARNING)
def test_two_ranks_learn_what_one_learns_from_the_joint_batch(ranks: Path, name: str) -> None:
    (first, _), (second, _) = (
        torch.load(ranks / f"{name}.{rank}", weights_only=True) for rank in (0, 1)
    )
    alone = built(name)
    for parts in BATCHES:
        alone(torch.cat(parts))

    for key, value in alone.state_dict().items():
        torch.testing.assert_close(first[key], value)
        assert torch.equal(first[key], second[key])


def test_the_entropy_of_two_ranks_is_that_of_the_joint_batch(ranks: Path) -> None:
    (_, first), (_, second) = (
        torch.load(ranks / f"lfq.{rank}", weights_only=True) for rank in (0, 1)
    )
    torch.manual_seed(0)
    alone = build(ENTROPIC["lfq"]).train()
    alone(torch.cat(BATCHES[-1])).losses["entropy"].backward()

    expected = [p.grad for p in alone.parameters() if p.grad is not None]
    assert len(expected) == 2
    for one, other, joint in zip(first, second, expected, strict=True):
        torch.testing.assert_close((one + other) / 2, joint)


def test_one_process_needs_no_group() -> None:
    z = rows(4, 1)
    assert mean_over_ranks(z) is z


def test_dropped_levels_leave_the_first() -> None:
    torch.manual_seed(0)
    config = Rvq(dim=6, size=8, depth=4, dropout=1.0, learned=True, kmeans_iterations=0)
    quantizer = build(replace(config, dead_below=0.0)).train()
    z = rows(200, 1).reshape(20, 10, 6)

    values, ids = quantizer(z).values, quantizer.eval().encode(z)

    kept = [
        next(k for k in range(1, 5) if torch.allclose(quantizer.decode(i, levels=k), v, atol=1e-5))
        for i, v in ((ids[clip : clip + 1], values[clip : clip + 1]) for clip in range(20))
    ]
    assert set(kept) == {1, 2, 3, 4}


def test_deeper_levels_lower_the_error() -> None:
    quantizer = build(Rvq(dim=6, size=16, depth=4)).train()
    for step in range(10):
        quantizer(rows(512, step))
    z = rows(512, 100)
    ids = quantizer.eval().encode(z)
    errors = [float((quantizer.decode(ids, levels=k) - z).square().mean()) for k in range(1, 5)]
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.5 * errors[0]


def test_stochastic_codes_are_drawn_in_training_only() -> None:
    quantizer = build(Stochastic(dim=6, size=16, temperature=0.5, kmeans_iterations=0))
    z = rows(200, 1)
    quantizer.train()
    assert not torch.equal(quantizer(z).ids, quantizer(z).ids)
    quantizer.eval()
    assert torch.equal(quantizer(z).ids, quantizer(z).ids)


def test_disentangling_turns_codes_orthogonal() -> None:
    quantizer = build(Factorised(dim=6, size=8, code_dim=4)).train()
    optimizer = torch.optim.Adam(quantizer.codebooks.parameters(), 0.05)
    z, losses = rows(128, 1), []
    for _ in range(40):
        losses.append(quantizer(z).losses["disentangle"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


def test_what_must_be_given_first_says_so() -> None:
    vocabulary, centroids = build(Vocabulary(dim=6, size=8)), build(Centroids(dim=6, size=8))
    with pytest.raises(UsageError, match="no words yet"):
        vocabulary.encode(rows(4, 1))
    with pytest.raises(UsageError, match="embeddings of shape"):
        vocabulary.load_words(torch.zeros(7, 6))
    with pytest.raises(UsageError, match="not fitted"):
        centroids.encode(rows(4, 1))
    with pytest.raises(UsageError, match="7 samples for 8"):
        centroids.fit(rows(7, 1))


def test_words_never_move() -> None:
    quantizer = build(Vocabulary(dim=6, size=8)).train()
    words = rows(8, 3)
    quantizer.load_words(words)
    quantizer(rows(64, 1).requires_grad_())
    assert torch.equal(quantizer.words, words)
    assert torch.equal(quantizer.decode(torch.arange(8)[None])[0], words)


def test_fitted_centroids_serve_samples_better_than_samples_do() -> None:
    samples = rows(2000, 2)
    quantizer = build(Centroids(dim=6, size=32))
    picked, fitted = quantizer.fit(samples, iterations=0), quantizer.fit(samples)
    assert fitted < 0.8 * picked
    assert len(quantizer.encode(samples).unique()) == 32


def test_running_statistics_standardise_the_latents() -> None:
    quantizer = build(KL(dim=6, channels=3, normalise=True, momentum=0.1))
    z = 7.0 * rows(4000, 1) + 3.0
    quantizer.train()(z)
    quantizer.eval()

    quantizer.measure(z.split(300))

    stored = quantizer.encode(z)
    torch.testing.assert_close(stored.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(stored.std(0), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(quantizer.decode(stored), quantizer(z).values)


def test_samples_repeat_with_their_seed() -> None:
    quantizer, z = build(KL(dim=6, channels=3)), rows(50, 1)
    assert torch.equal(quantizer.sample(z, seed=4), quantizer.sample(z, seed=4))
    assert not torch.equal(quantizer.sample(z, seed=4), quantizer.sample(z, seed=5))
    draws = torch.stack([quantizer.sample(z, seed=seed) for seed in range(400)])
    assert float((draws.mean(0) - quantizer.encode(z)).abs().max()) < 0.3
