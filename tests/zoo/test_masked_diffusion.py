"""Sets of values behind masks: what is hidden stays hidden, blocks in steps are the full pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import zoo
from zoo.errors import UsageError
from zoo.generator import Batch, Decoding, Known, Space
from zoo.generators.masked_diffusion import MaskedDiffusion, _Reader
from zoo.grammar import examples
from zoo.layers.backbone import BackboneConfig
from zoo.layers.dit import cut
from zoo.registry import preset
from zoo.tokenizer import State
from zoo.training.humanml import ESSENTIAL, humanml_joints

FRAMES, WHOLE = "video/masked_diffusion_frames_tiny", "motion/masked_diffusion_tiny"


def built(name: str, **options: Any) -> MaskedDiffusion:
    torch.manual_seed(0)
    model = MaskedDiffusion(replace(preset(name).config, **options)).eval()
    for layer in (model.head.leave, *(block.modulation for block in model.head.blocks)):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return model


@pytest.mark.parametrize("block", [1, 2])
def test_nova_frames_after_kept_ones_are_told_what_the_full_pass_tells(block: int) -> None:
    space = Space("video", (4, 2, 2), channels=4)
    model = built(FRAMES, space=space, block=block)
    batch, _ = examples(model, 2, seed=0)
    patches, valid = cut(batch.x, model.patch), torch.ones(2, 16, dtype=torch.bool)
    hidden = torch.rand(2, 16) < 0.6
    whole = model.told(patches, hidden, batch.x, batch.conditions, valid)
    state, each = State(), 4 * block
    for first in range(0, 16, each):
        part = slice(first, first + each)
        positions = model.positions(batch.x)[part]
        reader = _Reader(model, positions, (), batch.conditions, 1, valid[:, part], state)
        told = reader.told(patches[:, part], hidden[:, part])[0]
        assert torch.allclose(told, whole[:, part], atol=1e-5)
        reader.keep(patches[:, part])


def test_nova_frames_see_no_later_frame_and_nothing_hidden() -> None:
    model = built(FRAMES)
    batch, _ = examples(model, 1, seed=0)
    patches = cut(batch.x, model.patch).requires_grad_()
    hidden = torch.zeros(1, 12, dtype=torch.bool)
    hidden[:, 5:7] = True
    valid = torch.ones_like(hidden)
    told = model.told(patches, hidden, batch.x, batch.conditions, valid)
    (felt,) = torch.autograd.grad(told[:, 4:8].square().sum(), patches)
    seen = felt.abs().sum(-1)[0] > 0
    assert seen.tolist() == [True] * 5 + [False, False, True] + [False] * 4


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_nova_draws_in_any_number_of_sets(steps: int) -> None:
    model = built(FRAMES)
    batch, _ = examples(model, 2, seed=0)
    passes: list[int] = []
    model.network.register_forward_hook(lambda *_: passes.append(1))
    made = model.sample(2, batch.conditions, Decoding(steps=steps)).x
    assert bool(torch.isfinite(made).all())
    # Sets of four places, never an empty one; each finished frame is read once more.
    assert len(passes) == 3 * (min(steps, 4) + 1)


def test_nova_learns_latents_of_a_tokenizer_and_decodes_samples() -> None:
    tokenizer = zoo.create("video/causal_cnn_kl_tiny")
    size = (5, 16, 16)
    tokens = tokenizer.encode(torch.rand(2, 3, *size) * 2 - 1)
    model = built(FRAMES, space=Space.of(tokenizer.spec, size)).bind(tokenizer.spec, size)
    model.check_tokens(tokens)
    ((stream, latents),) = tokens.streams.items()
    model.loss(Batch(latents.float(), model.given(text=["one", "other"]))).backward()
    made = model.sample(1, decoding=Decoding(steps=2)).x
    assert tokenizer.decode(replace(tokens, streams={stream: made})).shape == (1, 3, *size)


def test_mardm_samples_any_subset_of_latents_of_essential_features() -> None:
    features = torch.randn(1, 64, 263)
    assert torch.equal(humanml_joints(features), humanml_joints(features[..., ESSENTIAL]))
    template = zoo.create("motion/conv_kl_causal_tiny")
    tokenizer = type(template)(replace(template.config, features=67)).eval()
    tokens = tokenizer.encode(features[..., ESSENTIAL])
    ((_, latents),) = tokens.streams.items()
    model = built(WHOLE, space=Space.of(tokenizer.spec, (64,)))
    mask = torch.rand(1, latents.shape[1]) < 0.5
    x = latents.float()
    one = model.sample(1, known=Known(x, mask), seed=3).x
    other = model.sample(1, known=Known(x + mask.unsqueeze(-1), mask), seed=3).x
    assert torch.equal(one[mask], x[mask])
    assert not torch.allclose(one[~mask], other[~mask])


def test_guidance_of_one_is_none_and_more_pushes() -> None:
    model = built(WHOLE)
    given = model.given(label=[1, 2])
    told = model.told(
        cut(torch.zeros(2, 12, 4), (1,)),
        torch.ones(2, 12, dtype=torch.bool),
        torch.zeros(2, 12, 4),
        given,
        torch.ones(2, 12, dtype=torch.bool),
    )
    noise = torch.randn(24, 4)
    plain = model._denoised(noise, told.flatten(0, 1)[None], 1.0)
    same = model._denoised(noise, torch.stack([told.flatten(0, 1)] * 2), 3.0)
    assert torch.allclose(plain, same, atol=1e-5)
    free = model.sample(2, given, Decoding(guidance=0.0), seed=1).x
    unasked = model.sample(2, decoding=Decoding(), seed=1).x
    assert torch.allclose(free, unasked, atol=1e-5)


def test_padding_is_neither_learned_nor_read() -> None:
    model = built(WHOLE)
    batch, _ = examples(model, 2, seed=0)
    lengths = torch.tensor([12, 5])
    other = batch.x.clone()
    other[1, 5:] = 9.0
    losses = []
    for x in (batch.x, other):
        torch.manual_seed(1)
        losses.append(model.losses(Batch(x, batch.conditions, lengths))["denoise"])
    assert torch.equal(losses[0], losses[1])


def test_blocks_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(UsageError, match="blocks of frames do not fit"):
        built(FRAMES, backbone=BackboneConfig(48, 2, 2, mixers=("space", "time")))
