"""Clips as three planes: PVDM."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from zoo import create
from zoo.layers.planes import Project
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.triplane import Triplane


def test_pvdm_encodes_16x256x256_to_three_planes() -> None:
    torch.manual_seed(0)
    config = preset("video/pvdm_16x256.ch4").config
    layers = ("space", "time")
    narrow = replace(
        config,
        quantizer=replace(config.quantizer, dim=8),
        width=16,
        heads=2,
        layers=layers,
        decoder_width=16,
        decoder_heads=2,
        decoder_layers=layers,
    )
    tokenizer = Triplane(narrow).eval()
    x = clips(1, 16, 256)
    tokens = tokenizer.encode(x)
    shapes = {name: tuple(plane.shape) for name, plane in tokens.streams.items()}
    assert shapes == {"xy": (1, 1, 32, 32, 4), "yt": (1, 16, 32, 4), "xt": (1, 16, 32, 4)}
    assert tokens.count == 32 * 32 + 2 * 16 * 32
    assert all(float(plane.abs().max()) <= 1 for plane in tokens.streams.values())
    assert tokenizer.decode(tokens).shape == x.shape


def test_pvdm_restores_what_it_learned() -> None:
    torch.manual_seed(0)
    x = clips(2, 4, 16)
    tokenizer = learned(create("video/triplane_tiny"), x, goal=0.03, steps=80)
    tokens = tokenizer.encode(x)
    error = functional.mse_loss(tokenizer.decode(tokens), x)
    assert error < x.var() / 2
    for name in tokens.streams:
        without = dict(tokens.streams)
        without[name] = without[name].roll(1, 0)
        changed = tokenizer.decode(tokenizer.tokens(without, tokens.size))
        assert functional.mse_loss(changed, x) > error, f"{name} tells something"


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_projection_is_a_weighted_mean_along_its_axis(axis: int) -> None:
    project = Project(6)
    x = torch.randn(2, 3, 4, 5, 6)
    same = x.narrow(axis, 0, 1).expand_as(x)
    assert torch.allclose(project(same, axis), project.value(x.select(axis, 0)), atol=1e-5)
    mixed = x.index_select(axis, torch.randperm(x.shape[axis]))
    assert torch.allclose(project(mixed, axis), project(x, axis), atol=1e-5)
