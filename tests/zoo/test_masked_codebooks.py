"""M-AdaCode: blended codebooks whose weak entries are masked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo import create
from zoo.errors import UsageError
from zoo.tokenizers.masked_codebooks import MaskedCodebooks

RATIOS = (0.0, 0.35, 0.75)


def pictures(count: int = 6) -> Tensor:
    """Waves of different directions and colours."""
    dice = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    pace = torch.rand(count, 3, 2, 1, 1, generator=dice)
    return (0.9 * torch.sin(pace[:, :, 0] * rows + pace[:, :, 1] * columns)).unsqueeze(2)


@pytest.fixture(scope="module")
def codec() -> MaskedCodebooks:
    torch.manual_seed(0)
    codec = create("image/masked_codebooks_tiny")
    assert isinstance(codec, MaskedCodebooks)
    x = pictures()
    optimizer = torch.optim.AdamW(codec.train().parameters(), lr=3e-3)
    for _ in range(120):
        made = codec(x)
        loss = (made.output - x).square().mean() + 0.25 * made.losses["commitment"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return codec.eval()


def test_m_adacode_takes_fewer_bytes_and_errs_more_with_a_higher_mask_ratio(
    codec: MaskedCodebooks,
) -> None:
    x = pictures()
    tokens = codec.encode(x)
    masked = [codec.mask(tokens, ratio) for ratio in RATIOS]
    sizes = [sum(map(len, codec.compress(one))) for one in masked]
    errors = [float((codec.decode(one) - x).square().mean()) for one in masked]
    assert sizes[0] > 1.2 * sizes[1] > 1.4 * sizes[2]
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("ratio", RATIOS)
def test_m_adacode_bytes_decode_alone(codec: MaskedCodebooks, ratio: float) -> None:
    tokens = codec.mask(codec.encode(pictures(2)), ratio)
    for place, data in enumerate(codec.compress(tokens)):
        again = codec.decompress(data)
        assert torch.equal(codec.decode(again)[0], codec.decode(tokens)[place])


def test_every_position_keeps_its_strongest_entry(codec: MaskedCodebooks) -> None:
    tokens = codec.encode(pictures(2))
    least = codec.mask(tokens, 1.0)
    strongest = tokens["weights"].argmax(-1)
    assert torch.equal(least["weights"].argmax(-1), strongest)
    assert bool((least["weights"] > 0).sum(-1).eq(1).all())


def test_a_mask_of_nothing_changes_nothing(codec: MaskedCodebooks) -> None:
    tokens = codec.encode(pictures(2))
    same = codec.mask(tokens, 0.0)
    assert all(torch.equal(same[name], tokens[name]) for name in tokens.streams)


def test_a_mask_ratio_beyond_1_is_refused(codec: MaskedCodebooks) -> None:
    with pytest.raises(UsageError, match=r"1\.5"):
        codec.mask(codec.encode(pictures(1)), 1.5)
