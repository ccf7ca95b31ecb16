"""Part-wise tokenizers: a stream of ids for every body part."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo import create, preset
from zoo.errors import UsageError
from zoo.tokenizers.motion_parts import COCO_WHOLEBODY, MotionParts, humanml3d_parts

HANDS = (6, 7)


def keypoints(frames: int = 12) -> Tensor:
    """2D keypoints of 8 joints with full confidence."""
    dice = torch.Generator().manual_seed(0)
    take = torch.rand(1, frames, 8, 3, generator=dice)
    take[..., 2] = 1.0
    return take


def test_x_dancer_gives_body_head_and_hands_as_streams_of_their_own() -> None:
    tokenizer = create("joints/parts_vq_tiny")
    tokens = tokenizer.encode(keypoints())
    assert set(tokens.streams) == {"body", "head", "hands"}
    assert all(tokens[name].shape == (1, 3) for name in tokens.streams)
    assert tokenizer.decode(tokens).shape == (1, 12, 8, 3)


def test_the_full_size_preset_of_x_dancer_takes_keypoints_of_the_whole_body() -> None:
    spec = preset("joints/parts_vq.x_dancer").spec
    assert (spec.joints, spec.channels) == (133, 3)
    assert [stream.name for stream in spec.streams] == ["body", "head", "left_hand", "right_hand"]
    assert sorted(place for _, part in COCO_WHOLEBODY for place in part) == list(range(133))


def test_moving_the_hands_changes_the_ids_of_the_hands_only() -> None:
    tokenizer = create("joints/parts_vq_tiny")
    take, waving = keypoints(), keypoints()
    waving[:, :, HANDS, :2] = 2 - 3 * waving[:, :, HANDS, :2]
    before, after = tokenizer.encode(take), tokenizer.encode(waving)
    assert torch.equal(before["body"], after["body"])
    assert torch.equal(before["head"], after["head"])
    assert not torch.equal(before["hands"], after["hands"])


def test_a_keypoint_without_confidence_moves_no_id() -> None:
    tokenizer = create("joints/parts_vq_tiny")
    take = keypoints()
    take[:, :, 6, 2] = 0.0
    elsewhere = take.clone()
    elsewhere[:, :, 6, :2] += 50.0
    before, after = tokenizer.encode(take), tokenizer.encode(elsewhere)
    assert all(torch.equal(before[name], after[name]) for name in before.streams)


def test_a_keypoint_without_confidence_does_not_weigh_in_the_loss() -> None:
    tokenizer = create("joints/parts_vq_tiny")
    take = keypoints()
    take[:, :, 6, 2] = 0.0
    elsewhere = take.clone()
    elsewhere[:, :, 6, :2] += 50.0
    losses = [tokenizer(clip).losses["features"] for clip in (take, elsewhere)]
    assert torch.equal(*losses)


def test_columns_of_humanml3d_are_shared_out_by_limb() -> None:
    parts = dict(humanml3d_parts())
    assert sorted(place for part in parts.values() for place in part) == list(range(263))
    assert {4 + 3 * 19, 67 + 6 * 19, 193 + 3 * 20} < set(parts["left_arm"]), "the left wrist"
    assert {259, 260} < set(parts["left_leg"])


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ((("body", tuple(range(7))),), r"missing \[7\]"),
        ((("body", tuple(range(8))), ("hands", HANDS)), r"twice \[6, 7\]"),
        ((("body", tuple(range(9))),), r"beyond \[8\]"),
    ],
)
def test_parts_that_do_not_share_out_the_joints_are_refused(parts, problem: str) -> None:
    config = replace(preset("joints/parts_vq_tiny").config, parts=parts)
    with pytest.raises(UsageError, match=problem):
        MotionParts(config)
