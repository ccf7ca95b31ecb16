"""Tokenizers of joints over time."""

from __future__ import annotations

import pytest
import torch

from zoo import create, preset
from zoo.errors import InputError
from zoo.tokenizers.motion_grid import joint_features, joint_grid
from zoo.tokens import Tokens


def test_mtvcrafter_turns_49_frames_of_24_joints_into_13_by_24_ids() -> None:
    tokenizer = create("joints/grid_vq_tiny")
    take = torch.randn(1, 49, 24, 3, generator=torch.Generator().manual_seed(0))
    tokens = tokenizer.encode(take)
    assert tokens.grid == (13, 24)
    assert tokens.ids.shape == (1, 13, 24)
    stored = tokenizer.tokens({"tokens": tokens.ids.to(torch.int32)}, (49, 24))
    assert tokenizer.decode(stored).shape == (1, 49, 24, 3)


def test_the_full_size_preset_of_mtvcrafter_has_the_published_vocabulary() -> None:
    spec = preset("joints/grid_vq.mtvcrafter").spec
    assert spec.grid((49, 24)) == {"tokens": (13, 24)}
    assert spec.stream("tokens").levels == (8192,)


def test_an_id_depends_on_its_joint_and_its_neighbours_in_the_past_only() -> None:
    tokenizer = create("joints/grid_vq_tiny")
    take = torch.randn(1, 17, 24, 3, generator=torch.Generator().manual_seed(1))
    later = take.clone()
    later[:, 9:] += 1.0
    before, after = tokenizer.encode(take).ids, tokenizer.encode(later).ids
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_a_live_take_gives_the_ids_of_the_whole() -> None:
    tokenizer = create("joints/grid_rvq_tiny")
    take = torch.randn(1, 30, 22, 12, generator=torch.Generator().manual_seed(2))
    streamed = Tokens.join(list(tokenizer.encode_stream(take.split(4, dim=1))))
    assert torch.equal(streamed.ids, tokenizer.encode(take).ids)


def test_mogents_halves_the_joints_twice_and_gives_them_all_back() -> None:
    assert preset("joints/grid_rvq.mogents").spec.grid((33, 22)) == {"tokens": (9, 6)}
    tokenizer = create("joints/grid_rvq_tiny")
    take = torch.randn(1, 9, 22, 12, generator=torch.Generator().manual_seed(3))
    assert tokenizer.decode(tokenizer.encode(take).keep(1)).shape == take.shape


@pytest.mark.parametrize(("features", "joints"), [(263, 22), (251, 21)])
def test_humanml3d_features_go_to_joints_and_back(features: int, joints: int) -> None:
    motion = torch.randn(2, 5, features)
    grid = joint_grid(motion)
    assert grid.shape == (2, 5, joints, 12)
    assert torch.equal(joint_features(grid), motion)
    assert torch.equal(grid[..., 1, :3], motion[..., 4:7]), "the first joint's position"
    assert torch.equal(grid[..., 0, 4:8], motion[..., -4:]), "contacts lie with the root"


def test_other_features_are_refused_as_joints() -> None:
    with pytest.raises(InputError, match="272 features"):
        joint_grid(torch.zeros(1, 4, 272))
