"""Keyframe ids and motion ids: Video-LaVIT, and the motion vectors that it stands on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from zoo import create
from zoo.errors import UsageError
from zoo.layers.block_motion import block_motion, warp
from zoo.registry import preset
from zoo.testing import clips, learned
from zoo.tokenizers.keyframe_motion import KeyframeMotion


def test_video_lavit_splits_a_clip_into_keyframe_ids_and_motion_ids() -> None:
    torch.manual_seed(0)
    config = preset("video/video_lavit_25.k16384").config
    layers = ("space", "time")
    tokenizer = KeyframeMotion(
        replace(
            config,
            keyframe=replace(config.keyframe, dim=16),
            motion=replace(config.motion, dim=16),
            reach=2,
            width=8,
            blocks=1,
            motion_width=16,
            motion_heads=2,
            motion_layers=layers,
            decoder_width=8,
            decoder_blocks=1,
            decoder_motion_layers=layers,
        )
    ).eval()
    x = clips(1, 25, 64)
    tokens = tokenizer.encode(x)
    assert tokens["keyframe"].shape == (1, 1, 4, 4)
    assert tokens["motion"].shape == (1, 6, 4, 4)
    assert tokenizer.decode(tokens).shape == x.shape


def test_video_lavit_joins_both_kinds_of_ids_and_parts_them() -> None:
    tokenizer = create("video/keyframe_motion_tiny")
    x = clips(2, 12, 16)
    tokens = tokenizer.encode(x)
    sequence = tokenizer.joined(tokens)
    assert sequence.shape == (2, 3 * (16 + 2 * 16)), "three windows of a keyframe and two steps"
    assert int(sequence[:, :16].max()) < 64 <= int(sequence[:, 16:48].min())
    again = tokenizer.parted(sequence, tokens.size)
    assert all(torch.equal(again[name], tokens[name]) for name in tokens.streams)
    with pytest.raises(UsageError, match="mixed up"):
        tokenizer.parted(sequence.flip(1), tokens.size)
    with pytest.raises(UsageError, match="143 ids"):
        tokenizer.parted(sequence[:, 1:], tokens.size)


def test_video_lavit_moves_the_keyframe_as_the_motion_ids_say() -> None:
    torch.manual_seed(0)
    x = clips(2, 5, 16)
    tokenizer = learned(create("video/keyframe_motion_tiny"), x, goal=0.05, steps=60)
    tokens = tokenizer.encode(x)
    error = functional.mse_loss(tokenizer.decode(tokens), x)
    assert error < x.var() / 2
    wrong = {"keyframe": tokens["keyframe"], "motion": (tokens["motion"] + 16) % 32}
    assert functional.mse_loss(tokenizer.decode(tokenizer.tokens(wrong, tokens.size)), x) > error


@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (-3, 3)])
def test_blocks_that_move_are_found(shift: tuple[int, int]) -> None:
    dice = torch.Generator().manual_seed(1)
    wide = torch.rand(1, 3, 48, 48, generator=dice)
    frames = [wide[..., 8:40, 8:40]]
    down, right = shift
    frames.append(wide[..., 8 + down : 40 + down, 8 + right : 40 + right])
    vectors = block_motion(torch.stack(frames, dim=2), block=8, reach=3)
    assert vectors.shape == (1, 1, 4, 4, 2)
    assert (vectors[0, 0, 1:3, 1:3] == torch.tensor(shift)).all()
    inside = slice(8, 24)
    made = warp(frames[0], vectors[:, 0])
    assert torch.allclose(made[..., inside, inside], frames[1][..., inside, inside], atol=1e-4)


def test_what_is_still_or_flat_has_no_motion() -> None:
    assert not block_motion(torch.zeros(1, 3, 2, 16, 16), block=8, reach=2).any()
    still = clips(1, 1, 16).expand(-1, -1, 3, -1, -1)
    assert not block_motion(still, block=4, reach=2).any()
