"""HNeRV: clips as a decoder and embeddings that were fitted to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo import preset
from zoo.errors import UsageError
from zoo.layers import integer_weights
from zoo.tokenizers.hnerv import HNeRV


def footage(frames: int = 6) -> Tensor:
    """A bright bar that moves over a soft ground."""
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="ij")
    bars = [torch.exp(-((columns - 4 - 3 * t) ** 2) / 6) - 0.5 + rows / 40 for t in range(frames)]
    return torch.stack(bars).expand(3, -1, -1, -1)[None].clamp(-1, 1)


def fitted(steps: int, width: int = 24) -> HNeRV:
    torch.manual_seed(0)
    return HNeRV(replace(preset("video/hnerv_tiny").config, steps=steps, width=width)).eval()


def error(codec: HNeRV) -> float:
    clip = footage()
    return float((codec.decode(codec.encode(clip)) - clip).square().mean())


@pytest.mark.parametrize("amount", [1, 500])
def test_integers_come_back_and_quiet_ones_cost_less(amount: int) -> None:
    dice = torch.Generator().manual_seed(0)
    loud = torch.randn(amount, generator=dice).mul(20).round().long().clamp(-127, 127)
    quiet = torch.zeros_like(loud)
    for integers in (loud, quiet):
        packed = integer_weights.pack(integers, 127)
        assert torch.equal(integer_weights.unpack(packed, amount, 127), integers)
    assert len(integer_weights.pack(quiet, 127)) <= 7


def test_hnerv_fits_embeddings_and_decoder_bytes_to_a_clip() -> None:
    codec, clip = fitted(steps=60), footage()
    tokens = codec.encode(clip)
    assert tokens["embeddings"].shape == (1, 6, 4, 6, 4)
    assert tokens["decoder"].shape == (1, 1, integer_weights.count(codec.decoder))
    (data,) = codec.compress(tokens)
    again = codec.decompress(data, tokens.size)
    assert torch.equal(codec.decode(again), codec.decode(tokens))
    assert len(data["decoder"]) < 9 * tokens["decoder"].numel() / 8
    assert error(codec) < float(clip.var()) / 2


def test_hnerv_decodes_a_frame_without_the_others() -> None:
    codec = fitted(steps=10)
    tokens = codec.encode(footage())
    whole = codec.decode(tokens)
    for frame in (0, 4):
        streams = {**tokens.streams, "embeddings": tokens["embeddings"][:, frame : frame + 1]}
        alone = codec.decode(codec.tokens(streams, (1, 16, 24)))
        assert torch.equal(alone[:, :, 0], whole[:, :, frame])


def test_hnerv_comes_closer_with_a_larger_budget() -> None:
    assert error(fitted(steps=100)) < error(fitted(steps=10)) / 2, "more steps"
    assert error(fitted(steps=40, width=48)) < error(fitted(steps=40, width=8)), "more weights"


def test_equal_clips_give_equal_ids() -> None:
    codec = fitted(steps=10)
    one, other = codec.encode(footage()), codec.encode(footage())
    assert torch.equal(one["decoder"], other["decoder"])


def test_fitting_is_not_training() -> None:
    with pytest.raises(UsageError, match="fitted to every clip"):
        fitted(steps=1)(footage())
