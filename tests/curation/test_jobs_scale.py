"""Memory stays where it is when videos get longer and folders get fuller."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import Catalog
from catalogs.testing import render_long_video, render_many
from curation.jobs.commit import Committer
from curation.jobs.job import MeasureJob
from curation.jobs.measure import MeasuredVideo, measure_video, warm_up
from curation.jobs.outcome import Outcome, Rows
from curation.jobs.plan import plan_sources
from curation.jobs.scan import find_inputs
from curation.jobs.settings import Limits, MillSettings
from curation.jobs.work import Worker
from curation.media.guard import GuardedWorker

CHUNKED = MillSettings(limits=Limits(chunk_s=12.0))
MIB = 1 << 20


@pytest.fixture(scope="module")
def child() -> Iterator[GuardedWorker]:
    """A guarded child that has loaded its libraries."""
    with GuardedWorker() as worker:
        worker.call(warm_up)
        yield worker


def peak_memory(pid: int) -> int:
    """The largest resident size that a process has had since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM: not on Linux")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def memory_for(child: GuardedWorker, path: Path) -> int:
    """Peak of measuring a file chunk by chunk: the first, the middle and the last one."""
    assert child.pid is not None
    forget_peak(child.pid)
    chunks = child.call(measure_video, str(path), CHUNKED, None, "av")
    assert isinstance(chunks, list)
    for chunk in (chunks[0], chunks[len(chunks) // 2], chunks[-1]):
        assert isinstance(child.call(measure_video, str(path), CHUNKED, chunk, "av"), MeasuredVideo)
    return peak_memory(child.pid)


def test_a_longer_video_takes_no_more_memory(child: GuardedWorker, tmp_path: Path) -> None:
    short, long = tmp_path / "short.mp4", tmp_path / "long.mp4"
    render_long_video(short, 2, size=(64, 48), fps=10)
    render_long_video(long, 60, size=(64, 48), fps=10)
    memory_for(child, short)
    grown = memory_for(child, long) - memory_for(child, short)
    # Whole, or with all its packets kept, the long one takes about 40 MiB more.
    assert grown < 8 * MIB


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> MeasuredVideo:
    [path] = render_many(tmp_path_factory.mktemp("tiny"), 1)
    found = measure_video(str(path), MillSettings(), None, "av")
    assert isinstance(found, MeasuredVideo)
    return found


def driver_memory(count: int, measured: MeasuredVideo, folder: Path) -> int:
    """Peak of what a driver allocates to bring `count` files into a new catalog.

    Files, plan, rows and commits are real; what a worker would find in each file is not measured
    again but taken from one.
    """
    render_many(folder / "media", count)
    catalog = Catalog.create(folder / "catalog")
    worker = Worker(MillSettings(operators=()), str(folder / "catalog"))
    arrow_before, arrow_peak = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    found, problems = worker.identify(find_inputs([folder / "media"]))
    assert not problems
    committer = Committer(catalog, "run")
    model = worker._video_outcome(MeasureJob(found[0]), measured)
    for job in plan_sources(catalog, found, MillSettings()).measure:
        committer.add(outcome_like(model, job.identified.source_id))
        committer.maybe()
        arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - arrow_before)
    committer.flush()
    python_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert catalog.sql("select count(*) from sources").value() == count
    return python_peak + arrow_peak


def outcome_like(model: Outcome, source_id: str) -> Outcome:
    """An outcome of which the tables say the same of another source."""
    outcome = Outcome((source_id,))
    for name in ("sources", "signals/video", "storyboards"):
        rows = model.rows[name]
        at = rows.table.column_names.index("source_id")
        ids = pa.array([source_id] * rows.table.num_rows)
        outcome.rows[name] = Rows(rows.table.set_column(at, "source_id", ids), rows.columns)
    return outcome


def test_more_files_take_hardly_more_memory(measured: MeasuredVideo, tmp_path: Path) -> None:
    driver_memory(8, measured, tmp_path / "warm-up")
    few = driver_memory(300, measured, tmp_path / "few")
    many = driver_memory(1500, measured, tmp_path / "many")
    # A file stays as its address and hash, about 2 KiB; its rows are gone once they are committed.
    assert (many - few) / 1200 < 4096
