"""Diffusion transformers over whole grids: packing, joins, known parts, tokens of a tokenizer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import zoo
from zoo.denoiser import part_known
from zoo.errors import UsageError
from zoo.generator import Batch, Conditions, Decoding, Known, Space
from zoo.generators.latent_dit import LatentDit
from zoo.grammar import asked, examples
from zoo.layers.backbone import BackboneConfig
from zoo.layers.dit import cut, joined
from zoo.registry import preset


def built(name: str, **options: Any) -> LatentDit:
    torch.manual_seed(0)
    model = LatentDit(replace(preset(f"video/latent_dit_{name}").config, **options)).eval()
    torch.nn.init.normal_(model.network.leave.weight, std=0.1)
    return model


@pytest.mark.parametrize("patch", [(1, 1, 1), (1, 2, 2), (2, 1, 2)])
def test_patches_come_apart_and_together(patch: tuple[int, ...]) -> None:
    x = torch.randn(2, 4, 2, 6, 3)
    small = tuple(g // p for g, p in zip((4, 2, 6), patch, strict=True))
    pieces = cut(x, patch)
    assert torch.equal(joined(pieces, small, patch), x)
    corner = x[:, : patch[0], : patch[1], : patch[2]].flatten(1)
    assert torch.equal(pieces[:, 0], corner)


@pytest.mark.parametrize("serves", ["movie-gen"])
def test_movie_gen_learns_latents_of_a_tokenizer_and_decodes_samples(serves: str) -> None:
    torch.manual_seed(0)
    tokenizer = zoo.create("video/causal_cnn_kl_tiny")
    clip = torch.rand(2, 3, 5, 16, 16) * 2 - 1
    tokens = tokenizer.encode(clip)
    size = (5, 16, 16)
    config = preset("video/latent_dit_tiny").config
    model = LatentDit(replace(config, space=Space.of(tokenizer.spec, size)))
    model.bind(tokenizer.spec, size)
    model.check_tokens(tokens)
    (latents,) = tokens.streams.values()
    loss = model.loss(Batch(latents.float(), model.given(text=["one", "other"])))
    loss.backward()
    made = model.sample(1, decoding=Decoding(steps=2)).x
    frames = tokenizer.decode(replace(tokens, streams={next(iter(tokens.streams)): made}))
    assert bool(torch.isfinite(loss))
    assert frames.shape == clip[:1].shape
    assert serves in preset("video/latent_dit_moviegen.30b").serves


def test_goku_packs_pictures_beside_clips() -> None:
    """End to end without padding, each example is what it is alone."""
    model = built("packed_tiny")
    batch, _ = examples(model, 3, seed=0)
    lengths, time = torch.tensor([1, 3, 2]), torch.tensor([0.3, 0.6, 0.9])
    packed = model.predict(batch.x, time, batch.conditions, lengths)
    for row, length in enumerate(lengths):
        given = batch.conditions.select([row])
        alone = model.network(batch.x[row : row + 1, :length], time[row : row + 1], given)
        assert torch.allclose(packed[row, :length], alone[0], atol=1e-5)
    loss = model.loss(Batch(batch.x, batch.conditions, lengths))
    assert bool(torch.isfinite(loss))
    assert model.sample(1, frames=1).x.shape == (1, 1, 2, 2, 4)
    assert model.sample(1).x.shape == (1, 3, 2, 2, 4)


def test_packing_keeps_examples_apart() -> None:
    model = built("packed_tiny")
    x = torch.randn(2, 3, 2, 2, 4, requires_grad=True)
    model.predict(x, torch.rand(2), Conditions(), torch.tensor([2, 3]))[0, :2].sum().backward()
    assert x.grad is not None
    assert float(x.grad[0, :2].abs().sum()) > 0
    assert float(x.grad[0, 2:].abs().sum()) == float(x.grad[1].abs().sum()) == 0
    with pytest.raises(UsageError, match="carry their texts"):
        built("packed_tiny", backbone=BackboneConfig(48, 2, 2))


def test_vidu_samples_more_than_16_frames() -> None:
    model = built("skips_tiny")
    made = model.sample(1, model.given(text=["it leaps"]), Decoding(steps=2)).x
    assert made.shape[1] > 16
    assert all(skip.weight.shape[1] == 96 for skip in model.network.backbone.skips)


def test_repvideo_with_closed_gates_is_the_baseline() -> None:
    gathered, plain = built("gathered_tiny"), built("gathered_tiny", joins="plain")
    plain.load_state_dict(gathered.state_dict(), strict=False)
    x, time = torch.randn(2, 3, 2, 2, 4), torch.rand(2)
    assert torch.equal(
        gathered.predict(x, time, Conditions()), plain.predict(x, time, Conditions())
    )
    torch.nn.init.ones_(gathered.network.backbone.gates)
    assert not torch.allclose(
        gathered.predict(x, time, Conditions()), plain.predict(x, time, Conditions())
    )


def test_movement_that_is_hidden_is_not_seen() -> None:
    model = built("motion_tiny")
    x, time = torch.randn(2, 3, 2, 2, 6), torch.rand(2)
    other = torch.cat([x[..., :4], torch.randn(2, 3, 2, 2, 2)], dim=-1)
    one, two = (model.predict(model.without_motion(v), time, Conditions()) for v in (x, other))
    assert torch.equal(one, two)
    losses = model.losses(examples(model, 4, seed=0)[0])
    assert set(losses) == {"denoise", "motion"}


def test_places_at_time_zero_are_taken_as_they_are() -> None:
    model = built("tiny")
    x, time = torch.randn(2, 4, 2, 2, 4), torch.rand(2, 4, 2, 2)
    time[:, 0] = 0
    assert torch.equal(model.estimate(x, time, Conditions())[:, 0], x[:, 0])
    same = torch.full((2,), 0.4)
    whole = model.predict(x, same, Conditions())
    each = model.predict(x, same.view(2, 1, 1, 1).expand(2, 4, 2, 2), Conditions())
    assert torch.allclose(whole, each, atol=1e-5)


def test_known_places_are_not_learned_but_read() -> None:
    torch.manual_seed(0)
    mask = part_known((400, 4, 2, 2), 0.5, "cpu")
    some = mask.flatten(1).any(1).float().mean()
    assert 0.3 < float(some) < 0.55
    assert bool((mask.flatten(2).all(-1) | ~mask.flatten(2).any(-1)).all(1).any())
    model = built("tiny")
    motifs = torch.tensor([1])
    batch, _ = examples(model, 1, seed=1)
    known = torch.zeros(1, 4, 2, 2, dtype=torch.bool)
    known[:, :, 0] = True
    given = model.given(**asked(model, motifs))
    one = model.sample(1, given, Decoding(steps=2), known=Known(batch.x, known)).x
    other = model.sample(1, given, Decoding(steps=2), known=Known(batch.x + 1, known)).x
    assert not torch.allclose(one[:, :, 1], other[:, :, 1])


def test_walt_learns_pictures_beside_clips_in_windows() -> None:
    tokenizer = zoo.create("video/causal_cnn_kl_tiny")
    clip, picture = torch.rand(1, 3, 17, 8, 8), torch.rand(1, 3, 1, 8, 8)
    latents = [next(iter(tokenizer.encode(x).streams.values())).float() for x in (clip, picture)]
    space = Space.of(tokenizer.spec, (17, 8, 8))
    model = built("windows_tiny", space=space)
    x = torch.cat([latents[0], torch.zeros_like(latents[0])])
    x[1, :1] = latents[1][0]
    mixed = Batch(x, Conditions(), torch.tensor([5, 1]))
    model.loss(mixed).backward()
    other = x.clone()
    other[1, 1:] = 9.0
    time = torch.tensor([0.5, 0.5])
    one, two = (model.predict(v, time, Conditions(), mixed.lengths) for v in (x, other))
    assert torch.allclose(one[1, :1], two[1, :1], atol=1e-5)
    assert torch.allclose(model.predict(x[1:, :1], time[1:], Conditions()), one[1:, :1], atol=1e-5)


def test_hth_has_a_share_of_attention_that_is_configured() -> None:
    layers = list(preset("video/latent_dit_hth.2b").config.backbone.layers())
    assert layers.count("full") * 8 == len(layers)
    model = built("hybrid_tiny")
    batch, _ = examples(model, 2, seed=0)
    both = Batch(batch.x, batch.conditions, torch.tensor([1, 3]))
    assert bool(torch.isfinite(model.loss(both)))


def test_lingen_runs_at_twice_the_length_and_grows_in_line() -> None:
    model = built("linear_tiny")

    def saved(frames: int) -> int:
        """Bytes kept for the backward pass."""
        kept: list[int] = []
        x = torch.randn(1, frames, 2, 1, 4)

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            assert model.predict(x, torch.rand(1), Conditions()).shape == x.shape
        return sum(kept)

    once, twice, again = (saved(frames) for frames in (256, 512, 1024))
    assert (again - twice) < 2.2 * (twice - once)
