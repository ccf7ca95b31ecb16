"""Codes that carry a teacher's knowledge: TokenFlow, ImageFolder, VQ-KD."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo import create
from zoo.errors import SpecMismatchError, UsageError
from zoo.layers.teachers import DctTeacher, distance
from zoo.metrics import CodebookUse
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.semantic_dual import SemanticDual
from zoo.tokenizers.teacher_codes import TeacherCodes

NARROW = {
    "semantic_width": 32,
    "semantic_heads": 2,
    "semantic_depth": 1,
    "width": 8,
    "blocks": 1,
    "decoder_width": 8,
    "decoder_blocks": 1,
}


def narrow(name: str) -> SemanticDual:
    torch.manual_seed(0)
    config = preset(name).config
    if hasattr(config.quantizer, "size"):
        config = replace(config, quantizer=replace(config.quantizer, size=64))
    return SemanticDual(replace(config, **NARROW)).eval()


def test_tokenflow_looks_one_id_up_in_both_codebooks() -> None:
    tokenizer = narrow("image/tokenflow_16.k32768")
    x = clips(1, 1, 384)
    tokens = tokenizer.encode(x)
    assert tokens.ids.shape == (1, 1, 24, 24)
    assert tokenizer.decode(tokens).shape == x.shape
    assert tokenizer.embed(tokens).shape == (1, 1, 24, 24, 1152)
    assert preset("image/tokenflow_16.k32768").spec.streams[0].levels == (32768,)


def test_tokenflow_decodes_the_pixel_half_and_embeds_the_semantic_half() -> None:
    tokenizer = narrow("image/tokenflow_16.k32768")
    tokens = tokenizer.encode(clips(1, 1, 64))
    picture, meaning = tokenizer.decode(tokens), tokenizer.embed(tokens)
    codes = tokenizer.quantizer.codebook.codes
    semantic = tokenizer.config.parts[0]
    with torch.no_grad():
        codes[:, semantic:] = codes[:, semantic:].roll(1, 0)
    moved = tokenizer.tokens(tokens.streams, tokens.size)
    assert torch.equal(tokenizer.embed(moved), meaning)
    assert not torch.equal(tokenizer.decode(moved), picture)
    with torch.no_grad():
        codes[:, :semantic] = codes[:, :semantic].roll(1, 0)
    assert not torch.equal(tokenizer.embed(tokenizer.tokens(tokens.streams, tokens.size)), meaning)


def test_imagefolder_gives_a_semantic_and_a_detail_id_at_every_position() -> None:
    tokenizer = narrow("image/imagefolder_16.k4096")
    tokens = tokenizer.encode(clips(1, 1, 256))
    assert tokens.ids.shape == (1, 1, 16, 16, 2)
    assert tokenizer.spec.streams[0].levels == (4096, 4096)
    changed = tokens.ids.clone()
    changed[..., 1] = (changed[..., 1] + 1) % 4096
    other = tokenizer.tokens({"tokens": changed}, tokens.size)
    assert torch.equal(tokenizer.embed(other), tokenizer.embed(tokens)), "details say nothing"
    assert not torch.equal(tokenizer.decode(other), tokenizer.decode(tokens))


def test_a_semantic_half_learns_what_the_teacher_sees() -> None:
    torch.manual_seed(0)
    x = clips(2, 1, 16)
    tokenizer = create("image/semantic_folded_tiny")
    wanted = DctTeacher(12)(x, (4, 4))
    before = float(distance(tokenizer.embed(tokenizer.encode(x)), wanted))
    learned(tokenizer, x, goal=0.1, steps=80)
    assert float(distance(tokenizer.embed(tokenizer.encode(x)), wanted)) < before / 3


def test_vq_kd_reconstructs_its_teacher_reports_use_and_draws_from_ids() -> None:
    torch.manual_seed(0)
    x = clips(2, 2, 16)
    tokenizer = create("image/teacher_codes_tiny")
    teacher = RandomFeatures(12)
    tokenizer.learn_from(teacher)
    learned(tokenizer, x, goal=0.1, steps=80)
    tokens = tokenizer.encode(x)
    assert tokens.ids.shape == (2, 2, 4, 4), "ids of every frame"
    assert float(distance(tokenizer.features(tokens), teacher(x, (4, 4)))) < 0.2
    meter = CodebookUse.of(tokenizer.quantizer)
    meter.update(tokens.ids)
    assert 8 < (meter.counts() > 0).sum() <= 64
    assert functional.mse_loss(tokenizer.decode(tokens), x) < x.var() / 2


def test_pixels_do_not_shape_the_codes_of_vq_kd() -> None:
    tokenizer = create("image/teacher_codes_tiny").train()
    x = clips(1, 1, 16)
    made = tokenizer(x)
    assert made.output is not None
    made.output.sum().backward()
    assert all(p.grad is None for p in tokenizer.encoder.parameters())
    assert any(p.grad is not None for p in tokenizer.decoder.parameters())


def test_vq_kd_sees_patches_of_16_with_8192_codes() -> None:
    entry = preset("image/vq_kd_16.k8192")
    assert entry.spec.grid((1, 224, 224)) == {"tokens": (1, 14, 14)}
    assert entry.spec.streams[0].levels == (8192,)


def test_a_teacher_stays_outside_the_artefact() -> None:
    tokenizer = create("image/teacher_codes_tiny")
    names, before = set(tokenizer.state_dict()), tokenizer.spec.hash
    tokenizer.learn_from(RandomFeatures(12))
    assert set(tokenizer.state_dict()) == names
    assert tokenizer.spec.hash == before


def test_a_teacher_of_another_width_is_refused() -> None:
    tokenizer = create("image/teacher_codes_tiny").train()
    tokenizer.learn_from(RandomFeatures(7))
    with pytest.raises(UsageError, match="teacher gives features"):
        tokenizer(clips(1, 1, 16))


def test_tokens_of_another_tokenizer_are_not_embedded() -> None:
    tokens = create("image/semantic_dual_tiny").encode(clips(1, 1, 16))
    with pytest.raises(SpecMismatchError):
        create("image/semantic_dual_tiny").embed(tokens)


def test_the_stand_in_teacher_keeps_the_energy_of_a_cell() -> None:
    x = clips(1, 2, 16)
    every = DctTeacher(48)(x, (4, 4))
    assert every.shape == (1, 2, 4, 4, 48)
    assert float(every.square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-4)
    assert torch.equal(DctTeacher(12)(x, (4, 4)), every[..., :12])
    with pytest.raises(UsageError, match="1 to 48"):
        DctTeacher(49)


def test_a_named_preset_is_a_vision_transformer_of_base_size() -> None:
    with torch.device("meta"):
        encoder = TeacherCodes(preset("image/beit_v2_16.k8192").config).encoder
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(86e6, rel=0.15)


class RandomFeatures(nn.Module):
    """A frozen random projection of every cell: the plainest module that can teach."""

    def __init__(self, width: int):
        super().__init__()
        self.look = nn.Conv2d(3, width, 4, 4)

    @torch.no_grad()
    def forward(self, frames: Tensor, grid: tuple[int, int]) -> Tensor:
        seen = self.look(frames.transpose(1, 2).flatten(0, 1)).movedim(1, -1)
        assert seen.shape[1:3] == grid
        return seen.unflatten(0, (frames.shape[0], -1))
