"""Structure and dynamics of a window: VidTwin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from zoo import create
from zoo.errors import InputError
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.structure_dynamics import StructureDynamics


def narrow() -> StructureDynamics:
    torch.manual_seed(0)
    config = preset("video/vidtwin_16x224.ch12").config
    layers = ("space", "time")
    return StructureDynamics(
        replace(
            config,
            structure=replace(config.structure, dim=16),
            dynamics=replace(config.dynamics, dim=16),
            width=16,
            heads=2,
            layers=layers,
            decoder_width=16,
            decoder_heads=2,
            decoder_layers=layers,
        )
    ).eval()


def test_vidtwin_gives_two_latents_of_16x224x224_and_restores_it() -> None:
    tokenizer = narrow()
    x = clips(1, 16, 224)
    tokens = tokenizer.encode(x)
    assert tokens["structure"].shape == (1, 16, 7, 7, 4)
    assert tokens["dynamics"].shape == (1, 16, 14, 8)
    kept = sum(value.numel() for value in tokens.streams.values())
    assert kept / x.numel() == pytest.approx(0.002, rel=0.05), "the published 0.20 %"
    assert tokenizer.decode(tokens).shape == x.shape


def test_vidtwin_decodes_a_clip_with_the_dynamics_of_another() -> None:
    torch.manual_seed(0)
    x = clips(2, 4, 16)
    tokenizer = learned(create("video/structure_dynamics_tiny"), x, goal=0.055, steps=60)
    tokens = tokenizer.encode(x)
    back = tokenizer.decode(tokens)
    assert functional.mse_loss(back, x) < x.var()
    crossed = tokenizer.tokens(
        {"structure": tokens["structure"], "dynamics": tokens["dynamics"].flip(0)}, tokens.size
    )
    swapped = tokenizer.decode(crossed)
    assert swapped.shape == x.shape
    assert bool(torch.isfinite(swapped).all())
    assert not torch.allclose(swapped, back, atol=1e-2), "dynamics matter"
    assert not torch.allclose(swapped, back.flip(0), atol=1e-2), "and so does structure"


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="224x224"):
        narrow().encode(clips(1, 16, 128))
