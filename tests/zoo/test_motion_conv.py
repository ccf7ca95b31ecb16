"""1D convolutional tokenizers of motion and actions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo import create, preset
from zoo.artefact import load
from zoo.errors import UsageError
from zoo.layers.normalise import Normalizer
from zoo.tokenizer import Tokenizer
from zoo.tokens import Tokens


def waves(frames: int, features: int, clips: int = 4, seed: int = 0) -> Tensor:
    """Smooth features in units that differ by orders of magnitude, as those of motion do."""
    dice = torch.Generator().manual_seed(seed)
    pace, phase = torch.rand(2, clips, 1, features, generator=dice)
    time = torch.arange(frames).view(1, -1, 1)
    scale = torch.logspace(-2, 1, features)
    return torch.sin(time * (0.1 + 0.3 * pace) + phase * math.tau) * scale + 5 * scale


def trained(name: str, clips: Tensor, steps: int = 60) -> Tokenizer:
    torch.manual_seed(0)
    tokenizer = create(name)
    tokenizer.fit_normalizer(clips)
    tokenizer.train()
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=2e-3)
    for _ in range(steps):
        losses = tokenizer(clips).losses
        weights = tokenizer.loss_weights
        total = torch.stack([weights.get(key, 1.0) * value for key, value in losses.items()]).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return tokenizer.eval()


def test_a_normaliser_gives_mean_0_and_deviation_1_and_goes_back() -> None:
    clips = waves(64, 6)
    normalizer = Normalizer((6,))
    normalizer.fit(clips)
    flat = normalizer(clips).flatten(0, 1)
    torch.testing.assert_close(flat.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalizer.back(normalizer(clips)), clips)


def test_clips_of_several_lengths_weigh_by_their_frames() -> None:
    short, long = torch.zeros(1, 2), torch.ones(3, 2)
    normalizer = Normalizer((2,))
    normalizer.fit([short, long])
    torch.testing.assert_close(normalizer.mean, torch.full((2,), 0.75))


def test_features_of_a_group_share_one_deviation() -> None:
    clips = waves(64, 4)
    alone, grouped = Normalizer((4,)), Normalizer((4,), groups=(1, 3))
    alone.fit(clips)
    grouped.fit(clips)
    assert grouped.deviation[0] == alone.deviation[0]
    torch.testing.assert_close(grouped.deviation[1:], alone.deviation[1:].mean().expand(3))


def test_a_feature_that_never_moves_is_not_amplified() -> None:
    normalizer = Normalizer((2,))
    normalizer.fit([torch.tensor([[0.0, 3.0], [1.0, 3.0]])])
    assert float(normalizer.deviation[1]) == 1.0


def test_groups_must_cover_all_features() -> None:
    with pytest.raises(UsageError, match="cover 3 features"):
        Normalizer((4,), groups=(1, 2))


def test_statistics_are_part_of_the_hash_and_of_the_artefact(tmp_path) -> None:
    tokenizer = create("motion/conv_vq_tiny")
    before = tokenizer.spec.hash
    tokenizer.fit_normalizer(waves(16, 24))
    assert tokenizer.spec.hash != before
    again = load(tokenizer.save(tmp_path))
    assert torch.equal(again.normalizer.deviation, tokenizer.normalizer.deviation)


@pytest.fixture(scope="module")
def residual() -> Tokenizer:
    """A residual tokenizer that has learned `waves(16, 24)`."""
    return trained("motion/conv_rvq_tiny", waves(16, 24))


def test_output_comes_in_the_units_of_the_input(residual: Tokenizer) -> None:
    clips, tokenizer = waves(16, 24), residual
    error = (tokenizer.decode(tokenizer.encode(clips)) - clips).square().mean((0, 1))
    assert bool((error < clips.var((0, 1))).all())


def test_more_residual_levels_come_closer(residual: Tokenizer) -> None:
    clips, tokenizer = waves(16, 24), residual
    tokens = tokenizer.encode(clips)
    errors = [
        float((tokenizer.decode(tokens.keep(count)) - clips).square().mean()) for count in (1, 4)
    ]
    assert errors[1] < errors[0]


def test_a_causal_stream_gives_the_ids_of_the_whole_take() -> None:
    tokenizer = create("motion/conv_rvq_causal_tiny")
    take = waves(75, 24, clips=1)
    streamed = Tokens.join(list(tokenizer.encode_stream(take.split(7, dim=1))))
    whole = tokenizer.encode(take)
    assert streamed.size == whole.size == (75,)
    assert torch.equal(streamed.ids, whole.ids)


def test_causal_latents_of_a_stream_are_those_of_the_whole_take() -> None:
    tokenizer = create("motion/conv_kl_causal_tiny")
    take = waves(50, 24, clips=1)
    parts = list(tokenizer.encode_stream(take.split(9, dim=1)))
    whole = tokenizer.encode(take)
    assert not tokenizer.spec.discrete
    assert whole.ids.shape == (1, 13, 4)
    assert torch.equal(Tokens.join(parts).ids, whole.ids)
    first = parts[0]
    assert torch.equal(tokenizer.decode(first), tokenizer.decode(whole)[:, : first.size[0]])


def test_the_latents_of_motion_streamer_have_the_published_width() -> None:
    spec = preset("motion/conv_kl_causal.motion_streamer").spec
    assert spec.streaming
    assert spec.stream("tokens").channels == 16
    assert spec.grid((196,)) == {"tokens": (49,)}


def test_a_model_that_looks_ahead_does_not_claim_to_stream() -> None:
    tokenizer = create("motion/conv_vq_tiny")
    assert not tokenizer.spec.streaming
    with pytest.raises(UsageError, match="whole clip"):
        next(tokenizer.encode_stream([waves(16, 24, clips=1)]))


@pytest.mark.parametrize(
    ("name", "features", "codes", "levels"),
    [
        ("motion/conv_vq.t2m_gpt", 263, 512, 1),
        ("motion/conv_vq.t2m_gpt_kit", 251, 512, 1),
        ("motion/conv_vq.mmm", 263, 8192, 1),
        ("motion/conv_rvq.momask", 263, 512, 6),
        ("motion/conv_fsq.motion_million", 272, 64_000, 1),
    ],
)
def test_full_size_presets_have_the_published_vocabulary(
    name: str, features: int, codes: int, levels: int
) -> None:
    spec = preset(name).spec
    assert spec.channels == features
    assert spec.stream("tokens").levels == (codes,) * levels
    assert spec.grid((196,)) == {"tokens": (49,)}


@pytest.mark.parametrize("system", ["mmm", "bamm"])
def test_a_generator_of_mmm_or_bamm_chooses_the_length_by_its_number_of_ids(system: str) -> None:
    tokenizer = create({"mmm": "motion/conv_vq_tiny", "bamm": "motion/conv_rvq_tiny"}[system])
    stream = tokenizer.spec.stream("tokens")
    for positions in (3, 11):
        shape = (1, positions, *((stream.trailing,) if stream.trailing else ()))
        ids = torch.randint(0, stream.levels[0], shape)
        made = tokenizer.decode(tokenizer.tokens({"tokens": ids}, (positions * 4,)))
        assert made.shape == (1, positions * 4, 24)


def test_ids_of_m2dm_lie_inside_the_codebook_one_to_four_frames() -> None:
    tokenizer = create("motion/conv_vq_tiny")
    ids = tokenizer.encode(waves(40, 24)).ids
    assert ids.shape == (4, 10)
    assert int(ids.min()) >= 0
    assert int(ids.max()) < 64


def test_tm2d_shares_one_codebook_between_dance_and_text_motion() -> None:
    dance, walk = waves(16, 24, seed=1), waves(16, 24, seed=2)
    tokenizer = trained("motion/conv_vq_tiny", torch.cat([dance, walk]))
    sets = [set(tokenizer.encode(clips).ids.flatten().tolist()) for clips in (dance, walk)]
    assert sets[0] & sets[1]
    for clips in (dance, walk):
        error = (tokenizer.decode(tokenizer.encode(clips)) - clips).square().mean((0, 1))
        assert float((error / clips.var((0, 1))).mean()) < 0.9


def test_vq_vla_decodes_action_chunks_below_the_stored_bound(tmp_path) -> None:
    synthetic, real = waves(8, 7, clips=3, seed=3), waves(8, 7, clips=3, seed=4) * 0.8
    chunks = torch.cat([synthetic, real])
    tokenizer = trained("action/conv_rvq_tiny", chunks)
    assert bool(tokenizer.error_bound.isinf().all()), "nothing is promised before measuring"
    before = tokenizer.spec.hash
    tokenizer.measure_bound(chunks)
    again = load(tokenizer.save(tmp_path))
    tokens = again.encode(chunks)
    assert again.spec.modality == "action"
    assert tokens.ids.shape == (6, 1, 4)
    errors = (again.decode(tokens) - chunks).abs()
    assert bool((errors <= again.error_bound).all())
    assert bool((again.error_bound < 3 * chunks.std((0, 1))).all()), "a bound that says something"
    assert again.spec.hash == before
