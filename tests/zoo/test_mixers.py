"""Mixers against slow references: who sees whom, and pieces of a sequence as the whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.errors import UsageError
from zoo.layers.attention import grid_positions
from zoo.layers.backbone import Backbone, BackboneConfig
from zoo.layers.mixers import MIXERS, View
from zoo.layers.scan import CHUNK, scan
from zoo.tokenizer import State

SIZE = BackboneConfig(dim=16, heads=2, window=2)
GRID = (5, 3, 4)
AXES = ("time", "space", "window", "ssm_time")


def mixer(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return MIXERS[name](SIZE)


def view(grid: tuple[int, ...] = GRID, **options: object) -> View:
    return View(grid_positions(grid, torch.device("cpu")), grid, **options)  # type: ignore[arg-type]


def reach(name: str, view: View, query: int) -> set[int]:
    """The positions that move what comes out at `query`."""
    x = torch.randn(1, len(view.positions), SIZE.dim, requires_grad=True)
    mixer(name)(x, view, None)[0, query].square().sum().backward()
    assert x.grad is not None
    return set(x.grad[0].abs().amax(-1).nonzero()[:, 0].tolist())


@pytest.mark.parametrize("decayed", [True, False])
@pytest.mark.parametrize("count", [1, CHUNK - 1, 2 * CHUNK + 3])
def test_a_scan_is_its_recurrence(count: int, decayed: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, count, width) for width in (4, 4, 5))
    decay = -torch.rand(2, 3, count) if decayed else None
    memory = torch.randn(2, 3, 4, 5)
    made, left = scan(query, key, value, decay, memory)
    for step in range(count):
        if decay is not None:
            memory = memory * decay[..., step, None, None].exp()
        memory = memory + key[..., step, :, None] * value[..., step, None, :]
        read = (query[..., step, None, :] @ memory).squeeze(-2)
        assert torch.allclose(made[..., step, :], read, atol=1e-3)
    assert torch.allclose(left, memory, atol=1e-3)


def test_strong_forgetting_stays_a_number() -> None:
    decay = torch.full((1, 200), -300.0, requires_grad=True)
    ones = torch.ones(1, 200, 2)
    made, _ = scan(ones, ones, ones, decay)
    made.sum().backward()
    assert torch.allclose(made, torch.full_like(made, 2.0))
    assert decay.grad is not None
    assert bool(decay.grad.isfinite().all())


@pytest.mark.parametrize("name", MIXERS)
def test_nothing_sees_what_comes_later(name: str) -> None:
    causal = view(causal=True)
    query = 2 * 12 + 5
    last = 3 * 12 if name in AXES else query + 1
    seen = reach(name, causal, query)
    assert max(seen) < last
    assert seen <= reach(name, replace(causal, causal=False), query)


@pytest.mark.parametrize("name", ["full", "linear", "ssm"])
def test_everything_is_seen_unless_the_view_is_causal(name: str) -> None:
    assert reach(name, view(), 29) == set(range(60))
    assert reach(name, view(causal=True), 29) == set(range(30))


def test_axes_see_along_themselves() -> None:
    query = 2 * 12 + 1 * 4 + 2
    places = grid_positions(GRID, torch.device("cpu"))
    same_place = (places[:, 1:] == places[query, 1:]).all(1).nonzero()[:, 0].tolist()
    same_frame = (places[:, 0] == places[query, 0]).nonzero()[:, 0].tolist()
    cells = places[:, 1:] // SIZE.window
    same_window = (cells == cells[query]).all(1).nonzero()[:, 0].tolist()
    assert reach("time", view(), query) == set(same_place)
    assert reach("ssm_time", view(), query) == set(same_place)
    assert reach("space", view(), query) == set(same_frame)
    assert reach("window", view(), query) == set(same_window)
    assert reach("window", view((7,)), 4) == {4, 5}


def test_windows_are_attention_with_a_mask() -> None:
    """Cut, attended and joined again, borders that do not divide included."""
    windows = mixer("window")
    full = mixer("full")
    full.load_state_dict(windows.state_dict())
    cells = view().positions[:, 1:] // SIZE.window
    mask = (cells.unsqueeze(1) == cells).all(-1)
    x = torch.randn(2, 60, SIZE.dim)
    expected = full(x, view(mask=mask), None)
    assert torch.allclose(windows(x, view(), None), expected, atol=1e-5)


@pytest.mark.parametrize("cuts", [(1, 1, 1, 1, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize("name", ["full", "linear", "ssm", "time", "ssm_time"])
def test_pieces_are_the_whole(name: str, cuts: tuple[int, ...]) -> None:
    """What a state carries is what the whole sequence shows."""
    causal = view(causal=True)
    if name == "full":
        causal = replace(causal, grid=())
    module, x, state = mixer(name), torch.randn(2, 60, SIZE.dim), State()
    made, start = [], 0
    for frames in cuts:
        part = slice(start * 12, (start + frames) * 12)
        piece = View(causal.positions[part], (frames, 3, 4), causal=True)
        made.append(module(x[:, part], piece, state))
        start += frames
    assert torch.allclose(torch.cat(made, 1), module(x, causal, None), atol=1e-5)


@pytest.mark.parametrize("name", ["full", "linear", "ssm"])
def test_positions_one_by_one_are_the_whole(name: str) -> None:
    module, x, state = mixer(name), torch.randn(2, 12, SIZE.dim), State()
    whole = view((12,), causal=True)
    steps = [
        module(x[:, i : i + 1], View(whole.positions[i : i + 1], causal=True), state)
        for i in range(12)
    ]
    assert torch.allclose(torch.cat(steps, 1), module(x, whole, None), atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", MIXERS)
def test_padding_changes_nothing(name: str, causal: bool) -> None:
    module, x = mixer(name), torch.randn(2, 60, SIZE.dim)
    valid = torch.ones(2, 60, dtype=torch.bool)
    valid[1, 36:] = False
    padded = module(x, view(causal=causal, valid=valid), None)
    alone = module(x[1:, :36], view((3, 3, 4), causal=causal), None)
    assert torch.allclose(padded[1:, :36], alone, atol=1e-5)
    assert torch.allclose(padded[:1], module(x[:1], view(causal=causal), None), atol=1e-5)
    assert bool(padded.isfinite().all())


def test_a_state_space_runs_both_ways() -> None:
    """Each half of the channels, before they are put together, is a causal pass of its own."""
    module = mixer("ssm")
    module.norm, module.out = torch.nn.Identity(), torch.nn.Identity()
    line, x = view((9,)), torch.randn(1, 9, SIZE.dim)
    ahead = module(x, replace(line, causal=True), None)
    back = module(x.flip(1), replace(line, causal=True), None).flip(1)
    both = module(x, line, None)
    assert torch.allclose(both[..., :8], ahead[..., :8], atol=1e-5)
    assert torch.allclose(both[..., 8:], back[..., 8:], atol=1e-5)


def test_linear_attention_is_its_sum() -> None:
    """Positions left out, the weights are the products of the features, divided by their sum."""
    module = mixer("linear")
    x = torch.randn(1, 6, SIZE.dim)
    nowhere = View(torch.zeros(6, 1, dtype=torch.long))
    query, key, value = module.inputs(x).view(1, 6, 3, 2, 8).permute(2, 0, 3, 1, 4)
    weights = (torch.nn.functional.elu(query) + 1) @ (torch.nn.functional.elu(key) + 1).mT
    expected = weights / weights.sum(-1, keepdim=True) @ value
    expected = module.out(expected.transpose(1, 2).flatten(2))
    assert torch.allclose(module(x, nowhere, None), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["linear", "ssm"])
def test_the_memory_of_a_stream_does_not_grow(name: str) -> None:
    module, state = mixer(name), State()
    sizes = []
    for start in range(0, 40, 10):
        piece = View(torch.arange(start, start + 10).unsqueeze(1), causal=True)
        module(torch.randn(1, 10, SIZE.dim), piece, state)
        held = [part for parts in state.values() for part in parts]
        sizes.append(sum(part.numel() for part in held))
    assert len(set(sizes)) == 1


def test_what_a_mixer_cannot_do_is_refused() -> None:
    x, line = torch.randn(1, 4, SIZE.dim), view((4,))
    for name in ("linear", "ssm"):
        with pytest.raises(UsageError, match="hide single positions"):
            mixer(name)(x, replace(line, mask=torch.ones(4, 4).bool()), None)
    with pytest.raises(UsageError, match="one direction"):
        mixer("ssm")(x, line, State())
    with pytest.raises(UsageError, match="keep no state"):
        mixer("window")(x, line, State())
    with pytest.raises(UsageError, match="the whole grid"):
        mixer("time")(x, replace(line, grid=()), None)
    with pytest.raises(UsageError, match="need a size"):
        MIXERS["window"](BackboneConfig(dim=16, heads=2))
    with pytest.raises(UsageError, match="two halves"):
        MIXERS["ssm"](BackboneConfig(dim=20, heads=4))


def test_a_backbone_mixes_mixers() -> None:
    torch.manual_seed(0)
    config = BackboneConfig(
        16, depth=4, heads=2, mixers=("window", "ssm", "linear", "full"), window=2
    )
    made = Backbone(config)(torch.randn(1, 60, 16), view())
    assert made.shape == (1, 60, 16)
