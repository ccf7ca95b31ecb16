"""Causal 3D autoencoders: each published system's grid, ids and length rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo import create
from zoo.layers.quantizers import factor_ids, join_ids
from zoo.registry import preset, presets
from zoo.tokenizer import Tokenizer

NARROW = {"width": 8, "blocks": 1, "decoder_width": 8, "decoder_blocks": 1}


def narrow(name: str) -> Tokenizer:
    """The full-size preset with few channels: its grid, rule and vocabulary are its own."""
    entry = preset(name)
    torch.manual_seed(0)
    return entry.family(replace(entry.config, **NARROW)).eval()


def clip(frames: int, side: int, batch: int = 1) -> Tensor:
    dice = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, side, side, generator=dice) * 2 - 1


def weights(name: str) -> float:
    entry = preset(name)
    with torch.device("meta"):
        return sum(p.numel() for p in entry.family(entry.config).parameters())


def test_magvit_v2_gives_5x16x16_ids_of_18_bits_that_factor() -> None:
    tokenizer = narrow("video/magvit2_lfq_488.k262144")
    x = clip(17, 128)
    tokens = tokenizer.encode(x)
    assert tokens.grid == (5, 16, 16)
    assert tokens.spec.streams[0].levels == (2**18,)
    halves = factor_ids(tokens.ids, (9, 9))
    assert int(halves.max()) < 2**9
    assert torch.equal(join_ids(halves, (9, 9)), tokens.ids)
    image = tokenizer.encode(x[:, :, :1])
    assert torch.equal(image.ids, tokens.ids[:, :1]), "an image is the first frame of a clip"
    assert tokenizer.decode(tokens).shape == x.shape


def test_vidtok_gives_5x32x32_ids_under_its_vocabulary() -> None:
    tokenizer = narrow("video/vidtok_fsq_causal_488.k32768")
    assert tokenizer.spec.grid((17, 256, 256)) == {"tokens": (5, 32, 32)}
    x = clip(17, 128)
    tokens = tokenizer.encode(x)
    assert tokens.grid == (5, 16, 16)
    assert int(tokens.ids.max()) < 32768
    assert tokens.spec.streams[0].dtype == "uint16"
    assert tokenizer.decode(tokens).shape == x.shape


def test_walt_puts_images_and_clips_into_one_latent_space() -> None:
    tokenizer = narrow("video/walt_kl_488.ch8")
    x = clip(17, 64)
    latents = tokenizer.encode(x).ids
    assert latents.shape == (1, 5, 8, 8, 8)
    assert torch.equal(tokenizer.encode(x[:, :, :1]).ids, latents[:, :1])
    trained = tokenizer.train()(clip(1, 64, batch=2))
    assert trained.output is not None
    assert trained.output.shape == (2, 3, 1, 64, 64)


def test_step_video_compresses_16x16x8_into_64_channels() -> None:
    tokenizer = narrow("video/step_video_kl_81616.ch64")
    assert tokenizer.spec.compression == (8, 16, 16)
    x = clip(17, 64)
    tokens = tokenizer.encode(x)
    assert tokens.ids.shape == (1, 3, 4, 4, 64)
    assert tokenizer.decode(tokens).shape == x.shape


@pytest.mark.parametrize(
    ("name", "grid", "bits"),
    [
        ("video/vidtok_fsq_causal_41616.k262144", (5, 16, 16), 18),
        ("video/vidtok_fsq_causal_888.k32768", (3, 32, 32), 15),
        ("video/cosmos_dv_4x8x8.k64000", (5, 32, 32), 15.97),
        ("video/cosmos_dv_8x8x8.k64000", (3, 32, 32), 15.97),
        ("video/cosmos_dv_8x16x16.k64000", (3, 16, 16), 15.97),
        ("video/cosmos_cv_8x16x16.ch16", (3, 16, 16), 256),
        ("video/wan_kl_488.ch16", (5, 32, 32), 256),
    ],
)
def test_published_grids(name: str, grid: tuple[int, ...], bits: float) -> None:
    spec = preset(name).spec
    assert spec.grid((17, 256, 256)) == {"tokens": grid}
    assert spec.streams[0].bits == pytest.approx(bits, abs=0.01)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("video/vidtok_fsq_causal_488.k32768", 157.5e6),
        ("video/cosmos_cv_8x8x8.ch16", 105.7e6),
        ("video/wan_kl_488.ch16", 126.9e6),
    ],
)
def test_sizes_are_those_published(name: str, published: float) -> None:
    assert weights(name) == pytest.approx(published, rel=0.15)


def test_patches_are_folded_and_unfolded_exactly() -> None:
    tokenizer = narrow("video/cosmos_dv_4x8x8.k64000")
    x = clip(5, 32)
    tokens = tokenizer.encode(x)
    assert tokens.grid == (2, 4, 4)
    assert tokenizer.decode(tokens).shape == x.shape


def test_systems_are_served_by_presets_that_are_tested_here() -> None:
    served = {
        system
        for entry in presets().values()
        if entry.family.family() == "causal_cnn"
        for system in entry.serves
    }
    assert served >= {"magvit-v2", "vidtok", "walt", "step-video-t2v"}
    assert create("video/causal_cnn_lfq_tiny").spec.streaming
