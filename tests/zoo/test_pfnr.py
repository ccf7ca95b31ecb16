"""PFNR: clips as sub-networks of one network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo import preset
from zoo.artefact import load
from zoo.errors import UsageError
from zoo.tokenizers.pfnr import Pfnr


def footage(seed: int, frames: int = 4) -> Tensor:
    """Waves that move, different for every seed."""
    dice = torch.Generator().manual_seed(seed)
    pace = torch.rand(3, 3, generator=dice) * 0.5
    time = torch.arange(frames).view(-1, 1, 1)
    rows, columns = torch.arange(16).view(1, -1, 1), torch.arange(16).view(1, 1, -1)
    planes = [torch.sin(a * time * 2 + b * rows + c * columns) for a, b, c in pace]
    return 0.9 * torch.stack(planes)[None]


def model(steps: int = 60) -> Pfnr:
    torch.manual_seed(0)
    return Pfnr(replace(preset("video/pfnr_tiny").config, steps=steps, batch=4)).eval()


def test_pfnr_leaves_the_first_clip_bit_identical_when_a_second_is_added(tmp_path) -> None:
    growing = model()
    first = growing.encode(footage(1))
    growing.keep(first)
    before = growing.decode(first)
    assert float((before - footage(1)).square().mean()) < float(footage(1).var()) / 2
    second = growing.encode(footage(2))
    growing.keep(second)
    assert float((growing.decode(second) - footage(2)).square().mean()) < float(footage(2).var())
    assert torch.equal(growing.decode(first), before)
    assert torch.equal(load(growing.save(tmp_path)).decode(first), before)


def test_pfnr_stores_a_sparse_mask_for_every_clip() -> None:
    growing = model(steps=5)
    first = growing.encode(footage(1))
    growing.keep(first)
    second = growing.encode(footage(2))
    share = growing.config.share
    for tokens in (first, second):
        assert abs(float(tokens["mask"].float().mean()) - share) < 0.01
    assert not torch.equal(first["mask"], second["mask"])


def test_a_later_clip_builds_on_kept_weights_and_pays_for_new_ones_only() -> None:
    growing = model(steps=5)
    first = growing.encode(footage(1))
    growing.keep(first)
    second = growing.encode(footage(2))
    new, used = second["weights"] > 0, second["mask"] > 0
    assert int(new.sum()) < int(used.sum())
    assert not bool((new & (first["mask"] > 0)).any())


def test_clips_that_were_encoded_side_by_side_cannot_both_be_kept() -> None:
    growing = model(steps=2)
    first, second = growing.encode(footage(1)), growing.encode(footage(2))
    growing.keep(first)
    with pytest.raises(UsageError, match="another clip has taken"):
        growing.keep(second)


def test_one_clip_is_kept_at_a_time() -> None:
    growing = model(steps=1)
    both = growing.encode(torch.cat([footage(1), footage(2)]))
    with pytest.raises(UsageError, match="2 clips at once"):
        growing.keep(both)


def test_fitting_is_not_training() -> None:
    with pytest.raises(UsageError, match="fitted to every clip"):
        model()(footage(1))
