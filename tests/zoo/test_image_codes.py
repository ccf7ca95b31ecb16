"""Structured codes of images: next-scale sequences and factorised codebooks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from zoo import create
from zoo.metrics import CodebookUse
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.image_codes import ImageCodes

NARROW = {"width": 8, "blocks": 1, "decoder_width": 8, "decoder_blocks": 1}


def narrow(name: str) -> ImageCodes:
    torch.manual_seed(0)
    return ImageCodes(replace(preset(name).config, **NARROW)).eval()


def test_fqgan_gives_one_id_of_each_codebook_and_reports_their_use() -> None:
    torch.manual_seed(0)
    x = clips(2, 1, 16)
    tokenizer = learned(create("image/codes_factorised_tiny"), x, goal=0.02, steps=60)
    tokens = tokenizer.encode(x)
    assert tokens.ids.shape == (2, 1, 4, 4, 2)
    meter = CodebookUse.of(tokenizer.quantizer)
    meter.update(tokens.ids)
    for level, ids in enumerate(tokens.ids.unbind(-1)):
        counts = meter.counts(level)
        assert (counts > 0).sum() == len(ids.unique()) > 1
        assert counts.sum() == 32
    assert not torch.equal(tokens.ids[..., 0], tokens.ids[..., 1]), "each codebook has its own say"
    assert functional.mse_loss(tokenizer.decode(tokens), x) < x.var() / 5


@pytest.mark.parametrize(("name", "factors"), [("dual", 2), ("triple", 3)])
def test_fqgan_presets_have_their_factors(name: str, factors: int) -> None:
    tokenizer = narrow(f"image/fqgan_{name}_16.k16384")
    assert tokenizer.encode(clips(1, 1, 64)).ids.shape == (1, 1, 4, 4, factors)
    assert tokenizer.spec.streams[0].levels == (16384,) * factors


def test_var_orders_680_ids_from_coarse_to_fine() -> None:
    tokenizer = narrow("image/var_256.k4096")
    x = clips(1, 1, 256)
    tokens = tokenizer.encode(x)
    assert tokens.grid == (1, 680)
    assert tokenizer.spec.size == (256, 256)
    assert tokenizer.decode(tokens.keep(1)).shape == x.shape
    assert not torch.equal(tokenizer.decode(tokens.keep(300)), tokenizer.decode(tokens))


def test_a_frame_is_coded_alike_alone_and_in_a_clip() -> None:
    tokenizer = create("image/codes_multiscale_tiny")
    x = clips(1, 4, 16)
    assert torch.equal(tokenizer.encode(x[:, :, 2:3]).ids, tokenizer.encode(x).ids[:, 2:3])
