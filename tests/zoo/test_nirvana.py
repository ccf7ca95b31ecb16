"""NIRVANA: groups of frames as changes of a patch network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo import preset
from zoo.errors import UsageError
from zoo.tokenizers.nirvana import Nirvana


def footage(frames: int, *, still_from: int = 10_000) -> Tensor:
    """A soft blob that crosses the picture and stops at a frame."""
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="ij")
    places = torch.arange(frames).clamp_max(still_from) * 4
    blobs = [torch.exp(-((rows - 8) ** 2 + (columns - 4 - t) ** 2) / 30) - 0.5 for t in places]
    return torch.stack(blobs).expand(3, -1, -1, -1)[None].clone()


@pytest.fixture(scope="module")
def codec() -> Nirvana:
    torch.manual_seed(0)
    return Nirvana(replace(preset("video/nirvana_tiny").config, steps=80)).eval()


def test_nirvana_needs_fewer_bits_for_a_static_group_than_for_a_moving_one(codec: Nirvana) -> None:
    (moving,) = codec.compress(codec.encode(footage(4)))
    (still,) = codec.compress(codec.encode(footage(4, still_from=0)))
    assert len(still[1]) < len(moving[1]) / 20
    assert len(still[1]) < len(still[0]) / 20


def test_nirvana_starts_warm_from_the_group_before(codec: Nirvana) -> None:
    still = codec.encode(footage(4, still_from=0))
    changed = [int((group != 255).sum()) for group in still.ids[0]]
    assert changed[0] > changed[1] == 0


def test_what_was_fitted_looks_like_the_clip(codec: Nirvana) -> None:
    clip = footage(6)
    error = (codec.decode(codec.encode(clip)) - clip).square().mean()
    assert float(error) < float(clip.var()) / 10


def test_bytes_of_groups_decode_to_the_clip(codec: Nirvana) -> None:
    tokens = codec.encode(footage(5))
    (groups,) = codec.compress(tokens)
    assert len(groups) == 3
    again = codec.decompress(groups, tokens.size)
    assert torch.equal(codec.decode(again), codec.decode(tokens))


def test_fitting_is_not_training(codec: Nirvana) -> None:
    with pytest.raises(UsageError, match="fitted to every clip"):
        codec(footage(2))
