"""Orders, caches, levels and ends of the autoregressive generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import zoo
from zoo.errors import UsageError
from zoo.generator import Batch, Decoding, Known
from zoo.generators.autoregressive import Autoregressive
from zoo.grammar import asked, examples
from zoo.layers.orders import NOTHING, Arrangement, Order, Steps, place_order
from zoo.registry import preset

NAMES = zoo.list_models("*/autoregressive*_tiny", kind="generator")


def built(name: str, **options: Any) -> Autoregressive:
    torch.manual_seed(0)
    model = Autoregressive(replace(preset(name).config, **options)).eval()
    for out in model.head.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
    return model


@pytest.mark.parametrize("arrangement", ["flat", "delay", "depth"])
def test_steps_come_apart_and_together(arrangement: Arrangement) -> None:
    ids = torch.randint(0, 9, (2, 5, 3))
    steps = Steps(5, 3, arrangement)
    slots = steps.split(ids)
    assert slots.shape == (2, steps.length, steps.slots)
    assert int(slots.ne(NOTHING).sum()) == ids.numel()
    assert torch.equal(steps.join(slots), ids)
    assert len(steps.places()) == steps.length


@pytest.mark.parametrize("order", ["raster", "coarse", "random"])
def test_every_place_comes_once(order: Order) -> None:
    places = place_order(order, (3, 4, 5), torch.Generator().manual_seed(1))
    assert sorted(places.tolist()) == list(range(60))


def test_coarse_places_come_first() -> None:
    assert place_order("coarse", (4, 4)).tolist()[:4] == [0, 2, 8, 10]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_with_a_cache_is_what_the_whole_would_draw(name: str) -> None:
    """The likeliest ids, one by one, are the likeliest of the pass over all of them."""
    order = preset(name).config.order
    model = built(name, ends=False, order="coarse" if order == "random" else order)
    motifs = torch.tensor([0, 1, 2])
    given = model.given(**asked(model, motifs))
    made = model.sample(3, given, Decoding(temperature=0))
    alone = float(model.nll(Batch(made.x, given)).mean())
    for change in range(3):
        other = made.x.clone()
        other[:, -1] = (other[:, -1] + 1 + change) % 8
        assert float(model.nll(Batch(other, given)).mean()) > alone


@pytest.mark.parametrize("name", NAMES)
def test_nothing_sees_what_comes_later(name: str) -> None:
    """The surprise at a place does not move when a later id does."""
    model = built(name, order="raster")
    batch, _ = examples(model, 2, seed=0)
    changed = batch.x.clone()
    changed[:, -1] = (changed[:, -1] + 3) % 8
    one = model._surprise(batch, None)[0]
    other = model._surprise(Batch(changed, batch.conditions), None)[0]
    frames = model.space.grid[0]
    kept = one.shape[1] * (frames - 1) // frames - len(model.space.levels)
    assert torch.allclose(one[:, :kept], other[:, :kept], atol=1e-5)
    assert not torch.allclose(one, other, atol=1e-5)


def test_a_random_order_is_exact_in_any_order() -> None:
    model = built("video/autoregressive_random_tiny")
    batch, _ = examples(model, 2, seed=0)
    assert not torch.equal(model.nll(batch, seed=1), model.nll(batch, seed=2))
    assert torch.equal(model.nll(batch, seed=1), model.nll(batch, seed=1))


def test_the_model_decides_how_long() -> None:
    model = built("motion/autoregressive_tiny")
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    lengths = torch.tensor([3, 5] * 8)
    for seed in range(60):
        batch, _ = examples(model, 16, seed)
        batch = Batch(batch.x, model.given(label=[0, 1] * 8), lengths)
        optimiser.zero_grad()
        model.train().loss(batch).backward()
        optimiser.step()
    made = model.sample(8, model.given(label=[0, 1] * 4), Decoding(temperature=0))
    assert made.lengths is not None
    assert made.lengths.tolist() == [3, 5] * 4


def test_padding_is_not_learned() -> None:
    model = built("motion/autoregressive_delay_tiny")
    batch, _ = examples(model, 4, seed=0)
    lengths = torch.tensor([2, 3, 4, 6])
    changed = batch.x.clone()
    for row, length in zip(changed, lengths, strict=True):
        row[length:] = 7
    one = model.losses(Batch(batch.x, batch.conditions, lengths))["nll"]
    assert torch.allclose(one, model.losses(Batch(changed, batch.conditions, lengths))["nll"])


def test_it_goes_on_but_does_not_fill_in_between() -> None:
    model = built("motion/autoregressive_delay_tiny")
    batch, _ = examples(model, 2, seed=0)
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[:, :4] = True
    made = model.sample(2, batch.conditions, known=Known(batch.x, mask)).x
    assert torch.equal(made[:, :4], batch.x[:, :4])
    mask[:, 0] = False
    with pytest.raises(UsageError, match="masked generator"):
        model.sample(2, known=Known(batch.x, mask))


def test_few_codes_can_be_asked_for() -> None:
    model = built("video/autoregressive_tiny")
    likeliest = model.sample(4, decoding=Decoding(top_k=1), seed=1).x
    assert torch.equal(likeliest, model.sample(4, decoding=Decoding(temperature=0), seed=2).x)
    assert torch.equal(likeliest, model.sample(4, decoding=Decoding(top_p=1e-9), seed=3).x)
    with pytest.raises(UsageError, match="top_p is 0"):
        Decoding(top_p=0)


# What published systems are to do, by the presets that serve them.


def test_loong_learns_short_clips_before_long_ones_and_goes_on_behind_them() -> None:
    """Clips of one and two frames are learned; the third continues a prefix that was slid on."""
    model = built("video/autoregressive_tiny")
    batch, _ = examples(model, 4, seed=0)
    for frames in (1, 2):
        short = Batch(batch.x[:, :frames], batch.conditions)
        assert bool(model.losses(short)["nll"].isfinite())
    mask = torch.zeros(4, 3, 2, 2, dtype=torch.bool)
    mask[:, :2] = True
    made = batch.x[:, :2]
    for seed in range(3):
        window = torch.cat([made[:, -2:], torch.zeros_like(made[:, :1])], dim=1)
        longer = model.sample(4, batch.conditions, known=Known(window, mask), seed=seed).x
        assert torch.equal(longer[:, :2], made[:, -2:])
        made = torch.cat([made, longer[:, 2:]], dim=1)
    assert made.shape == (4, 5, 2, 2)
    assert preset("video/autoregressive_loong.700m").config.backbone.reads == "prefix"


def test_vid_icl_continues_a_query_after_a_demonstration() -> None:
    """One row holds the demonstration and the query; both stay, and both change what follows."""
    model = built("video/autoregressive_tiny")
    batch, _ = examples(model, 1, seed=0)
    mask = torch.ones(1, 3, 2, 2, dtype=torch.bool)
    mask[:, 2, :, 1] = False
    mask[:, 2, 1] = False
    known = Known(batch.x, mask)
    made = model.sample(1, known=known).x
    assert torch.equal(made[mask], batch.x[mask])
    alone = model.nll(Batch(made))
    for frame in (0, 1):
        other = made.clone()
        other[:, frame] = (other[:, frame] + 3) % 8
        assert not torch.equal(model.nll(Batch(other)), alone)


@pytest.mark.parametrize("name", ["fqgan.imagenet", "imagefolder.imagenet"])
def test_fqgan_and_imagefolder_draw_all_codes_of_a_place_in_one_step(name: str) -> None:
    full = preset(f"image/autoregressive_{name}")
    assert full.config.arrangement == "depth"
    model = built(full.tiny)
    steps: list[int] = []
    model.backbone.register_forward_pre_hook(lambda *_: steps.append(1))
    made = model.sample(2).x
    assert made.shape == (2, 6, 2)
    assert len(steps) == 6


def test_larp_draws_1024_ids() -> None:
    config = preset("video/autoregressive_larp.ucf").config
    size = replace(config.backbone, dim=8, depth=1, heads=1)
    made = Autoregressive(replace(config, backbone=size)).sample(1).x
    assert made.shape == (1, 1024)
    assert int(made.max()) > 1024


def test_jpeg_lm_has_bytes_and_an_end() -> None:
    config = preset("image/autoregressive_jpeglm.7b").config
    size = replace(config.backbone, dim=8, depth=1, heads=1)
    model = Autoregressive(replace(config, backbone=size, space=replace(config.space, grid=(9,))))
    torch.nn.init.constant_(model.head.outs[0].bias, 0.0)
    with torch.no_grad():
        model.head.outs[0].bias[256] = 50.0
    made = model.sample(2)
    assert made.lengths is not None
    assert made.lengths.tolist() == [1, 1]
    assert int(made.x.max()) < 256
