"""Patches: what they see, and grids of any size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.errors import UsageError
from zoo.generator import Batch, Decoding, Space
from zoo.generators.patchwise import Patchwise
from zoo.layers.backbone import BackboneConfig
from zoo.registry import preset


def built() -> Patchwise:
    torch.manual_seed(0)
    config = preset("video/patchwise_tiny").config
    space = Space("video", (3, 2, 2), (8,))
    model = Patchwise(replace(config, space=space, patch=(1, 2, 1))).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def test_a_grid_is_cut_and_joined() -> None:
    model = built()
    x = torch.arange(48).view(2, 3, 2, 4)
    cut = model._cut(x)
    assert cut.shape == (2, 12, 2)
    assert cut[0, 1].tolist() == [int(x[0, 0, 0, 1]), int(x[0, 0, 1, 1])]
    assert torch.equal(model._joined(cut, (3, 1, 4)), x)


def test_a_patch_sees_what_is_near_and_was_drawn_before() -> None:
    model = built()
    x = torch.randint(8, (1, 4, 2, 5))
    nats, _ = model._surprise(Batch(x))
    patches = [(t, w) for t in range(4) for w in range(5)]
    time, column = 2, 2
    changed = x.clone()
    changed[:, time, 0, column] = (changed[:, time, 0, column] + 3) % 8
    moved = (model._surprise(Batch(changed))[0] - nats).abs()[0] > 1e-6
    near = {
        patch
        for patch in patches
        if patch > (time, column) and abs(patch[0] - time) <= 1 and abs(patch[1] - column) <= 1
    }
    assert {patches[i] for i in moved.any(1).nonzero()[:, 0]} == near | {(time, column)}


def test_what_is_drawn_with_a_cache_is_what_the_whole_would_draw() -> None:
    model = built()
    given = model.given(label=[1, 2])
    ids = model._cut(model.sample(2, given, Decoding(temperature=0)).x)
    nats, _ = model._surprise(Batch(model._joined(ids, (3, 1, 2)), given))
    for change in range(1, 8):
        other = ids.clone()
        other[:, -1, -1] = (other[:, -1, -1] + change) % 8
        worse, _ = model._surprise(Batch(model._joined(other, (3, 1, 2)), given))
        assert bool((worse[:, -1, -1] > nats[:, -1, -1]).all())
        assert torch.allclose(worse[:, :-1], nats[:, :-1], atol=1e-5)


def test_nuwa_infinity_makes_any_length_and_size() -> None:
    """More frames and wider ones than the space has; what a patch reads stays the same."""
    model = built()
    read: list[int] = []
    hook = model.backbone.register_forward_pre_hook(
        lambda _, inputs: read.append(inputs[0].shape[1])
    )
    made = model.sample_size(1, (5, 4, 3), seed=1)
    hook.remove()
    assert made.shape == (1, 5, 4, 3)
    assert int(made.max()) < 8
    assert len(read) == 5 * 2 * 3 * 3
    assert set(read) == {1, 2 * len(model.offsets)}
    same = model.sample_size(2, (3, 2, 2), seed=4)
    assert torch.equal(same, model.sample(2, seed=4).x)
    with pytest.raises(UsageError, match="whole patches"):
        model.sample_size(1, (3, 3, 2))


def test_what_does_not_fit_is_refused() -> None:
    config = preset("video/patchwise_tiny").config
    with pytest.raises(UsageError, match="one level"):
        Patchwise(replace(config, space=Space("video", (3, 2, 2), (8, 8))))
    with pytest.raises(UsageError, match="who sees whom"):
        Patchwise(replace(config, backbone=BackboneConfig(48, 2, 2, mixers=("time",))))
