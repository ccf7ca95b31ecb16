"""Latents by frame, frames decoded together."""

from __future__ import annotations

import pytest
import torch

from zoo.layers.conv import Conv3d
from zoo.registry import create, preset
from zoo.tokenizer import Tokenizer


@pytest.fixture
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    model = create("video/image_vae_temporal_tiny")
    for module in model.decoder.modules():
        if isinstance(module, Conv3d):
            torch.nn.init.normal_(module.weight, std=0.05)
    return model


def test_latents_of_a_frame_do_not_depend_on_its_neighbours(tokenizer: Tokenizer) -> None:
    x = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    latents = tokenizer.encode(x).ids
    assert latents.shape == (1, 5, 8, 8, 4)
    for frame in range(5):
        alone = tokenizer.encode(x[:, :, frame : frame + 1]).ids
        torch.testing.assert_close(alone, latents[:, frame : frame + 1])


def test_the_decoder_sees_the_frames_of_its_piece_and_no_others(tokenizer: Tokenizer) -> None:
    z = torch.randn(1, 32, 6, 4, 4)
    changed = z.clone()
    changed[:, :, 2] += 1
    moved = (tokenizer.decoder(changed) - tokenizer.decoder(z)).abs().amax(dim=(0, 1, 3, 4))
    assert bool((moved > 1e-6)[[1, 2, 3]].all())
    x = torch.rand(1, 3, 6, 16, 16) * 2 - 1
    whole = tokenizer.decode(tokenizer.encode(x))
    second = tokenizer.decode(tokenizer.encode(x[:, :, 3:]))
    torch.testing.assert_close(whole[:, :, 3:], second)


def test_stable_video_diffusion_keeps_4_numbers_for_8x8_pixels_of_each_frame() -> None:
    spec = preset("video/svd_kl_1x8x8.ch4").spec
    assert spec.grid((14, 576, 1024)) == {"tokens": (14, 72, 128)}
    assert spec.streams[0].channels == 4
