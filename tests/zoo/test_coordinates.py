"""Long clips as triplane tokens that decode patch by patch: CoordTok."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from zoo import create
from zoo.errors import UsageError
from zoo.layers.patches import cut
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.coordinates import Coordinates


def patches(x: Tensor, tokenizer: Coordinates, at: Tensor) -> Tensor:
    frames, side = tokenizer.config.decoder_patch
    every = cut(x, frames, side)[:, at[:, 0], at[:, 1], at[:, 2]]
    return every.unflatten(-1, (3, frames, side, side))


def test_coordtok_encodes_128_frames_of_128x128_to_1280_tokens() -> None:
    torch.manual_seed(0)
    config = preset("video/coordtok_128x128.ch8").config
    narrow = replace(
        config,
        quantizer=replace(config.quantizer, dim=16),
        width=16,
        heads=2,
        layers=("joint",),
        readers=1,
        decoder_width=16,
        decoder_heads=2,
        decoder_layers=1,
    )
    tokenizer = Coordinates(narrow).eval()
    x = clips(1, 128, 128)
    tokens = tokenizer.encode(x)
    assert tokens.count == 1280
    whole = tokenizer.decode(tokens)
    assert whole.shape == x.shape
    at = torch.tensor([[0, 0, 0], [127, 15, 15], [64, 3, 9]])
    alone = tokenizer.decode_patches(tokens, at)
    assert torch.allclose(alone, patches(whole, tokenizer, at), atol=1e-5)


def test_coordtok_decodes_any_patch_of_any_window_alone() -> None:
    torch.manual_seed(0)
    x = clips(2, 20, 16)
    tokenizer = learned(create("video/coordinates_tiny"), x[:, :, :8], steps=10)
    tokens = tokenizer.encode(x)
    whole = tokenizer.decode(tokens)
    every = torch.cartesian_prod(torch.arange(20), torch.arange(4), torch.arange(4))
    at = every[torch.randperm(len(every))[:50]]
    alone = tokenizer.decode_patches(tokens, at)
    assert alone.shape == (2, 50, 3, 1, 4, 4)
    assert torch.allclose(alone, patches(whole, tokenizer, at), atol=1e-5)
    one = tokenizer.decode_patches(tokens, at[7:8])
    assert torch.allclose(one, alone[:, 7:8], atol=1e-6), "a patch needs no other patch"


def test_coordtok_restores_what_it_learned() -> None:
    torch.manual_seed(0)
    x = clips(2, 8, 16)
    tokenizer = learned(create("video/coordinates_tiny"), x, goal=0.03, steps=100)
    assert functional.mse_loss(tokenizer.decode(tokenizer.encode(x)), x) < x.var() / 2


@pytest.mark.parametrize("at", [[[0, 0, 4]], [[-1, 0, 0]], [[8, 0, 0]]])
def test_coordinates_outside_are_refused(at: list[list[int]]) -> None:
    tokenizer = create("video/coordinates_tiny")
    tokens = tokenizer.encode(clips(1, 8, 16))
    with pytest.raises(UsageError, match=r"\(8, 4, 4\)"):
        tokenizer.decode_patches(tokens, torch.tensor(at))
