"""Choosing frames of clips whose changes are known, and counting what repeats."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from catalogs.errors import UsageError
from catalogs.testing import Shot, render_video
from curation.choose_frames import (
    choose,
    choose_for,
    key_frames,
    pictures,
    share_tokens,
    sheet,
    summarize,
)
from curation.operators import Clip, StoryFrame, checked_scores
from curation.operators.redundancy import Redundancy, kept_patches
from curation.operators.trial import clip_of_file
from curation.signals import VideoSignals

FPS = 10


def clip_of(thumbs: NDArray[np.uint8]) -> Clip:
    """A clip of ten frames a second that shows these thumbnails."""
    frames = len(thumbs)
    change = np.abs(np.diff(thumbs.astype(np.float32), axis=0, prepend=thumbs[:1])).mean((1, 2))
    signals = VideoSignals(
        time_base=Fraction(1, FPS),
        pts=np.arange(frames),
        end_pts=frames,
        small_size=(96, 56),
        columns={"lum_delta": change.astype(np.float32)},
        thumbs=thumbs,
    )
    row = {"clip_id": "c", "start_frame": 0, "end_frame": frames, "duration_s": frames / FPS}
    return Clip(row, {}, signals)


def still(frames: int, seed: int = 0) -> NDArray[np.uint8]:
    picture = np.random.default_rng(seed).integers(0, 255, (1, 7, 12), np.uint8)
    return np.repeat(picture, frames, axis=0)


def test_uniform_and_per_second_never_exceed_the_count() -> None:
    clip = clip_of(still(100))
    assert choose(clip, "uniform", count=4) == [12, 37, 62, 87]
    assert choose(clip, "per-second", count=64) == [5 + 10 * k for k in range(10)]
    assert len(choose(clip, "per-second", count=3, per_s=5)) == 3
    assert choose(clip_of(still(2)), "uniform", count=8) == [0, 1]


def test_changes_show_every_scene_once_and_a_frozen_shot_once() -> None:
    scenes = np.concatenate([still(30, seed) for seed in range(5)])
    found = choose(clip_of(scenes), "changes", count=16)
    assert [frame // 30 for frame in found] == [0, 1, 2, 3, 4]
    assert len(choose(clip_of(still(300)), "changes", count=16)) == 1
    news = [value for _, value in key_frames(clip_of(scenes), 3)]
    assert len(news) == 3
    assert news == sorted(news, reverse=True)


def test_changes_prefer_the_frame_that_stands_still() -> None:
    thumbs = np.concatenate([still(20), still(20, 1)])
    thumbs[19] = thumbs[18] // 2 + thumbs[20] // 2  # a blur between the two
    assert 19 not in choose(clip_of(thumbs), "changes", count=8)


def test_wrong_requests_say_what_is_allowed() -> None:
    clip = clip_of(still(10))
    with pytest.raises(UsageError, match="uniform, per-second, changes"):
        choose(clip, "change")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="more than none"):
        choose(clip, count=0)
    with pytest.raises(UsageError, match="without video signals"):
        choose(replace(clip, source_signals=None), "changes")


def test_pictures_are_the_stored_ones_next_to_the_chosen_frames() -> None:
    image = io.BytesIO()
    Image.new("RGB", (64, 36), "red").save(image, "JPEG")
    story = [StoryFrame(pts, image.getvalue()) for pts in range(0, 100, FPS)]
    clip = replace(clip_of(still(100)), story=story)
    assert [item.pts for item in pictures(clip, count=4)] == [10, 40, 60, 90]
    assert len(pictures(clip, "changes", count=4)) == 1
    assert Image.open(io.BytesIO(sheet(pictures(clip, count=4), columns=2))).width > 2 * 224


def test_a_frozen_clip_keeps_its_first_frame_only() -> None:
    kept = kept_patches(still(8))
    assert kept[0].all()
    assert not kept[1:].any()
    (row,) = checked_scores(Redundancy(), [clip_of(still(80))])
    assert row["redundant_share"] == pytest.approx(15 / 16)
    assert row["changing_area"] == 0.0
    assert len(row["key_frames"]) == 1


def test_half_a_moving_picture_keeps_its_moving_half() -> None:
    thumbs = still(80)
    noise = np.random.default_rng(5).integers(0, 255, (80, 7, 6), np.uint8)
    thumbs[:, :, 6:] = noise
    kept = kept_patches(thumbs)
    assert not kept[1:, :, :6].any()
    assert kept[1:, :, 6:].mean() > 0.9
    (row,) = checked_scores(Redundancy(), [clip_of(thumbs)])
    assert 1 - row["redundant_share"] <= 0.55
    assert row["changing_area"] == pytest.approx(0.5)


def test_the_drop_curve_dips_where_the_scene_changes() -> None:
    scenes = np.concatenate([still(40), still(40, 1)])
    (row,) = checked_scores(Redundancy(), [clip_of(scenes)])
    assert int(np.argmin(row["drop_curve"][1:])) + 1 == 8


def test_rendered_slides_repeat_and_pans_do_not(tmp_path: Path) -> None:
    shares = {}
    for kind in ("slide_text", "pan_left"):
        render_video(tmp_path / f"{kind}.mp4", [Shot(kind, 48, seed=3)])
        clip = clip_of_file(tmp_path / f"{kind}.mp4")
        shares[kind] = checked_scores(Redundancy(), [clip])[0]["redundant_share"]
        assert len(choose(clip, "changes", count=4)) <= 4
    assert shares["slide_text"] > 0.6
    assert shares["pan_left"] < 0.3


def test_frames_for_a_text_stay_in_the_budget_and_show_each_thing_once() -> None:
    things = np.eye(4)[[0, 0, 1, 1, 2, 3]]
    query = np.array([0.9, 0.3, 0.1, 0.0])
    relevance = things @ query
    assert choose_for(relevance, things, 2) == [0, 2]
    assert choose_for(relevance, things, 8) == [0, 2, 4, 5]
    assert choose_for(relevance, things, 3, alike=1.0) == [0, 1, 2]
    other = choose_for(things @ query[::-1], things, 2)
    assert other == [4, 5]


def test_tokens_are_shared_by_relevance_and_sum_to_the_budget() -> None:
    relevance = np.array([0.1, 0.3, 0.1, 0.1])
    for budget in (7, 64, 1000):
        tokens = share_tokens(relevance, budget)
        assert tokens.sum() == budget
        assert int(tokens.argmax()) == 1
    assert share_tokens(relevance, 8, sharpness=0).tolist() == [2, 2, 2, 2]


def test_summaries_fit_and_follow_the_text() -> None:
    seconds = np.array([4.0, 3.0, 5.0, 2.0])
    one = summarize(np.array([0.9, 0.1, 0.8, 0.2]), seconds, 7.0)
    other = summarize(np.array([0.1, 0.9, 0.2, 0.8]), seconds, 7.0)
    assert one == [0, 3]
    assert other == [1, 3]
    assert seconds[one].sum() <= 7
