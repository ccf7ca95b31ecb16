"""Ids: their bits, bytes and grids, their agreement with others, and the meter of their use."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_quantize_pytorch import FSQ, LFQ

from zoo.errors import UsageError
from zoo.layers.quantizers import (
    Bsq,
    Fsq,
    Lfq,
    MultiScale,
    bits_per_position,
    build,
    factor_ids,
    join_ids,
    pack_ids,
    unpack_ids,
)


@pytest.mark.parametrize(
    ("levels", "size"),
    [((8, 8, 8, 5, 5, 5), 64000), ((8,) * 5, 32768), ((7, 5), 35)],
)
def test_every_fsq_id_is_a_code_of_its_own(levels: tuple[int, ...], size: int) -> None:
    quantizer = build(Fsq(dim=len(levels), levels=levels))
    ids = torch.arange(size)[None]
    assert quantizer.levels == (size,)
    codes = quantizer.decode(ids)
    assert len(codes[0].unique(dim=0)) == size
    again = quantizer.scalar.codes_to_indices(codes).long()
    assert torch.equal(again, ids)


def test_fsq_ids_are_those_of_the_library() -> None:
    ours, theirs = build(Fsq(dim=5, levels=(8, 8, 8, 5, 5))), FSQ([8, 8, 8, 5, 5])
    z = 2 * torch.randn(4, 50, 5)
    codes, ids = theirs(z)
    assert torch.equal(ours.encode(z), ids.long())
    torch.testing.assert_close(ours(z).values, codes)


def test_lfq_ids_and_loss_are_those_of_the_library() -> None:
    """One entropy group over all bits: then our factorised loss must be the whole table's."""
    ours = build(Lfq(dim=8, bits=8, entropy_bits=8, temperature=0.5)).train()
    theirs = LFQ(dim=8, codebook_size=2**8, entropy_loss_weight=1.0).train()
    z = torch.randn(4, 50, 8)
    result, (_, ids, loss) = ours(z), theirs(z, inv_temperature=2.0)
    assert torch.equal(result.ids, ids.long())
    torch.testing.assert_close(result.losses["entropy"], loss, atol=2e-3, rtol=1e-3)


def test_independent_groups_have_the_entropy_of_the_whole() -> None:
    """Latents whose two halves are independent and both occur in all combinations."""
    half = torch.randn(30, 3)
    z = torch.cat([half.repeat_interleave(30, 0), half.repeat(30, 1)], -1)
    whole = build(Lfq(dim=6, bits=6, entropy_bits=6, temperature=2.0))(z).losses["entropy"]
    split = build(Lfq(dim=6, bits=6, entropy_bits=3, temperature=2.0))(z).losses["entropy"]
    torch.testing.assert_close(whole, split)


def test_entropy_is_low_for_confident_and_varied_bits() -> None:
    quantizer = build(Lfq(dim=4, bits=4, temperature=1.0))
    varied = 5.0 * quantizer.decode(torch.arange(16)[None])
    collapsed, unsure = 5.0 * torch.ones(1, 16, 4), torch.zeros(1, 16, 4)
    entropy = {
        name: float(quantizer(z).losses["entropy"])
        for name, z in (("varied", varied), ("collapsed", collapsed), ("unsure", unsure))
    }
    assert entropy["varied"] == pytest.approx(-math.log(16), abs=1e-4)
    assert entropy["collapsed"] == pytest.approx(0.0, abs=1e-4)
    assert entropy["unsure"] == pytest.approx(0.0, abs=1e-4)


def test_large_vocabularies_need_no_table() -> None:
    quantizer = build(Bsq(dim=8, bits=36)).train()
    result = quantizer(torch.randn(2, 64, 8, requires_grad=True))
    assert quantizer.levels == (2**18, 2**18)
    assert sum(p.numel() for p in [*quantizer.parameters(), *quantizer.buffers()]) < 1000
    assert torch.isfinite(result.losses["entropy"])


def test_bsq_codes_are_unit_vectors() -> None:
    quantizer = build(Bsq(dim=20, bits=20))
    values = quantizer(torch.randn(3, 10, 20)).values
    assert quantizer.levels == (2**10, 2**10)
    torch.testing.assert_close(values.norm(dim=-1), torch.ones(3, 10))


