"""Operators against rendered videos whose motion, bars, flashes and sound are known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from catalogs.testing import Shot, ShotTruth, render_copy, render_video
from catalogs.testing.encoding import VideoWriter
from catalogs.testing.scenes import build_scene
from curation.operators import checked_scores, create
from curation.operators.trial import clip_of_file

Scores = dict[str, Any]
Measure = Callable[..., tuple[Scores, ShotTruth]]

VIDEO_OPERATORS = (
    "audio", "borders", "colour", "compression", "exposure", "flash", "format", "geometry",
    "motion", "sharpness", "stillness", "text",
)  # fmt: skip
WIDE, NARROW, TALL, LARGE = (320, 180), (240, 180), (180, 320), (640, 360)


def scores_of(path: Path) -> Scores:
    """The columns of all operators for a file that is one clip."""
    clip = clip_of_file(path)
    scores: Scores = {}
    for name in VIDEO_OPERATORS:
        scores |= checked_scores(create(name), [clip])[0]
    return scores


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """Scores and truth of one rendered shot; each is rendered once."""
    folder = tmp_path_factory.mktemp("shots")

    @functools.cache
    def measured(
        kind: Any, size: tuple[int, int] = WIDE, seed: int = 3, frames: int = 36, audio: Any = None
    ) -> tuple[Scores, ShotTruth]:
        path = folder / f"{kind}_{size[0]}_{seed}_{frames}_{audio}.mp4"
        truth = render_video(path, [Shot(kind, frames, seed=seed)], size=size, audio=audio)
        return scores_of(path), truth.shots[0]

    return measured


def write_frames(path: Path, frames: Sequence[NDArray[np.uint8]], crf: int = 20) -> Path:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, (width, height), Fraction(24), Fraction(1, 24), crf=crf) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index)
    return path


@pytest.mark.parametrize("size", [WIDE, NARROW, TALL])
@pytest.mark.parametrize("kind", ["pan_left", "pan_right", "tilt_up", "tilt_down"])
def test_pans_and_tilts_are_right_to_a_tenth(
    measure: Measure, kind: str, size: tuple[int, int]
) -> None:
    scores, shot = measure(kind, size)
    scale = 640 / size[0]
    assert scores["pan_px"] == pytest.approx(shot.params["pan_x_px"] * scale, rel=0.1, abs=0.35)
    assert scores["tilt_px"] == pytest.approx(shot.params["pan_y_px"] * scale, rel=0.1, abs=0.35)
    assert scores["camera_px"] == pytest.approx(scores["motion_px"], rel=0.1)
    assert scores["subject_px"] < 0.2 * scores["camera_px"]


@pytest.mark.parametrize("kind", ["zoom_in", "zoom_out"])
def test_zooms_are_right_to_a_tenth(measure: Measure, kind: str) -> None:
    scores, shot = measure(kind)
    growth = 100 * (shot.params["zoom_per_frame"] - 1)
    assert scores["zoom_percent"] == pytest.approx(growth, rel=0.1)
    assert abs(scores["roll_deg"]) < 0.05


def test_a_rolling_camera_is_told_from_a_zooming_one(measure: Measure) -> None:
    scores, shot = measure("roll", seed=5)
    assert scores["roll_deg"] == pytest.approx(shot.params["roll_deg_per_frame"], rel=0.1)
    assert abs(scores["zoom_percent"]) < 0.1


def test_only_a_hand_held_camera_shakes(measure: Measure) -> None:
    shaken = measure("shake")[0]["shake_px"]
    steady = ("still", "pan_left", "tilt_up", "zoom_in", "roll", "moving_shapes", "flash")
    assert shaken > 4
    assert max(measure(kind)[0]["shake_px"] for kind in steady) < 0.2 * shaken


@pytest.mark.parametrize("seed", [3, 8])
def test_moving_subjects_are_not_camera_motion(measure: Measure, seed: int) -> None:
    scores = measure("moving_shapes", seed=seed)[0]
    assert scores["subject_px"] > 1
    assert scores["camera_px"] < 0.3 * scores["subject_px"]
    assert scores["motion_level"] > measure("still")[0]["motion_level"]


def moving_disc(path: Path, camera_px: int, disc_px: int) -> Path:
    """A disc that crosses a textured scene under a camera that pans to the right."""
    scene = build_scene("pan_right", LARGE, 1, 3)
    pace = scene.params["pan_x_px"]
    frames = []
    for index in range(36):
        frame = scene.frame(0 if not camera_px else index * camera_px // pace).copy()
        cv2.circle(frame, (120 + disc_px * index, 180), 55, (240, 220, 40), -1)
        cv2.circle(frame, (105 + disc_px * index, 165), 20, (30, 30, 90), -1)
        frames.append(frame)
    return write_frames(path, frames)


def test_a_pan_is_found_behind_a_subject_that_moves_otherwise(tmp_path: Path) -> None:
    scores = scores_of(moving_disc(tmp_path / "a.mp4", camera_px=6, disc_px=8))
    assert scores["pan_px"] == pytest.approx(6, rel=0.12)
    assert abs(scores["tilt_px"]) < 0.5


def test_a_roll_is_found_behind_a_moving_crowd(tmp_path: Path) -> None:
    scene = build_scene("roll", LARGE, 36, 5)
    rng = np.random.default_rng(1)
    places, speeds = rng.uniform(60, 300, (5, 2)), rng.uniform(-9, 9, (5, 2))
    frames = []
    for index in range(36):
        frame = scene.frame(index).copy()
        for number, (place, speed) in enumerate(zip(places, speeds, strict=True)):
            x, y = (place * (2, 1) + speed * index).astype(int).tolist()
            cv2.circle(frame, (x, y), 26, (30 * number, 200 - 30 * number, 90), -1)
            cv2.circle(frame, (x - 8, y - 8), 9, (250, 250, 240), -1)
        frames.append(frame)
    scores = scores_of(write_frames(tmp_path / "a.mp4", frames))
    assert scores["roll_deg"] == pytest.approx(scene.params["roll_deg_per_frame"], rel=0.15)
    assert scores["shake_px"] < 1


def test_motion_levels_rise_with_speed(tmp_path: Path) -> None:
    levels, pixels = [], []
    for speed in (1, 3, 8):
        scores = scores_of(moving_disc(tmp_path / f"{speed}.mp4", camera_px=0, disc_px=speed))
        levels.append(scores["motion_level"])
        pixels.append(scores["subject_px"])
    assert levels == sorted(set(levels))
    assert pixels == sorted(pixels)


@pytest.mark.parametrize("kind", ["pan_left", "zoom_in", "black", "noise", "shake"])
def test_a_steady_light_does_not_flash(measure: Measure, kind: str) -> None:
    assert measure(kind)[0]["flash_count"] == 0


def test_every_flash_is_counted_once(tmp_path: Path) -> None:
    shots = [Shot("flash", 30, seed=seed) for seed in (3, 5, 8)]
    truth = render_video(tmp_path / "a.mp4", shots, size=WIDE)
    assert len(truth.flashes) == 6
    scores = scores_of(truth.path)
    assert scores["flash_count"] == 3
    assert scores["flash_per_s"] == pytest.approx(3 / (90 / 24), rel=0.01)


def test_motion_is_not_measured_across_flashes(measure: Measure) -> None:
    flashing, calm = measure("flash")[0], measure("pan_right")[0]
    assert flashing["pan_px"] == pytest.approx(calm["pan_px"], rel=0.1)
    assert flashing["motion_jerk_px"] < 2 * calm["motion_jerk_px"]


@pytest.mark.parametrize(("kind", "column"), [("letterbox", "bar_top_px"),
                                              ("pillarbox", "bar_side_px")])  # fmt: skip
@pytest.mark.parametrize("seed", [3, 8])
def test_bars_are_right_to_a_hundredth(measure: Measure, kind: str, column: str, seed: int) -> None:
    scores, shot = measure(kind, seed=seed)
    top, side = shot.params["bar_top_px"] / WIDE[1], shot.params["bar_side_px"] / WIDE[0]
    assert scores["letterbox_share"] == pytest.approx(2 * top, abs=0.01)
    assert scores["pillarbox_share"] == pytest.approx(2 * side, abs=0.01)
    found = [scores[f"crop_{edge}"] for edge in ("left", "top", "right", "bottom")]
    assert found == pytest.approx([side, top, 1 - side, 1 - top], abs=0.01)
    assert shot.params[column] > 0


def test_pictures_without_bars_have_none_and_black_ones_cannot_be_told(measure: Measure) -> None:
    for kind in ("pan_left", "still", "white", "subtitle"):
        assert measure(kind)[0]["letterbox_share"] == measure(kind)[0]["pillarbox_share"] == 0
    assert measure("black")[0]["letterbox_share"] is None


def test_black_and_white_frames_are_exposed_as_such(measure: Measure) -> None:
    black, white = measure("black")[0], measure("white")[0]
    assert (black["luma_mean_255"], black["dark_share"]) == (0, 1)
    assert (white["luma_mean_255"], white["bright_share"]) == (255, 1)
    assert 20 < measure("pan_left")[0]["luma_mean_255"] < 200


def test_grey_is_told_from_colour(tmp_path: Path) -> None:
    coloured = render_video(tmp_path / "a.mp4", [Shot("pan_left", 24, seed=3)], size=WIDE)
    grey = render_copy(coloured, tmp_path / "b.mp4", gray=True)
    before, after = scores_of(coloured.path), scores_of(grey.path)
    assert (before["is_grey"], after["is_grey"]) == (False, True)
    assert after["colourfulness"] < 1 < before["colourfulness"]


def test_coarser_compression_is_blockier_and_less_sharp(tmp_path: Path) -> None:
    source = render_video(tmp_path / "a.mp4", [Shot("tilt_up", 24, seed=8)], size=WIDE)
    fine = scores_of(render_copy(source, tmp_path / "b.mp4", crf=20).path)
    coarse = scores_of(render_copy(source, tmp_path / "c.mp4", crf=44).path)
    assert coarse["blockiness"] > 1.05 * fine["blockiness"]
    assert coarse["sharpness_median"] < 0.9 * fine["sharpness_median"]
    assert coarse["bits_per_pixel"] < 0.5 * fine["bits_per_pixel"]


def test_noise_is_ordered_and_near_its_deviation(tmp_path: Path) -> None:
    scene = build_scene("still", WIDE, 1, 5).frame(0).astype(np.float32)
    found = []
    for sigma in (2, 6, 12):
        rng = np.random.default_rng(sigma)
        frames = [
            np.clip(scene + rng.normal(0, sigma, (*scene.shape[:2], 1)), 0, 255).astype(np.uint8)
            for _ in range(8)
        ]
        path = write_frames(tmp_path / f"{sigma}.mp4", frames, crf=1)
        found.append(scores_of(path)["noise_255"])
    assert found == sorted(found)
    assert found[-1] == pytest.approx(12, rel=0.35)


def test_sharpness_falls_with_blur(tmp_path: Path) -> None:
    scene = build_scene("still", WIDE, 1, 5).frame(0)
    found = []
    for blur in (0, 2, 6):
        frame = cv2.GaussianBlur(scene, (0, 0), blur) if blur else scene
        found.append(scores_of(write_frames(tmp_path / f"{blur}.mp4", [frame] * 6)))
    sharpness = [scores["sharpness_median"] for scores in found]
    assert sharpness[0] > 1.5 * sharpness[1] > 2 * sharpness[2]


def test_repeated_and_frozen_frames_are_counted(tmp_path: Path) -> None:
    scene = build_scene("pan_right", WIDE, 40, 3)
    doubled = [scene.frame(index // 2) for index in range(40)]
    frozen = [scene.frame(min(index, 10)) for index in range(40)]
    twice = scores_of(write_frames(tmp_path / "twice.mp4", doubled, crf=4))
    assert twice["repeated_frames"] == pytest.approx(20, abs=2), "encoding hides a few"
    assert twice["frozen_share"] == 0
    stuck = scores_of(write_frames(tmp_path / "stuck.mp4", frozen, crf=4))
    assert stuck["repeated_frames"] == pytest.approx(29, abs=2)
    assert stuck["frozen_share"] == pytest.approx(29 / 39, abs=0.15)


def test_a_static_scene_is_static_but_not_frozen(measure: Measure) -> None:
    still = measure("still")[0]
    assert still["static_share"] > 0.6
    assert still["frozen_share"] == still["repeated_frames"] == 0
    assert measure("pan_left")[0]["static_share"] == 0


def panned_picture(path: Path, growth: float, travel_px: float, seed: int) -> Path:
    """A photograph that is zoomed and panned by a program."""
    photo = build_scene("still", LARGE, 1, seed).frame(0)
    frames = []
    for index in range(40):
        scale = 1.7 / (1 + growth * index)
        window = np.array([[scale, 0, 10 + travel_px * index], [0, scale, 20]], np.float32)
        flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(photo, window, WIDE, flags=flags).astype(np.uint8))
    return write_frames(path, frames)


@pytest.mark.parametrize(("growth", "travel_px"), [(0.003, 0.0), (0.0, 1.0), (0.002, 0.5)])
def test_panned_photographs_are_slide_shows(
    tmp_path: Path, growth: float, travel_px: float
) -> None:
    path = panned_picture(tmp_path / "a.mp4", growth, travel_px, seed=8)
    assert scores_of(path)["slideshow_score"] > 0.6


def test_footage_is_no_slide_show(measure: Measure) -> None:
    for kind in ("moving_shapes", "shake", "still", "noise", "screen_recording"):
        assert measure(kind)[0]["slideshow_score"] < 0.2
    assert measure("slide_text")[0]["slideshow_score"] > 0.9


def test_screens_are_told_from_footage(measure: Measure) -> None:
    for kind in ("screen_recording", "slide_text"):
        assert measure(kind, LARGE)[0]["screen_score"] > 0.8
    assert measure("subtitle", LARGE)[0]["screen_score"] < 0.2
    for kind in ("pan_left", "still", "moving_shapes", "noise", "black"):
        assert measure(kind)[0]["screen_score"] < 0.2


def test_sound_is_measured_against_full_scale(measure: Measure) -> None:
    tone = measure("still", audio="tone")[0]
    assert tone["has_audio"] is True
    assert tone["loudness_db"] == pytest.approx(20 * np.log10(0.25 / np.sqrt(2)), abs=0.5)
    assert tone["silence_share"] == 0
    silence = measure("still", audio="silence")[0]
    assert (silence["loudness_db"], silence["silence_share"]) == (-120, 1)
    mute = measure("still")[0]
    assert (mute["has_audio"], mute["loudness_db"], mute["silence_share"]) == (False, None, None)


def test_geometry_is_that_of_the_display(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "a.mp4", [Shot("still", 6)], size=(320, 180), rotate_deg=90)
    scores = scores_of(truth.path)
    assert truth.size == (320, 180)
    assert scores["short_side_px"] == 180
    assert scores["aspect_ratio"] == pytest.approx(320 / 180)
