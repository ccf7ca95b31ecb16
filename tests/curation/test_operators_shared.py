"""Operators on real footage; the twins on rendered media are in `test_operators_rendered`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.operators import checked_scores, create
from curation.operators.trial import clip_of_file

Scores = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def scores(shared_data: Path) -> Scores:
    """Scores of a file by some operators; each file is measured once."""
    clip = functools.cache(lambda name: clip_of_file(shared_data / "video" / name))

    def scored(name: str, *operators: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for operator in operators:
            found |= checked_scores(create(operator), [clip(name)])[0]
        return found

    return scored


def test_heavy_compression_is_blockier_blurrier_and_less_noisy(scores: Scores) -> None:
    names = ("carphone_pristine.mp4", "carphone_distorted.mp4")
    fine, coarse = (scores(name, "compression", "sharpness") for name in names)
    assert coarse["blockiness"] > fine["blockiness"] + 0.05
    assert coarse["sharpness_median"] < 0.8 * fine["sharpness_median"]
    assert coarse["noise_255"] < fine["noise_255"]
    assert coarse["bits_per_pixel"] < 0.1 * fine["bits_per_pixel"]


def test_motion_is_in_the_order_that_another_score_gives(scores: Scores) -> None:
    car, diver, men = (
        scores(f"koala_{name}.mp4", "motion", "sharpness")
        for name in ("w_HPjTkEUJg_48", "xED6jYxWaGg_26", "cC-Q5kcc3R8_27")
    )
    assert diver["motion_p95_px"] > car["motion_p95_px"] > men["motion_p95_px"]
    assert diver["motion_px"] > 2 * max(car["motion_px"], men["motion_px"])
    assert men["sharpness_median"] > max(car["sharpness_median"], diver["sharpness_median"])


def test_an_old_film_is_grey_and_has_its_bars_at_the_sides(scores: Scores) -> None:
    found = scores("chaplin.mp4", "colour", "borders")
    assert found["is_grey"] is True
    assert found["pillarbox_share"] == pytest.approx(0.225, abs=0.01)
    assert found["letterbox_share"] == 0
    assert scores("vl_sample_demo_1.mp4", "colour")["is_grey"] is False


def test_frames_that_a_film_repeats_for_its_rate_are_counted(scores: Scores) -> None:
    film = scores("chaplin.mp4", "stillness")
    assert film["repeated_frames"] == pytest.approx(0.28 * 241, rel=0.3), "18 a second, shown at 25"
    assert film["frozen_share"] == 0
    assert scores("asl_yes.mkv", "stillness")["repeated_frames"] <= 3


@pytest.mark.parametrize("name", ["psd_testvideo.mp4", "vl_sample_demo_1.mp4", "dj_video3.mp4"])
def test_titles_and_watermarks_are_burnt_in(scores: Scores, name: str) -> None:
    found = scores(name, "text")
    assert found["burnt_text_area"] > 0.01
    assert found["burnt_text_area"] > 0.5 * found["text_area"]


@pytest.mark.parametrize("name", ["koala_w_HPjTkEUJg_48.mp4", "koala_xED6jYxWaGg_26.mp4",
                                  "carphone_pristine.mp4", "tmk_pattern-hd-no-bar.mp4",
                                  "mma_demo_skeleton_1080p.mp4"])  # fmt: skip
def test_grass_cloth_and_faces_are_no_text(scores: Scores, name: str) -> None:
    assert scores(name, "text")["text_area"] < 0.01


def test_a_web_page_is_a_screen_and_people_are_not(scores: Scores) -> None:
    screen = scores("screen_recording_2048x1810.mp4", "format", "audio")
    assert screen["screen_score"] > 0.5
    assert (screen["has_audio"], screen["silence_share"]) == (True, 1)
    for name in ("asl_yes.mkv", "mma_demo_skeleton_1080p.mp4", "flipping_a_pancake.mkv"):
        found = scores(name, "format")
        assert found["screen_score"] < 0.1
        assert found["slideshow_score"] < 0.3


def test_hand_held_cameras_shake_and_tripods_do_not(scores: Scores) -> None:
    tripods = ("mma_demo_skeleton_1080p.mp4", "chaplin.mp4", "asl_again.mkv")
    held = ("mdn_elf.mp4", "dj_video4.mp4")
    steadiest = min(scores(name, "motion")["shake_px"] for name in held)
    assert steadiest > 3 * max(scores(name, "motion")["shake_px"] for name in tripods)


def test_burnt_in_words_are_read(scores: Scores) -> None:
    pytest.importorskip("rapidocr", reason="the extra 'ocr' is not installed")
    found = scores("vl_sample_demo_1.mp4", "ocr")
    assert "clideo.com" in found["ocr_text"]
    assert found["ocr_stable_share"] > 0.8
    assert scores("koala_w_HPjTkEUJg_48.mp4", "ocr")["ocr_area"] == 0
