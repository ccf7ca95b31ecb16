"""Text that is burnt in, that is filmed, and that is not there."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from catalogs.testing.scenes import build_scene
from curation.operators import Clip, StoryFrame, checked_scores, create
from curation.operators.ocr import Line, Ocr, _distinct
from curation.operators.text import Page

SIZE = (456, 256)
Picture = NDArray[np.uint8]

needs_ocr = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr") is None, reason="the extra 'ocr' is not installed"
)


def clip_of(pictures: Sequence[Picture]) -> Clip:
    """A clip whose storyboard shows these pictures, one a second."""
    story = []
    for index, picture in enumerate(pictures):
        jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        story.append(StoryFrame(index, jpeg.tobytes()))
    row = {"clip_id": "c", "start_frame": 0, "end_frame": len(story), "duration_s": len(story)}
    return Clip(row, {}, story=story)


def scene(kind: Any, seed: int = 3, seconds: int = 4) -> list[Picture]:
    shot = build_scene(kind, SIZE, 24 * seconds, seed)
    return [shot.frame(24 * second) for second in range(seconds)]


def panned_sign(seconds: int = 4, pace: int = 20) -> list[Picture]:
    """A sign that stands in the scene while the camera pans over it."""
    wide = build_scene("still", (SIZE[0] * 2, SIZE[1]), 1, 3).frame(0).copy()
    cv2.rectangle(wide, (170, 90), (440, 150), (230, 225, 210), -1)
    cv2.putText(wide, "HARBOUR STREET", (180, 130), cv2.FONT_HERSHEY_SIMPLEX, 0.95, (20, 20, 20), 2)
    return [wide[:, pace * second : pace * second + SIZE[0]].copy() for second in range(seconds)]


def changing_subtitles() -> list[Picture]:
    """Lines that come and go over a picture that stays."""
    shown = ["", "Morning in the harbour", "Morning in the harbour", "The river freezes", ""]
    still = build_scene("still", SIZE, 1, 3).frame(0)
    pictures = []
    for text in shown:
        picture = still.copy()
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(picture, text, (60, 235), cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, width)
        pictures.append(picture)
    return pictures


def text_scores(pictures: Sequence[Picture]) -> dict[str, Any]:
    return checked_scores(create("text"), [clip_of(pictures)])[0]


@pytest.mark.parametrize("kind", ["still", "pan_left", "zoom_in", "moving_shapes", "noise",
                                  "black", "white"])  # fmt: skip
def test_scenes_without_text_have_none(kind: str) -> None:
    scores = text_scores(scene(kind))
    assert scores["text_area_max"] < 0.005
    assert scores["text_stability"] is None
    assert scores["burnt_text_area"] == 0


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_a_burnt_in_line_is_found_where_it_is(seed: int) -> None:
    shot = build_scene("subtitle", SIZE, 96, seed)
    left, top, right, bottom = shot.params["text_box"]
    share = (right - left) * (bottom - top) / (SIZE[0] * SIZE[1])
    scores = text_scores([shot.frame(24 * second) for second in range(4)])
    assert scores["text_area"] == pytest.approx(share, rel=0.4)
    assert scores["text_stability"] > 0.8
    assert scores["burnt_text_area"] == pytest.approx(scores["text_area"], rel=0.1)
    area = Page(shot.frame(0)).area
    inside = area[top - 4 : bottom + 4, left - 4 : right + 4].sum()
    assert inside > 0.8 * area.sum()


@pytest.mark.parametrize("pace", [6, 10, 18, 20, 60])
def test_text_that_moves_with_the_camera_was_filmed(pace: int) -> None:
    scores = text_scores(panned_sign(seconds=3, pace=pace))
    assert scores["text_area"] > 0.02
    assert scores["burnt_text_area"] == 0
    assert scores["text_stability"] == 0


def test_lines_that_come_and_go_over_a_still_picture_are_burnt_in() -> None:
    scores = text_scores(changing_subtitles())
    assert scores["text_area_max"] > scores["text_area"] > 0.01
    assert scores["burnt_text_area"] == pytest.approx(scores["text_area"], rel=0.05)
    assert 0.2 < scores["text_stability"] < 0.8


def test_a_slide_has_more_text_than_a_subtitle_and_is_not_burnt_in() -> None:
    slide, subtitle = text_scores(scene("slide_text")), text_scores(scene("subtitle"))
    assert slide["text_area"] > 2 * subtitle["text_area"]
    assert slide["text_stability"] == 1
    assert slide["burnt_text_area"] == 0


def test_one_picture_cannot_tell_whether_text_is_burnt_in() -> None:
    scores = text_scores(scene("subtitle", seconds=1))
    assert scores["text_area"] > 0.01
    assert scores["burnt_text_area"] is None
    assert text_scores(scene("still", seconds=1))["burnt_text_area"] == 0


@pytest.mark.parametrize("name", ["text", pytest.param("ocr", marks=needs_ocr)])
def test_without_pictures_nothing_is_measured(name: str) -> None:
    scores = checked_scores(create(name), [clip_of([])])[0]
    assert {scores[column.name] for column in create(name).columns} == {None}


@pytest.fixture(scope="module")
def reader() -> Ocr:
    operator = create("ocr")
    assert isinstance(operator, Ocr)
    return operator


@needs_ocr
def test_the_words_of_a_subtitle_are_read(reader: Ocr) -> None:
    shot = build_scene("subtitle", SIZE, 48, 3)
    clip = clip_of([shot.frame(0), shot.frame(24)])
    scores = checked_scores(reader, [clip])[0]
    assert scores["ocr_text"] == shot.params["text"]
    left, top, right, bottom = shot.params["text_box"]
    share = (right - left) * (bottom - top) / (SIZE[0] * SIZE[1])
    assert scores["ocr_area"] == pytest.approx(share, rel=0.6)
    assert (scores["ocr_boxes"], scores["ocr_stable_share"]) == (1, 1)
    assert scores["ocr_confidence"] > 0.9


@needs_ocr
def test_filmed_words_are_read_but_do_not_stay(reader: Ocr) -> None:
    scores = checked_scores(reader, [clip_of(panned_sign(seconds=2, pace=120))])[0]
    assert "HARBOUR" in scores["ocr_text"]
    assert scores["ocr_stable_share"] == 0


@needs_ocr
def test_where_nothing_is_written_nothing_is_read(reader: Ocr) -> None:
    scores = checked_scores(reader, [clip_of(scene("pan_left", seconds=2))])[0]
    assert (scores["ocr_area"], scores["ocr_boxes"]) == (0, 0)
    assert scores["ocr_text"] is scores["ocr_confidence"] is scores["ocr_stable_share"] is None


def test_readings_of_one_line_count_once_as_the_surest_has_it() -> None:
    readings = [("Morning harb0ur", 0.8), ("Morning harbour", 0.97), ("River", 0.9)]
    lines = [Line(text, 0, 0, 10, 10, confidence) for text, confidence in readings]
    assert _distinct(lines) == ["Morning harbour", "River"]
