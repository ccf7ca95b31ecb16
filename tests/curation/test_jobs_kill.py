"""Whatever is killed, and whenever: run it again, and the tables are those of a quiet run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalogs import Catalog
from catalogs.testing import Shot, render_take, render_video
from catalogs.testing.kills import Killer, processes_below
from curation.jobs.run import curate

KILLS = 10
LONGEST_LIFE_S = 1.5
Contents = Callable[[Path], dict[str, list[str]]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough small files that a run lasts longer than a kill takes."""
    folder = tmp_path_factory.mktemp("media")
    kinds = ("pan_left", "moving_shapes", "zoom_in", "still")
    for number in range(12):
        shots = [Shot(kinds[(number + k) % 4], 24, seed=10 * number + k) for k in range(3)]
        render_video(folder / f"clip{number:02d}.mp4", shots, size=(192, 108), seed=number)
    for number in range(4):
        render_take(folder / f"take{number}.bvh", "walk", seed=number, seconds=3)
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def quiet(
    media: Path, contents: Contents, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """What an undisturbed run finds."""
    folder = tmp_path_factory.mktemp("quiet") / "catalog"
    curate([media], folder, workers=0, progress=None)
    return contents(folder)


def runs_until(kills: int, media: Path, catalog: Path, victims: Callable[[], list[int]]) -> int:
    """Curate again and again while processes are killed; returns how many were."""
    killed = 0
    for attempt in range(kills):
        with Killer(victims, kills - killed, seed=attempt) as killer:
            curate([media], catalog, workers=2, progress=None, retry=True)
        killed += killer.killed
        if killed >= kills:
            break
        if attempt % 2:
            for folder in catalog.parent.glob("catalog"):
                folder.rename(folder.with_name(f"finished{attempt}"))
    return killed


@pytest.mark.parametrize(
    "needle", ["curation.media.guard_child", "ray::_Seat"], ids=["guard child", "ray worker"]
)
def test_killed_helpers(
    needle: str,
    media: Path,
    cluster: str,
    quiet: dict[str, list[str]],
    contents: Contents,
    tmp_path: Path,
) -> None:
    killed = runs_until(KILLS, media, tmp_path / "catalog", lambda: processes_below(needle))
    assert killed >= KILLS
    report = curate([media], tmp_path / "catalog", workers=0, progress=None)
    assert report.status == "done"
    assert contents(tmp_path / "catalog") == quiet


@pytest.fixture
def driver(media: Path, cluster: str, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts the same curation in a process of its own, which joins the cluster."""
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        command = [
            "env", "--default-signal=INT",  # which a shell's background jobs ignore
            sys.executable, "-m", "clipmill", "curate", str(media), "--catalog",
            str(tmp_path / "catalog"), "--workers", "1", "--address", cluster,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_killed_driver(
    driver: Callable[[], subprocess.Popen],
    media: Path,
    quiet: dict[str, list[str]],
    contents: Contents,
    tmp_path: Path,
) -> None:
    """Half of the kills fall into the start, half into the work; a catalog is always whole."""
    chance = random.Random(5)
    catalog = tmp_path / "catalog"
    killed = 0
    while killed < KILLS:
        process = driver()
        if killed % 2:
            process.stdout.readline()  # the first progress
        try:
            process.wait(timeout=chance.uniform(0, LONGEST_LIFE_S))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        else:
            catalog.rename(catalog.with_name(f"finished{process.pid}"))
        if (catalog / "catalog.json").exists():
            contents(catalog)
    curate([media], catalog, workers=0, progress=None)
    assert contents(catalog) == quiet


def test_interrupted_driver(
    driver: Callable[[], subprocess.Popen],
    media: Path,
    quiet: dict[str, list[str]],
    contents: Contents,
    tmp_path: Path,
) -> None:
    """Ctrl-C commits what is complete, says so, and the next run goes on from there."""
    process = driver()
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output = process.stdout.read().decode()
    assert process.wait() == 130, output
    assert "interrupted" in output
    statuses = Catalog.open(tmp_path / "catalog").sql("select status from runs").rows()
    assert statuses == [("interrupted",)]
    curate([media], tmp_path / "catalog", workers=0, progress=None)
    assert contents(tmp_path / "catalog") == quiet
