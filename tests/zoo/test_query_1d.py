"""1D tokens: published counts, prefixes that decode, and errors that fall with them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers import KL
from zoo.layers.token_learner import TokenLearner
from zoo.prefixes import prefix_errors, tokens_for_error
from zoo.registry import create, preset
from zoo.tokenizer import Tokenizer
from zoo.tokenizers.query_1d import Query1d

LENGTHS = (1, 2, 4, 8)
STEPS = 240


def narrow(name: str) -> Tokenizer:
    """The full-size preset with few channels and layers: its tokens and sizes are its own."""
    entry = preset(name)
    small = {"width": 32, "heads": 2, "depth": 1}
    config = replace(
        entry.config,
        **small,
        **{f"decoder_{key}": value for key, value in small.items()},
        decoder_steps=2,
        prior_width=32 if entry.config.prior_width else 0,
    )
    torch.manual_seed(0)
    return entry.family(config).eval()


def pictures(count: int = 16, side: int = 16) -> Tensor:
    """Pictures of four quarters, each bright or dark in its own way: no two are alike."""
    dice = torch.Generator().manual_seed(0)
    quarters = torch.rand(count, 3, 1, 2, 2, generator=dice) * 2 - 1
    return quarters.repeat_interleave(side // 2, 3).repeat_interleave(side // 2, 4)


@cache
def trained(name: str) -> Tokenizer:
    """A nested tokenizer after a short training on `pictures`."""
    torch.manual_seed(0)
    tokenizer = create(name).train()
    x = pictures()
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=4e-3, betas=(0.9, 0.99), fused=True)
    for step in range(STEPS):
        torch.manual_seed(step)
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, 2 * (1 - step / STEPS))
        made = tokenizer(x)
        losses = made.losses
        loss = (made.output - x).square().mean() + 0.1 * losses.get("commitment", torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tokenizer.eval()


@pytest.mark.parametrize("name", ["one_d_piece", "flextok", "semanticist"])
def test_the_error_falls_with_the_length_of_the_prefix(name: str) -> None:
    tokenizer, x = trained(f"image/{name}_tiny"), pictures()
    tokens = tokenizer.encode(x)
    errors = [float(prefix_errors(tokenizer, tokens, x, count).mean()) for count in LENGTHS]
    assert all(more <= fewer * 1.05 for fewer, more in itertools.pairwise(errors)), errors
    assert errors[-1] < 0.75 * errors[0], errors


def test_one_d_piece_names_the_tokens_that_a_target_error_takes() -> None:
    tokenizer, x = trained("image/one_d_piece_tiny"), pictures()[:4]
    tokens = tokenizer.encode(x)
    full = prefix_errors(tokenizer, tokens, x, 8)
    target = float(full.max()) * 1.5
    counts, errors = tokens_for_error(tokenizer, x, target)
    assert counts.shape == errors.shape == (4,)
    assert bool((errors <= target).all())
    for i, count in enumerate(counts.tolist()):
        clip = tokens.select(slice(i, i + 1))
        measured = prefix_errors(tokenizer, clip, x[i : i + 1], count)[0]
        torch.testing.assert_close(measured, errors[i])
    easy, _ = tokens_for_error(tokenizer, x, 100.0)
    assert easy.tolist() == [1, 1, 1, 1]
    hopeless, missed = tokens_for_error(tokenizer, x, 1e-12)
    assert hopeless.tolist() == [8, 8, 8, 8]
    torch.testing.assert_close(missed, full)
    with pytest.raises(UsageError, match="aimed"):
        tokens_for_error(tokenizer, x, 0.0)


def test_tokens_are_dropped_in_training_and_never_in_eval() -> None:
    torch.manual_seed(0)
    tokenizer, x = create("image/one_d_piece_tiny"), pictures(4)
    whole = tokenizer(x).output.clamp(-1, 1)
    torch.testing.assert_close(whole, tokenizer.decode(tokenizer.encode(x)), atol=1e-5, rtol=0)
    tokenizer.train()(x)
    drawn = [tokenizer(x).output for _ in range(2)]
    assert not torch.allclose(*drawn)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("image/flextok_b_256.k64000", 64000),
        ("image/one_d_piece_l_256.k4096", 4096),
        ("image/semanticist_b_256.ch16", 0),
    ],
)
def test_256_ordered_tokens_of_a_256x256_image_decode_from_any_prefix(
    name: str, codes: int
) -> None:
    tokenizer = narrow(name)
    x = pictures(1, 256)
    tokens = tokenizer.encode(x)
    stream = tokens.spec.streams[0]
    assert tokens.grid == (1, 256)
    assert stream.ordered == "n"
    assert stream.levels == ((codes,) if codes else ())
    for count in (1, 37, 256):
        assert tokenizer.decode(tokens.keep(count)).shape == x.shape


@pytest.mark.parametrize("name", ["flextok", "semanticist"])
def test_causal_tokens_do_not_see_those_behind_them(name: str) -> None:
    torch.manual_seed(0)
    encoder = create(f"image/{name}_tiny").encoder
    x = pictures(1)
    before = encoder(x)
    with torch.no_grad():
        encoder.queries[:, 5] += 1
    moved = (encoder(x) - before).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [False] * 5 + [True] * 3


def test_larp_gives_1024_holistic_ids_and_a_finite_prior_loss() -> None:
    tokenizer = narrow("video/larp_l_1024.k8192")
    x = torch.rand(1, 3, 16, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = tokenizer.encode(x)
    assert tokens.grid == (1, 1024)
    assert int(tokens.ids.max()) < 8192
    assert tokenizer.decode(tokens).shape == x.shape
    losses = tokenizer.eval()(x).losses
    assert 0 < float(losses["prior"].detach()) < 20
    losses["prior"].backward()
    gradient = tokenizer.encoder.queries.grad
    assert float(gradient.abs().max()) > 0, "the prior shapes the encoder"


def test_larp_draws_codes_in_training_and_never_in_eval() -> None:
    torch.manual_seed(0)
    tokenizer = create("video/larp_tiny")
    x = torch.rand(1, 3, 4, 16, 16) * 2 - 1
    assert torch.equal(tokenizer(x).ids["tokens"], tokenizer(x).ids["tokens"])
    assert torch.equal(tokenizer(x).ids["tokens"], tokenizer.encode(x).ids)
    tokenizer.train()(x)
    drawn = [tokenizer(x).ids["tokens"] for _ in range(8)]
    assert any(not torch.equal(drawn[0], other) for other in drawn)


@pytest.mark.parametrize(
    ("name", "published"), [("video/larp_l_1024.k8192", 173e6), ("image/titok_b_64.k4096", 172e6)]
)
def test_published_sizes(name: str, published: float) -> None:
    entry = preset(name)
    with torch.device("meta"):
        model = entry.family(entry.config)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(published, rel=0.15)


def test_divot_gives_floats_and_draws_a_clip_of_equal_shape() -> None:
    tokenizer = narrow("video/divot_b_64.ch64")
    x = torch.rand(1, 3, 16, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = tokenizer.encode(x)
    assert tokens.ids.is_floating_point()
    assert tokens.ids.shape == (1, 1, 64, 64)
    back = tokenizer.decode(tokens, seed=1)
    assert back.shape == x.shape
    assert torch.equal(back, tokenizer.decode(tokens, seed=1))
    assert not torch.equal(back, tokenizer.decode(tokens, seed=2))


def test_a_long_clip_is_window_after_window() -> None:
    torch.manual_seed(0)
    tokenizer = create("video/larp_tiny")
    x = torch.rand(1, 3, 10, 16, 16) * 2 - 1
    tokens = tokenizer.encode(x)
    assert tokens.grid == (3, 8)
    assert torch.equal(tokenizer.encode(x[:, :, 4:8]).ids, tokens.ids[:, 1:2])
    assert tokenizer.decode(tokens).shape == x.shape
    assert tokenizer(x[:, :, :8]).ids["tokens"].shape == (1, 2, 8)


def test_the_prior_is_no_part_of_what_decides_ids() -> None:
    config = preset("video/larp_tiny").config
    torch.manual_seed(0)
    one = Query1d(config)
    other = Query1d(replace(config, prior_width=64))
    for part in ("encoder", "quantizer"):
        getattr(other, part).load_state_dict(getattr(one, part).state_dict())
    assert one.spec.hash == other.spec.hash


def test_impossible_configurations_are_refused() -> None:
    config = preset("video/larp_tiny").config
    with pytest.raises(UsageError, match="prior"):
        Query1d(replace(config, quantizer=KL(dim=32, channels=4)))
    with pytest.raises(UsageError, match="order"):
        replace(config, causal=True, reader="pool")


def test_pooled_tokens_are_means_of_places() -> None:
    torch.manual_seed(0)
    pool = TokenLearner(8, 3)
    same = torch.ones(2, 10, 8)
    torch.testing.assert_close(pool(same), torch.ones(2, 3, 8))
    x = torch.randn(2, 10, 8)
    torch.testing.assert_close(pool(x), pool(x[:, torch.randperm(10)]))
