"""Curating rendered footage: what is found, what is remembered, what is never repeated.

The corpus and what is long go to two workers on Ray; the rest is done without it, which is cheaper.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from catalogs import Catalog
from catalogs.testing import CorpusTruth, Shot, render_long_video, render_video
from curation.jobs.run import Report, curate, newest_segment, recut
from curation.jobs.settings import Limits, MillSettings
from curation.segment import SegmentSettings

Contents = Callable[[Path], dict[str, list[str]]]


def run(paths: list[Path], catalog: Path, workers: int = 0, **options: object) -> Report:
    return curate(paths, catalog, workers=workers, progress=None, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def milled(
    corpus: CorpusTruth, cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Report]:
    """The rendered corpus, curated once; tests must not change it."""
    folder = tmp_path_factory.mktemp("milled") / "corpus"
    return folder, run([corpus.folder], folder, workers=2)


def test_every_file_becomes_a_source_or_a_reason(
    milled: tuple[Path, Report], corpus: CorpusTruth
) -> None:
    catalog = Catalog.open(milled[0])
    sources = {Path(row[0]).name for row in catalog.sql("select uri from sources").rows()}
    refused = {Path(row[0]).name for row in catalog.sql("select uri from quarantine").rows()}
    expected = {item.name for item in corpus.files if item.outcome == "ok"}
    assert sources == expected
    assert refused == {item.name for item in corpus.files} - expected
    assert milled[1].status == "done"
    assert milled[1].quarantined == len(refused)


def test_hard_cuts_are_found_to_the_frame(milled: tuple[Path, Report], corpus: CorpusTruth) -> None:
    catalog = Catalog.open(milled[0])
    for item in corpus.files:
        if item.kind != "video" or item.outcome != "ok" or item.video is None:
            continue
        starts = {
            row[0]
            for row in catalog.sql(
                "select start_frame from clips where uri like ?", [f"%/{item.name}"]
            ).rows()
        }
        assert set(item.video.cuts) <= starts, item.name


def test_every_frame_is_decoded_once(milled: tuple[Path, Report]) -> None:
    frames = Catalog.open(milled[0]).sql("select sum(frames) from sources where kind='video'")
    assert milled[1].frames == frames.value()


def test_a_second_run_does_nothing(
    milled: tuple[Path, Report], corpus: CorpusTruth, contents: Contents
) -> None:
    before = contents(milled[0])
    again = run([corpus.folder], milled[0])
    assert (again.measured, again.finished, again.frames) == (0, 0, 0)
    assert again.unchanged == milled[1].measured
    assert contents(milled[0]) == before


def test_moved_and_renamed_files_are_not_decoded(
    milled: tuple[Path, Report], corpus: CorpusTruth, tmp_path: Path
) -> None:
    shutil.copytree(milled[0], tmp_path / "catalog")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in Path(corpus.folder).iterdir():
        if file.is_file():
            shutil.copy(file, elsewhere / f"renamed-{file.name}")
    report = run([elsewhere], tmp_path / "catalog")
    assert report.frames == 0
    assert report.moved == milled[1].measured
    addresses = Catalog.open(tmp_path / "catalog").sql("select uri from sources").rows()
    assert all("renamed-" in uri for (uri,) in addresses)


def test_a_copy_of_the_bytes_is_one_source(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    render_video(media / "a.mp4", [Shot("still", 12, seed=1)], size=(160, 90))
    shutil.copy(media / "a.mp4", media / "b.mp4")
    report = run([media], tmp_path / "catalog")
    assert (report.measured, report.duplicates) == (1, 1)


def test_results_do_not_depend_on_chunks_or_workers(
    cluster: str, contents: Contents, tmp_path: Path
) -> None:
    media = tmp_path / "long.mp4"
    render_long_video(media, 1.0, size=(160, 90), fps=10, seed=3)
    whole = MillSettings(limits=Limits(chunk_s=1e6))
    pieces = replace(whole, limits=Limits(chunk_s=13.0))
    run([media], tmp_path / "whole", settings=whole)
    run([media], tmp_path / "pieces", workers=2, settings=pieces)
    one, many = Catalog.open(tmp_path / "whole"), Catalog.open(tmp_path / "pieces")
    assert many.sql("select max(of_chunks) from signals_video").value() > 1
    in_one, in_many = contents(tmp_path / "whole"), contents(tmp_path / "pieces")
    del in_one["signals/video"], in_many["signals/video"]
    assert in_one == in_many
    joined = (
        "select source_id, flatten(list(luma_mean order by chunk)), flatten(list(pts order by "
        "chunk)), flatten(list(unexplained order by chunk)) from signals_video group by source_id"
    )
    assert one.sql(joined).rows() == many.sql(joined).rows()


def test_recut_opens_no_video_and_keeps_what_is_unchanged(
    milled: tuple[Path, Report], tmp_path: Path
) -> None:
    shutil.copytree(milled[0], tmp_path / "catalog")
    before = Catalog.open(tmp_path / "catalog")
    exposures = before.rows("scores/exposure")
    settings = MillSettings(segment=SegmentSettings(detector="none"))
    report = recut(tmp_path / "catalog", settings=settings, workers=0, progress=None)
    assert report.frames == 0
    after = Catalog.open(tmp_path / "catalog")
    spans = after.sql(
        "select start_frame, end_frame, source_frames from clips where kind = 'video'"
    ).rows()
    videos = after.sql("select count(*) from sources where kind = 'video'").value()
    assert len(spans) == videos
    assert all(start == 0 and end == frames for start, end, frames in spans)
    new = after.sql(
        "select count(*) from clips c where kind = 'video' and not exists (select 1 from clips_all "
        "o where o.clip_id = c.clip_id and o.cutting <> c.cutting)"
    ).value()
    assert after.rows("scores/exposure") == exposures + new
    assert new < videos, "files of a single shot keep their clip and its scores"


def test_a_new_operator_scores_from_what_is_stored(corpus: CorpusTruth, tmp_path: Path) -> None:
    settings = MillSettings(operators=("exposure",))
    run([corpus.folder], tmp_path / "catalog", settings=settings)
    report = run(
        [corpus.folder], tmp_path / "catalog", settings=MillSettings(operators=("motion", "text"))
    )
    catalog = Catalog.open(tmp_path / "catalog")
    assert report.frames == 0
    videos = catalog.sql("select count(*) from clips where kind = 'video'").value()
    assert catalog.rows("scores/motion") == catalog.rows("scores/text") == videos
    lacking = catalog.sql(
        "select count(*) from clips where kind = 'video' and frames > 1 and motion_px is null"
    )
    assert lacking.value() == 0


def test_the_newest_cutting_can_be_scored_again(
    milled: tuple[Path, Report], tmp_path: Path
) -> None:
    shutil.copytree(milled[0], tmp_path / "catalog")
    fixed = SegmentSettings(detector="fixed", options={"every_s": 1.0})
    recut(
        tmp_path / "catalog",
        settings=MillSettings(segment=fixed, operators=("exposure",)),
        workers=0,
        progress=None,
    )
    catalog = Catalog.open(tmp_path / "catalog")
    assert newest_segment(catalog) == fixed
    before = catalog.rows("clips")
    settings = MillSettings(segment=newest_segment(catalog), operators=("motion",))
    recut(catalog, settings=settings, workers=0, progress=None)
    assert catalog.refresh().rows("clips") == before, "nothing is cut again"
    unscored = catalog.sql("select count(*) from clips where frames > 1 and kind = 'video' "
                           "and motion_px is null")  # fmt: skip
    assert unscored.value() == 0
