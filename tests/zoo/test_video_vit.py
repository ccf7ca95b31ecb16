"""Transformer tokenizers: the grids, prefixes and bottlenecks that published systems have."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.layers.quantizers import bits_per_position, pack_ids, unpack_ids
from zoo.registry import create, preset
from zoo.tokenizer import Tokenizer
from zoo.tokenizers.video_vit import vitok


def narrow(name: str) -> Tokenizer:
    """The full-size preset with few channels and layers: grid and vocabulary are its own."""
    entry, kinds = preset(name), {}
    for side in ("", "decoder_"):
        layers = getattr(entry.config, f"{side}layers")
        kinds[f"{side}layers"] = tuple(dict.fromkeys(layers))
        kinds |= {f"{side}width": 16, f"{side}heads": 2}
    torch.manual_seed(0)
    return entry.family(replace(entry.config, **kinds)).eval()


def clip(frames: int, side: int) -> Tensor:
    dice = torch.Generator().manual_seed(frames)
    return torch.rand(1, 3, frames, side, side, generator=dice) * 2 - 1


def test_phenaki_encodes_1_2k_frames_of_any_k_with_equal_prefixes() -> None:
    tokenizer = narrow("video/phenaki_cvivit_2x8x8.k8192")
    x = clip(23, 32)
    whole = tokenizer.encode(x)
    assert whole.grid == (12, 4, 4)
    for frames in (1, 3, 5, 11, 17):
        prefix = tokenizer.encode(x[:, :, :frames])
        assert torch.equal(prefix.ids, whole.ids[:, : prefix.grid[0]]), frames
    assert tokenizer.decode(whole).shape == x.shape


def test_omnitokenizer_shares_its_weights_between_images_and_clips() -> None:
    tokenizer = narrow("video/omnitokenizer_4x8x8.k8192")
    assert tokenizer.spec.grid((1, 256, 256)) == {"tokens": (1, 32, 32)}
    assert tokenizer.spec.grid((17, 256, 256)) == {"tokens": (5, 32, 32)}
    image, x = clip(1, 256), clip(17, 256)
    tokens = tokenizer.encode(x)
    assert tokens.grid == (5, 32, 32)
    assert int(tokens.ids.max()) < 8192
    assert tokenizer.encode(image).grid == (1, 32, 32)
    assert tokenizer.decode(tokenizer.encode(image)).shape == image.shape
    assert tokenizer.decode(tokens).shape == x.shape


@pytest.mark.parametrize("bits", [18, 36])
def test_bsq_codes_pack_to_bytes_and_back(bits: int) -> None:
    tokenizer = narrow(f"video/bsq_vit_1x8x8.b{bits}")
    tokens = tokenizer.encode(clip(3, 32))
    levels = tokens.spec.streams[0].levels
    assert bits_per_position(levels) == bits == tokens.spec.streams[0].bits
    packed = pack_ids(tokens.ids, levels)
    assert len(packed) == -(-tokens.count * bits // 8)
    back = unpack_ids(packed, levels, tokens.count)
    assert torch.equal(back.view_as(tokens.ids), tokens.ids)


def test_bsq_block_causal_mask_keeps_the_ids_of_a_prefix() -> None:
    tokenizer = narrow("video/bsq_vit_1x8x8.b18")
    x = clip(7, 32)
    whole = tokenizer.encode(x).ids
    for frames in (1, 2, 5, 6):
        assert torch.equal(tokenizer.encode(x[:, :, :frames]).ids, whole[:, :frames])
    changed = x.clone()
    changed[:, :, :2] *= -1
    assert not torch.equal(tokenizer.encode(changed).ids[:, 2:], whole[:, 2:]), "the past is seen"


@pytest.mark.parametrize("name", ["cvivit", "omni", "bsq_vit"])
def test_training_sees_what_streaming_sees(name: str) -> None:
    tokenizer = create(f"video/{name}_tiny")
    rule = tokenizer.spec.length
    x = clip(rule.first + 5 * rule.step, 16)
    ids = tokenizer.encode(x).ids
    same = (tokenizer(x).ids["tokens"] == ids).float().mean()
    assert same > 0.99, "rounding may move an id, the mask may not"


@pytest.mark.parametrize("floats", [1024, 4096, 16384, 65536])
def test_vitok_has_as_many_floats_a_clip_as_asked_for(floats: int) -> None:
    entry = preset("video/vitok_sb_4x8x8.f4096")
    with torch.device("meta"):
        spec = entry.family(vitok(floats)).describe()
    assert spec.bits((16, 128, 128)) == 16 * floats
    with pytest.raises(UsageError, match="spread"):
        vitok(floats + 1)


def test_vitok_encodes_images_and_clips() -> None:
    tokenizer = narrow("video/vitok_sb_4x8x8.f16384")
    x = clip(16, 128)
    tokens = tokenizer.encode(x)
    assert tokens.ids.numel() == 16384
    assert tokenizer.decode(tokens).shape == x.shape
    image = tokenizer.encode(x[:, :, :1])
    assert image.grid == (1, 16, 16)
    assert tokenizer.decode(image).shape == (1, 3, 1, 128, 128)


def test_vitok_has_its_published_size() -> None:
    entry = preset("video/vitok_sb_4x8x8.f16384")
    with torch.device("meta"):
        model = entry.family(entry.config)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(129e6, rel=0.05)


@pytest.mark.parametrize(
    ("name", "discrete"),
    [("video/atoken_4x16x16.ch48", False), ("video/atoken_4x16x16.k4096x8", True)],
)
def test_atoken_takes_images_and_clips(name: str, discrete: bool) -> None:
    tokenizer = narrow(name)
    x = clip(20, 64)
    for media in (x, x[:, :, :1]):
        tokens = tokenizer.encode(media)
        assert tokens.ids.is_floating_point() is not discrete
        assert tokens.ids.shape[-1] == (8 if discrete else 48)
        assert tokenizer.decode(tokens).shape == media.shape


def test_atoken_codes_come_from_the_encoder_of_the_latents() -> None:
    latents, codes = create("video/atoken_tiny"), create("video/atoken_fsq_tiny")
    codes.encoder.load_state_dict(latents.encoder.state_dict())
    x = clip(8, 32)
    torch.testing.assert_close(codes.encoder(x), latents.encoder(x))
    assert codes.encode(x).grid == latents.encode(x).grid
