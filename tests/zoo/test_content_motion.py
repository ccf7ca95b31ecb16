"""A content frame and a motion latent: CMD and Reducio."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from zoo import create
from zoo.errors import SpecMismatchError
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.content_motion import ContentMotion


def narrow(name: str) -> ContentMotion:
    torch.manual_seed(0)
    config = preset(name).config
    return ContentMotion(
        replace(
            config,
            quantizer=replace(config.quantizer, dim=16),
            width=16,
            heads=2,
            layers=("space", "time"),
            decoder_width=16,
            decoder_heads=2,
            decoder_layers=("space", "time"),
        )
    ).eval()


def test_cmd_encodes_16_frames_to_a_picture_and_a_motion_latent() -> None:
    tokenizer = narrow("video/cmd_16.ch8")
    x = clips(1, 16, 64)
    tokens = tokenizer.encode(x)
    assert tokens["content"].shape == (1, 1, 64, 64, 3)
    assert tokens["rows"].shape == tokens["columns"].shape == (1, 16, 8, 8)
    assert tokenizer.decode(tokens).shape == x.shape


def test_cmd_content_is_a_valid_image_between_its_frames() -> None:
    tokenizer = narrow("video/cmd_16.ch8")
    x = clips(1, 16, 64)
    content = tokenizer.encode(x)["content"].squeeze(1).movedim(-1, 1)
    assert bool((content >= x.amin(dim=2) - 1e-5).all())
    assert bool((content <= x.amax(dim=2) + 1e-5).all())
    assert functional.mse_loss(content, x.mean(dim=2)) < 0.05, "it shows what is there"
    still = x[:, :, :1].expand_as(x)
    same = tokenizer.encode(still)["content"].squeeze(1).movedim(-1, 1)
    assert torch.allclose(same, still[:, :, 0], atol=1e-5)


@pytest.mark.parametrize("name", ["video/content_average_tiny", "video/content_middle_tiny"])
def test_cmd_and_reducio_restore_what_they_learned_and_need_both(name: str) -> None:
    torch.manual_seed(0)
    tokenizer = create(name)
    x = clips(2, 4, tokenizer.spec.multiple * 4)
    still = x[:, :, 2:3].expand_as(x)
    learned(tokenizer, x, goal=0.022, steps=60)
    tokens = tokenizer.encode(x)
    error = functional.mse_loss(tokenizer.decode(tokens), x)
    assert error < 0.9 * functional.mse_loss(still, x), "better than a picture that stands still"
    other = dict(tokens.streams)
    other["content"] = other["content"].flip(0)
    assert (
        functional.mse_loss(tokenizer.decode(tokenizer.tokens(other, tokens.size)), x) > 2 * error
    )
    for missing in tokens.streams:
        rest = {n: value for n, value in tokens.streams.items() if n != missing}
        with pytest.raises(SpecMismatchError, match=missing):
            tokenizer.tokens(rest, tokens.size)


def test_reducio_has_64_times_fewer_motion_positions_than_an_image_vae() -> None:
    tokenizer = narrow("video/reducio_43232.ch16")
    x = clips(1, 16, 256)
    tokens = tokenizer.encode(x)
    assert tokens["motion"].shape == (1, 4, 8, 8, 16)
    image_vae = 16 * (256 // 8) ** 2
    assert image_vae == 64 * tokens["motion"][..., 0].numel()
    middle = tokens["content"].squeeze(1).movedim(-1, 1)
    assert torch.equal(middle, x[:, :, 8]), "the content frame is the middle one"
    assert tokenizer.decode(tokens).shape == x.shape
