"""Intra and inter codes of a window: I2-World."""

from __future__ import annotations

import torch
from torch.nn import functional

from zoo import create
from zoo.registry import preset
from zoo.testing import clips, learned


def test_i2_world_codes_one_frame_by_scales_and_the_rest_by_residuals() -> None:
    torch.manual_seed(0)
    x = clips(2, 4, 16)
    tokenizer = learned(create("video/intra_inter_tiny"), x, goal=0.02, steps=80)
    tokens = tokenizer.encode(x)
    assert tokens["intra"].shape == (2, 1, 1 + 4 + 16)
    assert tokens["inter"].shape == (2, 3, 4, 4, 2)
    back = tokenizer.decode(tokens)
    assert back.shape == x.shape
    assert functional.mse_loss(back, x) < 0.02, "within tolerance"


def test_i2_world_codes_against_what_was_decoded_so_that_errors_do_not_add_up() -> None:
    torch.manual_seed(0)
    tokenizer = create("video/intra_inter_tiny")
    x = clips(1, 4, 16)
    z = tokenizer.encoder(x).movedim(1, -1)
    ids, made = tokenizer._coded(z)
    first = tokenizer.quantizers["intra"].decode(ids["intra"])
    steps = tokenizer.quantizers["inter"].decode(ids["inter"])
    assert torch.allclose(torch.cat([first, steps], dim=1).cumsum(dim=1), made, atol=1e-6)
    again = tokenizer.quantizers["inter"].encode(z[:, 1:] - made[:, :-1])
    assert torch.equal(again, ids["inter"])


def test_i2_world_decodes_a_prefix_of_the_scales() -> None:
    tokenizer = create("video/intra_inter_tiny")
    x = clips(1, 4, 16)
    tokens = tokenizer.encode(x)
    coarse = tokenizer.tokens(
        {"intra": tokens["intra"][..., :5], "inter": tokens["inter"]}, tokens.size
    )
    assert tokenizer.decode(coarse).shape == x.shape


def test_the_full_preset_has_the_grid_of_a_map_of_200_by_200() -> None:
    spec = preset("video/i2_world_200.k512").spec
    assert spec.size == (200, 200)
    assert spec.grid((8, 200, 200))["inter"] == (7, 50, 50)
