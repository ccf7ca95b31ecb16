"""Attention in pieces is attention at once; who sees whom is what the reach says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.layers.attention import (
    Attention,
    GridTransformer,
    Pattern,
    Reach,
    TransformerLayer,
    grid_positions,
    rotary_angles,
    rotate,
)
from zoo.layers.patches import FromPatches, ToPatches, cut, join

CPU = torch.device("cpu")


def seen(reach: Reach, count: int) -> list[list[int]]:
    mask = reach.mask(0, count, 0, CPU)
    full = torch.ones(count, count, dtype=torch.bool) if mask is None else mask
    return [row.nonzero().flatten().tolist() for row in full]


def test_causal_reach_sees_itself_and_its_past() -> None:
    assert seen(Reach(past=2), 5) == [[0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_blocks_see_themselves_both_ways() -> None:
    assert seen(Reach(past=1, block=2), 5) == [[0, 1], [0, 1], [1, 2, 3], [1, 2, 3], [3, 4]]


def test_the_first_position_may_stand_apart() -> None:
    rows = seen(Reach(past=2, block=2, apart=True), 5)
    assert rows == [[0], [0, 1, 2], [0, 1, 2], [1, 2, 3, 4], [1, 2, 3, 4]]


def test_no_mask_where_everything_is_seen() -> None:
    assert Reach(past=3).mask(7, 1, 3, CPU) is None
    assert Reach(past=3, block=4).mask(0, 4, 0, CPU) is None


def grid(frames: int, channels: int = 16) -> Tensor:
    return torch.randn(2, frames, 4, 4, channels, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layers", [("time", "time"), ("joint", "joint"), ("window", "time")])
@pytest.mark.parametrize(
    ("reach", "cuts"),
    [
        (Reach(past=3), (1, 2, 3, 4)),
        (Reach(past=2, block=2), (2, 4, 2, 2)),
        (Reach(past=2, block=3, apart=True), (1, 3, 6)),
    ],
)
def test_pieces_give_the_values_of_the_whole(
    layers: tuple[Pattern, ...], reach: Reach, cuts: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    stack = GridTransformer(16, 2, layers, reach, window=2)
    x, state = grid(sum(cuts)), {}
    pieces = torch.cat([stack(piece, state) for piece in x.split(cuts, dim=1)], dim=1)
    torch.testing.assert_close(pieces, stack(x), rtol=1e-4, atol=1e-5)


def test_the_state_of_a_long_stream_stays_small() -> None:
    stack = GridTransformer(16, 2, ("joint",), Reach(past=3))
    state: dict = {}
    sizes = []
    for _ in range(6):
        stack(grid(2), state)
        key, value = next(kept for kept in state.values() if isinstance(kept, tuple))
        sizes.append(key.shape[2] + value.shape[2])
    assert sizes == [64, 96, 96, 96, 96, 96]


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [("space", (1, 4, 4)), ("window", (1, 2, 2)), ("time", (5, 1, 1)), ("joint", (5, 4, 4))],
)
def test_a_pattern_reaches_what_it_says(pattern: Pattern, reached: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    stack = GridTransformer(16, 2, (pattern,), window=2)
    x = grid(5)
    changed = x.clone()
    changed[:, 2, 1, 1] += 1
    moved = (stack(changed) - stack(x)).abs().amax(dim=(0, 4)) > 1e-6
    extents = [int(moved.any(dim=other).sum()) for other in ((1, 2), (0, 2), (0, 1))]
    assert tuple(extents) == reached


def test_rotary_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 1, 12), torch.randn(1, 1, 1, 12)

    def product(at: list[int], to: list[int]) -> float:
        one = rotate(query, rotary_angles(torch.tensor([at]), 12))
        other = rotate(key, rotary_angles(torch.tensor([to]), 12))
        return float((one * other).sum())

    assert product([0, 0, 0], [3, 1, 2]) == pytest.approx(product([90_000, 5, 5], [90_003, 6, 7]))
    assert product([0, 0, 0], [3, 1, 2]) != pytest.approx(product([0, 0, 0], [1, 3, 2]))


def test_grid_positions_run_like_a_flat_grid() -> None:
    assert grid_positions((2, 1, 2), CPU, start=5).tolist() == [
        [5, 0, 0],
        [5, 0, 1],
        [6, 0, 0],
        [6, 0, 1],
    ]


def test_a_context_and_a_condition_change_the_outcome() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(16, 2, context=6, condition=8)
    x, context, condition = torch.randn(2, 3, 16), torch.randn(2, 5, 6), torch.randn(2, 8)
    plain = layer(x, context=context, condition=condition)
    torch.testing.assert_close(plain, layer(x, context=context, condition=condition * 2))
    nn.init.normal_(layer.modulation.weight)
    assert not torch.allclose(plain, layer(x, context=context, condition=condition))
    assert not torch.allclose(plain, layer(x, context=context * 2 + 1, condition=condition * 0))


def test_impossible_widths_and_windows_are_refused() -> None:
    with pytest.raises(UsageError, match="heads"):
        Attention(10, 4)
    with pytest.raises(UsageError, match="windows"):
        GridTransformer(16, 2, ("window",))


def test_patches_come_back_as_pixels() -> None:
    x = torch.arange(2 * 3 * 4 * 6 * 8, dtype=torch.float32).view(2, 3, 4, 6, 8)
    parts = cut(x, 2, 2)
    assert parts.shape == (2, 2, 3, 4, 24)
    assert parts[0, 0, 0, 0].view(3, 2, 2, 2).equal(x[0, :, :2, :2, :2])
    assert join(parts, 2, 2).equal(x)


def test_a_first_frame_has_patches_of_its_own() -> None:
    into, back = ToPatches(8, 4, 2, image_first=True), FromPatches(8, 4, 2, image_first=True)
    x = torch.randn(1, 3, 9, 4, 4)
    tokens = into(x)
    assert tokens.shape == (1, 3, 2, 2, 8)
    torch.testing.assert_close(into(x[:, :, :1]), tokens[:, :1])
    torch.testing.assert_close(into(x[:, :, 1:5], fresh=False), tokens[:, 1:2])
    assert back(tokens).shape == x.shape
    assert back(tokens[:, 1:], fresh=False).shape == (1, 3, 8, 4, 4)
