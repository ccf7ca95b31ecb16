"""The one pass over rendered and real files: order, chunks, storage."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from catalogs.errors import FormatError, UsageError
from catalogs.testing import Shot, render_video
from curation.jobs.measure import MeasuredVideo, measure_whole
from curation.jobs.rows import signal_row
from curation.jobs.settings import MillSettings
from curation.signals import (
    SIGNALS,
    VideoMeter,
    VideoSignals,
    join_signals,
    shrink_planes,
    small_size,
)
from curation.signals.shrink import Shrinker

TICK = Fraction(1, 12800)


@pytest.fixture(scope="module")
def planes() -> list[tuple[NDArray[np.uint8], ...]]:
    random = np.random.default_rng(1)
    shapes = ((180, 320), (90, 160), (90, 160))
    return [tuple(random.integers(16, 235, shape, np.uint8) for shape in shapes) for _ in range(90)]


def measured(planes, first: int, last: int, skip: int = 0) -> VideoSignals:
    meter = VideoMeter(320, 180, TICK)
    for index in range(first, last):
        meter.add_planes(index * 512, *planes[index])
    return meter.finish(skip=skip)


@pytest.fixture(scope="module")
def whole(planes) -> VideoSignals:
    return measured(planes, 0, 90)


def test_every_declared_signal_is_measured(whole: VideoSignals) -> None:
    assert set(whole.columns) == set(SIGNALS) - {"edge_delta", "transnet_cut"}
    assert all(len(values) == 90 for values in whole.columns.values())
    assert whole.thumbs.shape == (90, 7, 12)
    assert whole.end_pts == 90 * 512


@pytest.mark.parametrize("border", [1, 40, 64, 89])
def test_chunks_join_to_one_pass(planes, whole: VideoSignals, border: int) -> None:
    parts = [measured(planes, 0, border), measured(planes, border - 1, 90, skip=1)]
    joined = join_signals(parts)
    assert_same(joined, whole)


def assert_same(one: VideoSignals, two: VideoSignals) -> None:
    np.testing.assert_array_equal(one.pts, two.pts)
    np.testing.assert_array_equal(one.thumbs, two.thumbs)
    assert one.columns.keys() == two.columns.keys()
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, two.columns[name], err_msg=name)
    assert one.pictures is not None
    assert two.pictures is not None
    for name, hashes in one.pictures.to_row().items():
        np.testing.assert_array_equal(hashes, two.pictures.to_row()[name], err_msg=name)


def test_batches_do_not_matter(planes, whole: VideoSignals) -> None:
    meter = VideoMeter(320, 180, TICK)
    small = np.stack([shrink_planes(*frame, meter.small_size) for frame in planes])
    for first, last in ((0, 1), (1, 50), (50, 90)):
        pts = np.arange(first, last) * 512
        wanted = [meter.wants_detail(int(when)) for when in pts]
        details = {at: planes[first + at][0] for at, asked in enumerate(wanted) if asked}
        meter.update(pts, small[first:last], details)
    assert_same(meter.finish(), whole)


def test_details_come_four_times_a_second(whole: VideoSignals) -> None:
    seen = np.flatnonzero(np.isfinite(whole["sharpness"]))
    quarters = [min(index for index in range(90) if index * 512 * 4 // 12800 == quarter)
                for quarter in range(15)]  # fmt: skip
    assert seen.tolist() == quarters


def test_values_are_kept_at_half_precision(whole: VideoSignals) -> None:
    for name, spec in SIGNALS.items():
        if spec.storage == "float16" and name in whole.columns:
            values = whole[name]
            np.testing.assert_array_equal(values, values.astype(np.float16).astype(np.float32))


def test_rows_come_back(whole: VideoSignals) -> None:
    assert_same(VideoSignals.from_row(whole.to_row()), whole)


def test_another_version_is_refused(whole: VideoSignals) -> None:
    with pytest.raises(FormatError, match="version 99"):
        VideoSignals.from_row({**whole.to_row(), "set_version": 99})


def test_an_unmeasured_signal_is_named(whole: VideoSignals) -> None:
    with pytest.raises(UsageError, match="'edge_delta' was not measured"):
        whole["edge_delta"]


def test_time_must_run_forward(planes) -> None:
    meter = VideoMeter(320, 180, TICK)
    meter.add_planes(512, *planes[0])
    with pytest.raises(UsageError, match="pts 512 after pts 512"):
        meter.add_planes(512, *planes[1])


def test_a_batch_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="batch of shape"):
        VideoMeter(320, 180, TICK).update([0], np.zeros((1, 10, 10, 3), np.uint8))


def test_chunks_must_follow_each_other(whole: VideoSignals) -> None:
    with pytest.raises(UsageError, match="before the end"):
        join_signals([whole, whole])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1920, 1080), (96, 56)),
        ((1080, 1920), (56, 96)),
        ((640, 480), (80, 64)),
        ((1, 1), (72, 72)),
    ],
)
def test_small_size_keeps_the_aspect(size, expected) -> None:
    assert small_size(*size) == expected


def test_extreme_strips_keep_both_sides() -> None:
    for size in ((4000, 8), (8, 4000)):
        assert min(small_size(*size)) >= 16


def test_shrinking_keeps_colour_and_place() -> None:
    luma = np.full((720, 1280), 81, np.uint8)
    luma[:, 640:] = 145
    blue = np.full((360, 640), 90, np.uint8)
    blue[:, 320:] = 54
    red = np.full((360, 640), 240, np.uint8)
    red[:, 320:] = 34
    small = shrink_planes(luma, blue, red, (96, 56)).astype(int)
    assert np.abs(small[:, :40] - (255, 0, 0)).max() <= 4
    assert np.abs(small[:, 56:] - (0, 255, 0)).max() <= 4


@pytest.mark.parametrize("size", [(2048, 1810), (641, 359), (193, 145), (64, 64)])
def test_levels_are_those_of_planes_that_were_looked_up_before(size: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    tables = tuple(random.permutation(256).astype(np.uint8) for _ in range(2))
    width, height = size
    planes = [
        random.integers(0, 256, shape, np.uint8)
        for shape in ((height, width), *[((height + 1) // 2, (width + 1) // 2)] * 2)
    ]
    looked_up = [tables[min(index, 1)][plane] for index, plane in enumerate(planes)]
    shrinker = Shrinker(small_size(*size), 2)
    shrinker.add(*planes, (tables[0], tables[1]))
    shrinker.add(*looked_up)
    first, second = shrinker.take()
    np.testing.assert_array_equal(first, second)


def test_a_file_is_measured_through_the_door(tmp_path: Path) -> None:
    truth = render_video(
        tmp_path / "a.mp4", [Shot("pan_right", 30), Shot("still", 20, seed=4)], rotate_deg=90
    )
    found = measure_whole(str(truth.path), MillSettings())
    signals, health = found.signals, found.health
    assert health.is_clean
    assert signals.pts.tolist() == truth.pts
    assert signals.small_size == small_size(*truth.size)
    assert int(np.argmax(signals["unexplained"])) == 30
    travel = 100 * truth.shots[0].params["pan_x_px"] / truth.size[0]
    assert float(np.median(signals["pan"][1:30])) == pytest.approx(travel, rel=0.15)
    assert np.abs(signals["pan"][31:]).max() < 0.05


BUDGET = 0.005 * 5_000_000 / 8
"""Bytes a second: 0.5% of 1080p footage at 5 Mbit/s."""


def test_signals_stay_within_the_storage_budget(shared_data: Path, tmp_path: Path) -> None:
    names = ("koala_xED6jYxWaGg_26", "koala_w_HPjTkEUJg_48", "koala_cC-Q5kcc3R8_27")
    paths = [shared_data / "video" / f"{name}.mp4" for name in names]
    found = [measure_whole(str(path), MillSettings()) for path in paths]
    assert stored_bytes_per_second(found, tmp_path) < BUDGET


def test_rendered_signals_stay_within_the_storage_budget(tmp_path: Path) -> None:
    shots = [Shot("shake", 60), Shot("moving_shapes", 60, seed=1), Shot("zoom_in", 60, seed=2)]
    truth = render_video(tmp_path / "a.mp4", shots)
    found = measure_whole(str(truth.path), MillSettings())
    assert stored_bytes_per_second([found], tmp_path) < BUDGET


def stored_bytes_per_second(found: Sequence[MeasuredVideo], folder: Path) -> float:
    rows = [signal_row(str(number), item) for number, item in enumerate(found)]
    stored = [n for n, value in rows[0].items() if isinstance(value, np.ndarray | bytes)]
    table = pa.table({name: pa.array([row[name] for row in rows]) for name in stored})
    split = [
        f"{name}.list.element"
        for name in stored
        if isinstance(rows[0][name], np.ndarray) and rows[0][name].dtype.kind == "f"
    ]
    path = folder / "signals.parquet"
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        column_encoding=dict.fromkeys(split, "BYTE_STREAM_SPLIT"),
    )
    meta = pq.read_metadata(path).row_group(0)
    size = sum(meta.column(at).total_compressed_size for at in range(meta.num_columns))
    return size / sum(float(item.probe.duration) for item in found)
