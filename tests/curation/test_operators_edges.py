"""Clips that are hard to measure: one frame, no detail, no pictures; nothing may be made up."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from catalogs.testing import Shot, render_video
from curation.operators import Clip, StoryFrame, checked_scores, create, operator_class
from curation.operators.flash import flashes
from curation.operators.trial import clip_of_file
from curation.signals import SIGNALS, VideoSignals

NAMES = (
    "audio", "borders", "colour", "compression", "exposure", "flash", "format", "geometry",
    "motion", "sharpness", "stillness", "text",
)  # fmt: skip
DETAIL = {"colourfulness", "is_grey", "blockiness", "noise_255", "sharpness_median",
          "sharpness_p10", "letterbox_share", "crop_left", "screen_score"}  # fmt: skip
PAIRED = {"motion_px", "pan_px", "zoom_percent", "shake_px", "motion_jerk_px", "motion_level",
          "static_share", "frozen_share", "slideshow_score"}  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    return clip_of_file(render_video(path, [Shot("subtitle", 30, seed=3)], audio="tone").path)


def part(clip: Clip, start: int, end: int) -> Clip:
    row = {**clip.row, "start_frame": start, "end_frame": end, "duration_s": (end - start) / 24}
    return Clip(row, clip.source, clip.source_signals, None, clip.story, clip.audio_db)


def scores_of(clip: Clip) -> dict[str, object]:
    scores: dict[str, object] = {}
    for name in NAMES:
        scores |= checked_scores(create(name), [clip])[0]
    return scores


@pytest.mark.parametrize("name", NAMES)
def test_scores_have_the_declared_types_and_do_not_depend_on_company(clip: Clip, name: str) -> None:
    operator = create(name)
    alone = checked_scores(operator, [clip])[0]
    together = checked_scores(operator, [part(clip, 3, 20), clip, part(clip, 0, 1)])[1]
    assert alone == together
    for column in operator.columns:
        assert column.field().type.equals(column.type)
        value = alone[column.name]
        assert value is None or np.array([value]).dtype.kind in "bifU"


def test_a_clip_of_one_frame_has_no_motion(clip: Clip) -> None:
    scores = scores_of(part(clip, 0, 1))
    assert {scores[name] for name in PAIRED} == {None}
    assert scores["repeated_frames"] == scores["flash_count"] == 0
    assert scores["luma_mean_255"] is not None


def test_a_clip_without_measured_detail_has_none(clip: Clip) -> None:
    signals = clip.source_signals
    assert signals is not None
    bare = {
        name: np.full(len(signals), np.nan, np.float32)
        if SIGNALS[name].rate == "detail" else values
        for name, values in signals.columns.items()
    }  # fmt: skip
    scores = scores_of(replace(clip, source_signals=replace(signals, columns=bare)))
    assert {scores[name] for name in DETAIL} == {None}
    assert scores["motion_px"] is not None


def test_a_clip_of_which_nothing_was_measured_is_null_throughout(clip: Clip) -> None:
    signals = clip.source_signals
    assert signals is not None
    nothing = VideoSignals(
        time_base=Fraction(1, 24),
        pts=signals.pts,
        end_pts=signals.end_pts,
        small_size=signals.small_size,
        columns={
            name: values if values.dtype.kind == "i" else np.full(len(signals), np.nan, np.float32)
            for name, values in signals.columns.items()
        },
        thumbs=signals.thumbs,
    )
    counts = {"repeated_frames", "flash_count", "flash_per_s", "static_share", "frozen_share",
              "slideshow_score"}  # fmt: skip
    for name in ("borders", "colour", "exposure", "format", "motion", "sharpness"):
        scores = checked_scores(create(name), [replace(clip, source_signals=nothing)])[0]
        for column in operator_class(name).columns:
            assert scores[column.name] is None or column.name in counts


@pytest.mark.parametrize("size", [None, 0])
def test_unknown_sizes_are_null(clip: Clip, size: int | None) -> None:
    unknown = replace(clip, source=dict.fromkeys(("width", "height", "frames", "bytes"), size))
    assert checked_scores(create("geometry"), [unknown])[0]["aspect_ratio"] is None
    assert checked_scores(create("compression"), [unknown])[0]["bits_per_pixel"] is None


def test_digital_silence_has_a_level(clip: Clip) -> None:
    levels = np.array([-np.inf, -np.inf, -200], np.float32)
    scores = checked_scores(create("audio"), [replace(clip, audio_db=levels)])[0]
    assert (scores["loudness_db"], scores["silence_share"]) == (-120, 1)


def test_loudness_is_a_mean_of_power_and_silence_begins_at_minus_60(clip: Clip) -> None:
    levels = np.array([-20, -20, -59.9, -60.1], np.float32)
    scores = checked_scores(create("audio"), [replace(clip, audio_db=levels)])[0]
    assert scores["loudness_db"] == pytest.approx(-23.01, abs=0.01)
    assert scores["silence_share"] == 0.25


@pytest.mark.parametrize(
    ("luma", "found"),
    [
        ([90] * 10 + [200] * 2 + [90] * 10, [(10, 12)]),
        ([90] * 10 + [120] * 2 + [90] * 10, []),
        ([90] * 10 + [200] * 12, []),
        ([90] * 10 + [200] * 8 + [90] * 10, []),
        ([200, 90, 90, 90, 90, 90, 90, 90], []),
        (([90] * 4 + [220]) * 4 + [90] * 4, [(4, 5), (9, 10), (14, 15), (19, 20)]),
        ([90, 200], []),
        ([], []),
    ],
)
def test_a_flash_is_short_and_has_both_sides(
    luma: list[float], found: list[tuple[int, int]]
) -> None:
    assert flashes(np.array(luma, np.float64), fps=24) == found


def test_a_trial_knows_what_the_file_says(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "named.mp4", [Shot("still", 30)], size=(320, 180), fps=15)
    clip = clip_of_file(truth.path)
    assert clip.clip_id == "named"
    assert (clip.seconds, clip.row["frames"], clip.row["fps"]) == (2.0, 30, 15.0)
    assert len(clip.pictures) == 2
    assert not len(clip.audio_db)


def test_a_long_clip_shows_a_bounded_number_of_pictures() -> None:
    import cv2

    done, jpeg = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))
    assert done
    story = [StoryFrame(pts, jpeg.tobytes()) for pts in range(1000)]
    clip = Clip({"clip_id": "c"}, {}, story=story)
    assert len(clip.pictures) == 120
    assert len(Clip({"clip_id": "c"}, {}, story=story[:7]).pictures) == 7
