"""Sets of vectors as one short sequence: VAT."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo import create
from zoo.registry import preset
from zoo.testing import learned
from zoo.tokenizers.vector_set import VectorSet, chamfer, in_order


def shapes(batch: int, points: int, seed: int = 0) -> Tensor:
    """Points on ellipsoids of different sizes: (B, 1, points, 3)."""
    dice = torch.Generator().manual_seed(seed)
    ball = torch.nn.functional.normalize(torch.randn(batch, 1, points, 3, generator=dice), dim=-1)
    return ball * (0.5 + torch.rand(batch, 1, 1, 3, generator=dice))


def test_vat_lowers_the_error_with_every_scale() -> None:
    torch.manual_seed(0)
    x = shapes(16, 24)
    tokenizer = learned(create("joints/vector_set_tiny"), x, steps=80, rate=5e-3)
    tokens = tokenizer.encode(x)
    assert tokens.grid == (1, 15)
    errors = [
        float(chamfer(tokenizer.decode(tokens.keep(count)), x).detach()) for count in (1, 3, 7, 15)
    ]
    assert errors[-1] < errors[0] * 0.95
    assert errors == sorted(errors, reverse=True)


def test_vat_does_not_care_for_the_order_of_the_vectors() -> None:
    tokenizer = create("joints/vector_set_tiny")
    x = shapes(2, 24)
    mixed = x[:, :, torch.randperm(24)]
    assert torch.equal(tokenizer.encode(mixed).ids, tokenizer.encode(x).ids)


def test_vat_puts_a_sample_into_512_bytes() -> None:
    spec = preset("joints/vat_2048.k16384").spec
    assert spec.joints == 2048
    assert 480 < spec.bits((1, 2048)) / 8 <= 512


def test_vat_decodes_2048_points() -> None:
    torch.manual_seed(0)
    config = preset("joints/vat_2048.k16384").config
    tokenizer = VectorSet(
        replace(
            config,
            quantizer=replace(config.quantizer, dim=16, size=64),
            width=16,
            heads=2,
            layers=1,
            decoder_width=16,
            decoder_heads=2,
            decoder_layers=1,
        )
    ).eval()
    x = shapes(1, 2048)
    assert tokenizer.decode(tokenizer.encode(x)).shape == x.shape


def test_vectors_are_sorted_whole() -> None:
    points = torch.tensor([[[1.0, 5.0], [0.0, 7.0], [1.0, 2.0]]])
    assert in_order(points).tolist() == [[[0.0, 7.0], [1.0, 2.0], [1.0, 5.0]]]


def test_the_distance_of_sets() -> None:
    one = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    other = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    assert float(chamfer(one, one.flip(0))) == 0
    assert float(chamfer(one, other)) == pytest.approx((0 + 4 / 3) / 2)
