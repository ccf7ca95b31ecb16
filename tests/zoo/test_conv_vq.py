"""Windows of 16 frames: published grids, and edges that look like the inside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.registry import create, preset
from zoo.tokenizer import Tokenizer


def narrow(name: str) -> Tokenizer:
    """The full-size preset with few channels: its grid and vocabulary are its own."""
    entry = preset(name)
    config = replace(entry.config, width=8, blocks=1, axial=min(1, entry.config.axial))
    torch.manual_seed(0)
    return entry.family(config).eval()


@pytest.mark.parametrize(
    ("name", "side", "codes"),
    [
        ("video/videogpt_4x4x4.k2048", 64, 2048),
        ("video/tats_4x8x8.k16384", 128, 16384),
        ("video/magvit_b_4x8x8.k1024", 128, 1024),
        ("video/magvit_l_4x8x8.k1024", 128, 1024),
        ("video/motionaura_4x8x8.k16384", 128, 16384),
    ],
)
def test_16_frames_become_4x16x16_ids(name: str, side: int, codes: int) -> None:
    spec = preset(name).spec
    assert spec.grid((16, side, side)) == {"tokens": (4, 16, 16)}
    assert spec.streams[0].levels == (codes,)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("video/videogpt_4x4x4.k2048", 64),
        ("video/tats_4x8x8.k16384", 128),
        ("video/magvit_b_4x8x8.k1024", 128),
        ("video/motionaura_4x8x8.k16384", 128),
    ],
)
def test_ids_decode_to_the_clip_they_came_from_in_size(name: str, side: int) -> None:
    tokenizer = narrow(name)
    x = torch.rand(1, 3, 16, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = tokenizer.encode(x)
    assert tokens.grid == (4, 16, 16)
    assert tokenizer.decode(tokens).shape == x.shape


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("video/vidtok_fsq_noncausal_488.k262144", (4, 32, 32)),
        ("video/vidtok_fsq_noncausal_41616.k262144", (4, 16, 16)),
        ("video/vidtok_kl_noncausal_488.ch16", (4, 32, 32)),
    ],
)
def test_vidtok_without_causality_codes_16_frames_as_4(name: str, grid: tuple[int, ...]) -> None:
    spec = preset(name).spec
    assert spec.grid((16, 256, 256)) == {"tokens": grid}
    assert not spec.causal


def still(value: float) -> torch.Tensor:
    return torch.tensor([value, -value, 0.3]).view(1, 3, 1, 1, 1).expand(1, 3, 8, 32, 32).clone()


def test_replicated_edges_leave_no_artefacts() -> None:
    torch.manual_seed(0)
    tokenizer = create("video/conv_vq_replicate_tiny")
    latents = tokenizer.encoder(still(0.5))
    torch.testing.assert_close(latents, latents[..., :1, :1, :1].expand_as(latents))
    tokens = tokenizer.encode(still(0.5))
    assert tokens.ids.unique().numel() == 1
    back = tokenizer.decode(tokens)
    torch.testing.assert_close(back, back[..., :1, :1, :1].expand_as(back), atol=1e-5, rtol=0)


def test_zeros_beyond_the_edge_do_leave_them() -> None:
    torch.manual_seed(0)
    latents = create("video/conv_vq_axial_tiny").encoder(still(0.5))
    inside, corner = latents[..., 1, 3, 3], latents[..., 0, 0, 0]
    assert not torch.allclose(inside, corner, atol=1e-3)


def test_windows_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    tokenizer = create("video/conv_vq_axial_tiny")
    x = torch.rand(1, 3, 24, 16, 16) * 2 - 1
    whole = tokenizer.encode(x).ids
    for window in range(3):
        part = tokenizer.encode(x[:, :, 8 * window : 8 * window + 8]).ids
        assert torch.equal(part, whole[:, 2 * window : 2 * window + 2])
