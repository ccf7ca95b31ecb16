"""The learned codec with a temporal entropy model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo import create
from zoo.errors import SpecMismatchError
from zoo.tokenizers.entropy_codec import EntropyCodec


def footage(frames: int, *, still_from: int = 10_000, seed: int = 0) -> Tensor:
    """Moving waves that stand still from a frame on."""
    dice = torch.Generator().manual_seed(seed)
    pace = torch.rand(3, 3, generator=dice) * 0.5
    time = torch.arange(frames).clamp_max(still_from).view(-1, 1, 1)
    rows, columns = torch.arange(32).view(1, -1, 1), torch.arange(32).view(1, 1, -1)
    planes = [torch.sin(a * time * 2 + b * rows + c * columns) for a, b, c in pace]
    return torch.stack(planes)[None] * 0.9


@pytest.fixture(scope="module")
def codec() -> EntropyCodec:
    """A codec that has seen waves, moving and still."""
    torch.manual_seed(0)
    codec = create("video/entropy_tiny")
    assert isinstance(codec, EntropyCodec)
    clips = torch.cat([footage(6, still_from=2 + seed, seed=seed) for seed in range(4)])
    codec.train()
    optimizer = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    for _ in range(100):
        made = codec(clips)
        loss = (made.output - clips).square().mean() + 0.02 * made.losses["rate"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return codec.eval()


def test_spatiotemporal_entropy_bytes_decode_to_the_very_tokens(codec: EntropyCodec) -> None:
    tokens = codec.encode(torch.cat([footage(5), footage(5, seed=9)]))
    clips = codec.compress(tokens)
    again = codec.decompress(clips)
    for place, back in enumerate(again):
        assert back.size == tokens.size
        assert torch.equal(back.ids[0], tokens.ids[place])
    assert torch.equal(codec.decode(again[1]), codec.decode(tokens)[1:])


def test_spatiotemporal_entropy_bytes_are_as_many_as_estimated(codec: EntropyCodec) -> None:
    tokens = codec.encode(footage(6, seed=5))
    estimated = float(codec.estimated_bits(tokens).sum())
    coded = 8 * len(codec.compress(tokens)[0])
    assert abs(coded - estimated) < 0.03 * estimated + 96, "the header and the last bytes"


def test_spatiotemporal_entropy_spends_few_bits_on_a_repeated_frame(codec: EntropyCodec) -> None:
    moving, still = codec.encode(footage(6)), codec.encode(footage(6, still_from=2))
    bits = codec.estimated_bits(still)[0]
    assert bool((bits[3:] < bits[1] / 2).all())
    assert len(codec.compress(still)[0]) < 0.75 * len(codec.compress(moving)[0])


def test_a_trained_entropy_model_beats_fixed_length_codes(codec: EntropyCodec) -> None:
    tokens = codec.encode(footage(6, seed=6))
    assert float(codec.estimated_bits(tokens).sum()) < 0.5 * codec.spec.bits(tokens.size)


def test_a_prior_that_was_trained_further_keeps_the_tokens() -> None:
    codec = create("video/entropy_tiny")
    before = codec.spec.hash
    with torch.no_grad():
        next(codec.prior.parameters()).add_(1.0)
    assert codec.spec.hash == before


def test_tokens_of_another_codec_are_not_compressed(codec: EntropyCodec) -> None:
    with pytest.raises(SpecMismatchError, match="were made by"):
        codec.compress(create("video/entropy_tiny").encode(footage(2)))