def test_an_id_factors_into_halves_and_back() -> None:
    ids = torch.tensor([0, 1, 2**9, 2**18 - 1, 123456])
    parts = factor_ids(ids, (9, 9))
    assert parts[:, 0].tolist() == [0, 0, 1, 511, 123456 // 512]
    assert parts[:, 1].tolist() == [0, 1, 0, 511, 123456 % 512]
    assert torch.equal(join_ids(parts, (9, 9)), ids)
    with pytest.raises(UsageError):
        join_ids(parts, (9,))


@settings(deadline=None, max_examples=25)
@given(
    levels=st.lists(st.integers(1, 2**20), min_size=1, max_size=4),
    count=st.integers(0, 40),
    seed=st.integers(0, 99),
)
def test_packed_ids_come_back(levels: list[int], count: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(0, size, (count,), generator=draw) for size in levels], -1)
    if len(levels) == 1:
        ids = ids[:, 0]
    packed = pack_ids(ids, levels)
    assert len(packed) == -(-count * bits_per_position(levels) // 8)
    assert torch.equal(unpack_ids(packed, levels, count), ids)


def test_packing_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(UsageError, match="cannot be packed"):
        pack_ids(torch.tensor([5]), [5])
    with pytest.raises(UsageError, match="3 bytes for 2 positions"):
        unpack_ids(b"123", [2**18], 2)


def test_scales_split_into_grids() -> None:
    quantizer = build(MultiScale(dim=8, size=16, scales=((1, 1), (2, 3), (4, 6))))
    ids = quantizer.encode(torch.randn(2, 4, 6, 8))
    assert ids.shape == (2, 1 + 6 + 24)
    assert [part.shape[1:] for part in quantizer.split(ids)] == [(1, 1), (2, 3), (4, 6)]
    assert [part.shape[1:] for part in quantizer.split(ids[:, :7])] == [(1, 1), (2, 3)]
    with pytest.raises(UsageError, match="middle of a scale"):
        quantizer.split(ids[:, :6])


@pytest.mark.parametrize(
    ("scales", "shape"),
    [
        (((1,), (4,), (16,)), (2, 16)),
        (((1, 1), (2, 2), (4, 4)), (2, 3, 4, 4)),
        (((1, 1, 1), (2, 2, 2), (4, 4, 4)), (2, 4, 4, 4)),
    ],
)
@pytest.mark.parametrize("upward", ["linear", "nearest"])
def test_finer_scales_lower_the_error(
    scales: tuple[tuple[int, ...], ...], shape: tuple[int, ...], upward: str
) -> None:
    torch.manual_seed(0)
    quantizer = build(
        MultiScale(dim=8, size=64, scales=scales, upward=upward, smoothing=0.0)
    ).train()
    z = torch.randn(*shape, 8) + torch.randn(shape[0], *[1] * (len(shape) - 1), 8)
    for _ in range(20):
        quantizer(z)
    ids = quantizer.eval().encode(z)
    assert ids.shape[:-1] == shape[: len(shape) - len(scales[0])]
    errors = [float((quantizer.decode(ids, levels=k) - z).square().mean()) for k in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)


def test_any_prefix_of_a_sequence_of_scales_decodes() -> None:
    quantizer = build(MultiScale(dim=8, size=16, scales=((1, 1), (2, 2), (4, 4)))).eval()
    ids = quantizer.encode(torch.randn(2, 4, 4, 8))
    for length in range(1, 22):
        assert quantizer.decode(ids[:, :length]).shape == (2, 4, 4, 8)
    assert torch.equal(quantizer.decode(ids[:, :5]), quantizer.decode(ids, levels=2))
    with pytest.raises(UsageError, match="4 scales"):
        quantizer.decode(ids, levels=4)
    with pytest.raises(UsageError, match="22 ids"):
        quantizer.decode(torch.zeros(2, 22, dtype=torch.int64))


def test_latents_must_have_the_finest_grid() -> None:
    with pytest.raises(UsageError, match="scales that end in"):
        build(MultiScale(dim=8))(torch.zeros(1, 4, 5, 8))
