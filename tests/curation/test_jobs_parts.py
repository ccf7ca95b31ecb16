"""The parts of a run that need no cluster: inputs, chunks, progress, problems, commits."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs import Catalog
from catalogs.errors import NotFoundError, UsageError
from catalogs.testing import CorpusTruth, Shot, render_video
from curation.jobs.commit import Committer
from curation.jobs.job import FinishJob, Identified, MeasureJob
from curation.jobs.measure import chunks_of, measure_video
from curation.jobs.outcome import Outcome, Problem
from curation.jobs.progress import Progress, Tally, Watchdog, duration_text
from curation.jobs.scan import Input, find_inputs
from curation.jobs.settings import MillSettings
from curation.jobs.work import KilledError, Worker
from curation.media import MediaError
from curation.media.probe import probe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.MP4", "a.mkv", "deep/er/c.bvh", "note.txt", "page.html", ".hidden/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("words")
    (tmp_path / "take.txt").write_text('{"Loop": "wrap", "Frames": []}')
    return tmp_path


def names(inputs: list[Input]) -> list[str]:
    return [Path(item.uri).name for item in inputs]


def test_a_folder_is_searched_by_suffix_and_notes_are_left_alone(folder: Path) -> None:
    assert names(find_inputs([folder])) == ["a.mkv", "b.MP4", "c.bvh", "take.txt"]


def test_a_file_is_taken_whatever_its_name_is(folder: Path) -> None:
    assert names(find_inputs([folder / "page.html"])) == ["page.html"]


def test_globs_lists_and_tables(folder: Path) -> None:
    assert names(find_inputs([f"{folder}/*.mkv"])) == ["a.mkv"]
    (folder / "some.list").write_text("# chosen\na.mkv\n\ndeep/er/c.bvh\n")
    assert names(find_inputs([folder / "some.list"])) == ["a.mkv", "c.bvh"]
    rows = [{"uri": "a.mkv", "license": "CC0-1.0", "title": "A", "views": 3}, {"uri": "b.MP4"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "crawl.parquet")
    first, second = find_inputs([folder / "crawl.parquet"], license="MIT", collection="crawl")
    assert (first.license, second.license, first.collection) == ("CC0-1.0", "MIT", "crawl")
    assert first.meta == {"title": "A", "views": 3}


def test_the_same_address_counts_once(folder: Path) -> None:
    assert names(find_inputs([folder, folder / "a.mkv", f"{folder}/*.mkv"])).count("a.mkv") == 1


@pytest.mark.parametrize(
    ("paths", "kind", "words"),
    [
        ([], UsageError, "nothing to curate"),
        (["/no/such/file.mp4"], NotFoundError, "does not exist"),
        (["/no/such/*.mp4"], NotFoundError, "no file matches"),
        (["ftp://host/a.mp4"], UsageError, "cannot be read"),
    ],
)
def test_inputs_that_cannot_be(paths: list[str], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        find_inputs(paths)


def test_a_table_without_addresses_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.mp4"]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="no column 'uri'"):
        find_inputs([tmp_path / "t.parquet"])


def test_chunks_begin_at_keyframes_and_cover_the_source(tmp_path: Path) -> None:
    render_video(tmp_path / "v.mp4", [Shot("still", 96, seed=2)], size=(64, 36), gop=12)
    found = probe(tmp_path / "v.mp4")
    chunks = chunks_of(found, 1.2)
    assert len(chunks) > 1
    assert chunks[0].start_pts == found.start_pts
    assert all(chunk.start_pts in found.keyframe_pts for chunk in chunks)
    assert [c.end_pts for c in chunks[:-1]] == [c.start_pts for c in chunks[1:]]
    assert chunks[-1].end_pts is None
    assert {chunk.of for chunk in chunks} == {len(chunks)}
    assert len(chunks_of(found, 1e6)) == 1


def test_full_range_and_rotated_frames_are_measured_as_displayed(tmp_path: Path) -> None:
    shots = [Shot("pan_right", 24, seed=3)]
    render_video(tmp_path / "a.mp4", shots, size=(160, 90))
    render_video(tmp_path / "b.mp4", shots, size=(160, 90), rotate_deg=180)
    plain = measure_video(str(tmp_path / "a.mp4"), MillSettings(), None, "av")
    turned = measure_video(str(tmp_path / "b.mp4"), MillSettings(), None, "av")
    assert not isinstance(plain, list)
    assert not isinstance(turned, list)
    difference = plain.signals["luma_mean"] - turned.signals["luma_mean"]
    assert abs(difference).max() < 2.0
    assert plain.story_size == turned.story_size


def test_both_backends_measure_alike(tmp_path: Path) -> None:
    render_video(tmp_path / "a.mp4", [Shot("pan_left", 30, seed=5)], size=(160, 90))
    one = measure_video(str(tmp_path / "a.mp4"), MillSettings(), None, "av")
    two = measure_video(str(tmp_path / "a.mp4"), MillSettings(), None, "decord")
    assert not isinstance(one, list)
    assert not isinstance(two, list)
    assert one.signals.pts.tolist() == two.signals.pts.tolist()
    assert abs(one.signals["luma_mean"] - two.signals["luma_mean"]).max() < 2.0


def test_a_worker_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "catalog")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "words.mp4").write_text("#EXTM3U\nhttp://127.0.0.1:9/secret.ts\n")
    worker = Worker(MillSettings(operators=()), catalog.storage.root)
    inputs = find_inputs([tmp_path / "empty.mp4", tmp_path / "words.mp4"])
    found, problems = worker.identify([*inputs, Input(str(tmp_path / "gone.mp4"))])
    assert [problem.error_class for problem in problems] == ["unreadable"]
    outcomes = [worker.work(MeasureJob(item)) for item in found]
    classes = [outcome.problems[0].error_class for outcome in outcomes]  # type: ignore[union-attr]
    assert classes == ["empty", "playlist"]


def test_problems_keep_what_is_known() -> None:
    error = MediaError("decode", "crash", "the process died", signal="SIGSEGV")
    row = Problem.of(error, "a.mp4", stage="measure", source_id="s", size=7).row()
    assert (row["stage"], row["error_class"], row["signal"]) == ("decode", "crash", "SIGSEGV")
    killed = Problem.of(KilledError("killed"), "a.mp4", stage="measure").row()
    assert (killed["error_class"], killed["signal"]) == ("killed", "SIGKILL")
    denied = Problem.of(PermissionError(13, "Permission denied"), "a.mp4", stage="read").row()
    assert (denied["error_class"], denied["detail"]) == ("unreadable", "Permission denied")


def test_a_second_run_over_the_same_sources_doubles_nothing(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "catalog")
    mine, other = Committer(catalog, "mine"), Committer(Catalog.open(tmp_path / "catalog"), "other")
    for committer in (mine, other):
        outcome = Outcome()
        outcome.add("sources", [{"source_id": "s", "uri": "a.mp4", "kind": "video"}])
        committer.add(outcome)
        committer.flush()
    assert Catalog.open(tmp_path / "catalog").sql("select run_id from sources").rows() == [
        ("mine",)
    ]


def test_an_outcome_gathers_rows_of_one_table() -> None:
    outcome = Outcome()
    outcome.add("sources", [{"source_id": "a"}])
    outcome.add("sources", [{"source_id": "b", "fps": 25.0}])
    assert outcome.rows["sources"].table.to_pylist() == [
        {"source_id": "a", "fps": None},
        {"source_id": "b", "fps": 25.0},
    ]


def test_the_watchdog_names_each_stuck_piece_once() -> None:
    told: list[str] = []
    watchdog = Watchdog(0.0, told.append)
    for _ in range(3):
        watchdog.check({"key": ("measuring a.mp4", -1.0)})
    assert len(told) == 1
    assert told[0].endswith("measuring a.mp4")


def test_progress_says_how_far_and_how_long() -> None:
    tally = Tally(total=4, total_bytes=100, sources=1, bytes=25, media_s=7200, clips=9)
    tally.quarantined = 1
    line = tally.line("curate")
    assert "1/4 files" in line
    assert "2.00 h" in line
    assert "1 quarantined" in line
    assert "left" in line
    stream = io.StringIO()
    Progress(tally, "curate", stream).note("no progress: a.mp4")
    assert stream.getvalue() == "no progress: a.mp4\n"
    assert [duration_text(s) for s in (12, 200, 7500)] == ["12 s", "3 min 20 s", "2 h 05 min"]


def test_jobs_say_what_they_are() -> None:
    item = Identified(Input("a.mp4"), "0" * 64, "0" * 32, 5)
    assert MeasureJob(item).label == "measuring a.mp4"
    assert "2 sources" in FinishJob(("x", "y"), ("motion",)).label


def test_settings_travel_as_plain_values(corpus: CorpusTruth) -> None:
    settings = MillSettings()
    assert json.loads(json.dumps(settings.to_dict(), default=str))["operators"]
    assert Fraction(1)
    assert settings.cutting == MillSettings().cutting
