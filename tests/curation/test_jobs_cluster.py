"""The crew: as many workers as there is work for, and nothing of a local cluster left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from catalogs.testing import Shot, render_video
from curation.jobs.cluster import IDLE_PARTS, Crew
from curation.jobs.job import IdentifyJob
from curation.jobs.settings import MillSettings
from curation.jobs.work import Worker


@pytest.fixture
def crew(cluster: str, tmp_path: Path) -> Iterator[Crew]:
    """At most two workers, on the cluster that is there."""
    crew = Crew(partial(Worker, MillSettings(operators=()), str(tmp_path)), workers=2)
    yield crew
    crew.stop()


def test_workers_are_started_as_work_comes(crew: Crew) -> None:
    crew.start(1)
    sizes = []
    for _ in range(4):
        assert crew.has_room
        crew.submit(IdentifyJob(()))
        sizes.append(crew.size)
    assert sizes == [1, 2, 2, 2]
    assert not crew.has_room
    results = []
    while crew.busy:
        results += [result for _, result in crew.collect(timeout_s=60)]
    assert results == [([], [])] * 4


def test_no_more_workers_are_started_than_asked_for(crew: Crew) -> None:
    crew.start(100)
    assert crew.size == 2


def test_what_is_left_out_of_a_local_cluster_is_still_called_so() -> None:
    from ray._private.node import Node

    assert set(IDLE_PARTS) <= set(vars(Node))


def test_a_local_cluster_leaves_nothing_behind(tmp_path: Path) -> None:
    render_video(tmp_path / "a.mp4", [Shot("still", 6)], size=(64, 48))
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is too long for Ray's sockets
        command = [
            sys.executable, "-m", "clipmill", "curate", str(tmp_path), "--quiet",
            "--catalog", str(tmp_path / "catalog"), "--workers", "1",
        ]  # fmt: skip
        env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        env["RAY_TMPDIR"] = folder
        subprocess.run(command, env=env, check=True, timeout=120)
        sessions = {entry.name for entry in Path(folder, "ray").iterdir() if entry.is_dir()}
        assert sessions == set()
        assert not processes_naming(folder)


def processes_naming(text: str) -> list[int]:
    """Processes with `text` in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in line:
            found.append(int(entry.name))
    return found
