"""The default detector on rendered video, where every boundary is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from catalogs.testing import Dissolve, Fade, Shot, VideoTruth, render_video
from curation.jobs.measure import measure_whole
from curation.jobs.settings import MillSettings
from curation.segment import Boundary, SegmentSettings, detect
from curation.signals import VideoSignals

LIVELY = ("pan_left", "zoom_in", "moving_shapes", "shake", "tilt_up", "fast_motion", "roll")


def found_in(
    folder: Path, shots: Sequence[Shot], fps: int = 25
) -> tuple[list[Boundary], VideoTruth]:
    truth = render_video(folder / "a.mp4", shots, fps=fps)
    signals = measure_whole(str(truth.path), MillSettings()).signals
    return detect(signals, SegmentSettings()), truth


@pytest.mark.parametrize("fps", [12, 25, 60])
def test_hard_cuts_are_exact_and_nothing_else_is_found(tmp_path: Path, fps: int) -> None:
    shots = [Shot(kind, 24, seed=number) for number, kind in enumerate(LIVELY)]
    found, truth = found_in(tmp_path, shots, fps)
    assert [(boundary.kind, boundary.frame) for boundary in found] == [
        ("cut", frame) for frame in truth.cuts
    ]
    assert [boundary.pts for boundary in found] == [truth.pts[frame] for frame in truth.cuts]


@pytest.mark.parametrize("length", [8, 16, 30])
def test_dissolves_are_found_with_their_span(tmp_path: Path, length: int) -> None:
    shots = [Shot("still", 40), Shot("zoom_in", 70, seed=9, transition=Dissolve(length))]
    found, truth = found_in(tmp_path, shots)
    first, last = truth.dissolves[0]
    assert [boundary.kind for boundary in found] == ["dissolve"]
    assert abs(found[0].frame - first) <= 3
    assert abs(found[0].end_frame - last) <= 3


def test_fades_have_a_direction(tmp_path: Path) -> None:
    shots = [
        Shot("zoom_in", 50, ending=Fade(12)),
        Shot("moving_shapes", 50, seed=3, transition=Fade(12)),
    ]
    found, truth = found_in(tmp_path, shots)
    assert [boundary.kind for boundary in found] == ["fade_out", "fade_in"]
    for boundary, (_, first, last) in zip(found, truth.fades, strict=True):
        assert abs(boundary.frame - first) <= 3
        assert abs(boundary.end_frame - last) <= 3


@pytest.mark.parametrize(
    "kind", ["flash", "fast_motion", "shake", "zoom_out", "roll", "subtitle", "noise", "letterbox"]
)
def test_one_shot_stays_one(tmp_path: Path, kind: str) -> None:
    found, _ = found_in(tmp_path, [Shot(kind, 72, seed=2)])
    assert found == []


def test_a_slide_before_a_cut_is_no_dropout(tmp_path: Path) -> None:
    shots = [Shot("shake", 30), Shot("slide_text", 40, seed=1), Shot("pan_left", 30, seed=2)]
    found, truth = found_in(tmp_path, shots)
    assert [boundary.frame for boundary in found] == truth.cuts


def test_one_frame_has_no_boundaries(tmp_path: Path) -> None:
    assert found_in(tmp_path, [Shot("still", 1)])[0] == []


def test_real_footage(shared_data: Path) -> None:
    """Hard cuts of two joined files, and one-shot files that fool simpler detectors."""
    truths = json.loads((shared_data / "ground_truth.json").read_text())["videos"]
    for name in ("concat_dissolves.mp4", "bikes.mp4", "arm_wrestling.mp4"):
        truth = truths[f"video/{name}"]
        found = boundaries_of(shared_data / "video" / name)
        cuts = [boundary.frame for boundary in found if boundary.kind == "cut"]
        assert cuts == truth["cuts"], name
        spans = [boundary for boundary in found if boundary.kind != "cut"]
        assert len(spans) == len(truth["dissolves"]), name
        for boundary, (first, last) in zip(spans, truth["dissolves"], strict=True):
            assert abs(boundary.frame - first) <= 3, name
            assert abs(boundary.end_frame - last) <= 3, name


def boundaries_of(path: Path) -> list[Boundary]:
    signals: VideoSignals = measure_whole(str(path), MillSettings()).signals
    return detect(signals, SegmentSettings())
