"""Signals of frame pairs against scenedetect's own numbers and against known pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scenedetect import FrameTimecode, StatsManager
from scenedetect.detectors import (
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from curation.signals import hash_bits
from curation.signals.pairs import Batch, measure_pairs, thumbnails

SIZE = (56, 96)


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """A textured picture that drifts, then another one."""
    random = np.random.default_rng(7)
    big = random.integers(0, 256, (2, 20, 40, 3)).astype(np.float32)
    wide = np.repeat(np.repeat(big, 5, axis=1), 5, axis=2).astype(np.uint8)
    first = [wide[0, : SIZE[0], step : step + SIZE[1]] for step in range(10)]
    second = [wide[1, : SIZE[0], step : step + SIZE[1]] // 2 for step in range(10)]
    return np.stack([*first, *second])


@pytest.fixture(scope="module")
def columns(frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    return measure_pairs(Batch.of(np.concatenate([frames[:1], frames])), edges=True)


def reference(detector: object, frames: NDArray[np.uint8], key: str) -> list[float]:
    """A metric of scenedetect for every frame but the first."""
    detector.stats_manager = stats = StatsManager()
    stats.register_metrics(detector.get_metrics())
    codes = [FrameTimecode(index, 25.0) for index in range(len(frames))]
    for code, frame in zip(codes, frames, strict=True):
        detector.process_frame(code, np.ascontiguousarray(frame[..., ::-1]))
    return [stats.get_metrics(code, [key])[0] for code in codes[1:]]


@pytest.mark.parametrize(
    ("column", "key"),
    [("hue_delta", "delta_hue"), ("sat_delta", "delta_sat"), ("lum_delta", "delta_lum"),
     ("edge_delta", "delta_edges")],
)  # fmt: skip
def test_hsv_changes_are_those_of_scenedetect(frames, columns, column, key) -> None:
    assert columns[column][1:].tolist() == reference(ContentDetector(), frames, key)


def test_histogram_correlation_is_that_of_scenedetect(frames, columns) -> None:
    expected = reference(HistogramDetector(bins=128), frames, "hist_diff [bins=128]")
    assert columns["hist_correlation"][1:].tolist() == expected


def test_sample_mean_is_that_of_scenedetect(frames, columns) -> None:
    detector = ThresholdDetector()
    expected = reference(detector, frames, detector.get_metrics()[0])
    assert columns["rgb_mean"][1:].tolist() == expected


def test_hash_bits_are_those_of_scenedetect(frames, columns) -> None:
    expected = [HashDetector.hash_frame(frame[..., ::-1], 8, 2).ravel() for frame in frames]
    np.testing.assert_array_equal(hash_bits(columns["phash"]), expected)


def test_the_first_frame_has_no_change(columns) -> None:
    for name in ("hue_delta", "sat_delta", "lum_delta", "unexplained"):
        assert columns[name][0] == 0
    assert columns["hist_correlation"][0] == pytest.approx(1)


def test_motion_is_explained_and_a_cut_is_not(columns) -> None:
    change = columns["unexplained"]
    moving = np.delete(change, [0, 10])
    assert change[10] > 20
    assert moving.max() < change[10] / 10
    assert columns["unexplained_share"][10] > 0.5


def test_luma_statistics_of_a_known_picture() -> None:
    picture = np.zeros((2, *SIZE, 3), np.uint8)
    picture[:, :, 48:] = 255
    columns = measure_pairs(Batch.of(picture), edges=False)
    assert columns["luma_mean"][0] == pytest.approx(127.5)
    assert columns["luma_std"][0] == pytest.approx(127.5)
    assert columns["dark_share"][0] == columns["bright_share"][0] == pytest.approx(0.5)


def test_thumbnails_are_block_means() -> None:
    frames = np.zeros((2, *SIZE, 3), np.uint8)
    frames[1, :8, :8] = 200
    tiny = thumbnails(Batch.of(frames))
    assert tiny.shape == (1, 7, 12)
    assert tiny[0, 0, 0] == 200
    assert tiny.sum() == 200
