"""Segments, tasks and ranges of the multimodal generator."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.errors import InputError, UsageError
from zoo.generator import Batch, Decoding
from zoo.generators.multimodal_ar import Multimodal, Segment, Task, binned, unbinned
from zoo.registry import preset


def built() -> Multimodal:
    """Segments of different vocabularies."""
    torch.manual_seed(0)
    config = preset("video/multimodal_ar_tiny").config
    segments = (Segment("camera", 3, 2), Segment("video", 8, 4), Segment("sound", 5, 2))
    model = Multimodal(replace(config, segments=segments)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def columns() -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    sizes = {"camera": (3, 2), "video": (8, 4), "sound": (5, 2)}
    return {
        name: torch.randint(codes, (2, length), generator=dice)
        for name, (codes, length) in sizes.items()
    }


def test_videopoet_has_ranges_that_do_not_touch_and_tokens_of_tasks() -> None:
    model = built()
    ranges = {(int(a), int(b)) for a, b in zip(model.first, model.size, strict=True)}
    assert sorted(ranges) == [(0, 3), (3, 8), (11, 5)]
    fed: list[torch.Tensor] = []
    model.embedding.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0]))
    batch = Batch(model.joined(**columns()))
    for task in range(3):
        model._surprise(batch, task)
    assert [int(ids[0, 0]) for ids in fed] == [16, 17, 18]
    camera, video, sound = (columns()[name] for name in ("camera", "video", "sound"))
    assert torch.equal(fed[0][:, 1:], torch.cat([camera, video + 3, sound[:, :-1] + 11], 1))
    assert torch.equal(fed[2][:, 1:], torch.cat([video + 3, sound[:, :-1] + 11], 1))


def test_columns_of_a_shard_are_joined_and_parted() -> None:
    model = built()
    parted = model.parted(model.joined(**columns()))
    assert all(torch.equal(parted[name], ids) for name, ids in columns().items())
    with pytest.raises(UsageError, match="no segment 'vidio'"):
        model.joined(vidio=columns()["video"])
    with pytest.raises(InputError, match="2 ids from 0 to 2"):
        model.joined(camera=columns()["camera"] + 1)


def test_only_what_a_task_makes_is_learned() -> None:
    model = built()
    batch = Batch(model.joined(**columns()))
    counts = [int(model._surprise(batch, task)[1][0].sum()) for task in range(3)]
    assert counts == [8, 6, 2]


def test_what_is_made_follows_from_what_is_given() -> None:
    """The task is the one whose given segments are known; ids stay in their ranges."""
    model = built()
    known = model.known(video=columns()["video"])
    assert model.config.tasks[model.task_of(known)].name == "dub"
    assert model.task_of(None) == 0
    made = model.parted(model.sample(2, known=known).x)
    assert torch.equal(made["video"], columns()["video"])
    assert int(made["sound"].max()) < 5
    assert bool((made["camera"] == 0).all())
    everything = model.parted(model.sample(64, seed=1).x)
    assert {name: int(ids.max()) for name, ids in everything.items()} == {
        "camera": 2,
        "video": 7,
        "sound": 4,
    }


def test_camvig_conditions_on_a_path_of_the_camera() -> None:
    model = built()
    paths = torch.tensor([[-0.9, 0.9], [0.1, -0.2]])
    ids = binned(paths, 3, 1.0)
    assert ids.tolist() == [[0, 2], [1, 1]]
    assert float((unbinned(ids, 3, 1.0) - paths).abs().max()) <= 1 / 3
    torch.nn.init.normal_(model.embedding.weight)
    made = [
        model.sample(2, decoding=Decoding(temperature=0), known=model.known(camera=camera)).x
        for camera in (ids, ids.flip(0))
    ]
    assert model.config.tasks[model.task_of(model.known(camera=ids))].name == "film"
    assert torch.equal(made[0][:, :2], ids)
    assert torch.equal(made[0], made[1].flip(0))
    assert not torch.equal(made[0][:, 2:], made[1][:, 2:])


def test_what_is_drawn_with_a_cache_is_what_the_whole_would_draw() -> None:
    model = built()
    made = model.sample(2, decoding=Decoding(temperature=0)).x
    nats, _ = model._surprise(Batch(made), 0)
    for place, codes in enumerate(model.size.tolist()):
        other = made.clone()
        other[:, place] = (other[:, place] + 1) % codes
        worse, _ = model._surprise(Batch(other), 0)
        assert bool((worse[:, place] > nats[:, place]).all())
        assert torch.allclose(worse[:, :place], nats[:, :place], atol=1e-5)


def test_segments_must_fill_the_space() -> None:
    config = preset("video/multimodal_ar_tiny").config
    with pytest.raises(UsageError, match="do not fill"):
        Multimodal(replace(config, segments=config.segments[:2]))
    with pytest.raises(UsageError, match="no segment 'smell'"):
        Multimodal(replace(config, tasks=(Task("all", ("smell",)),)))
