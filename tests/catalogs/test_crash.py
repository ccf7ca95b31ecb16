"""A writer that is killed at any moment leaves a whole catalog, and its rerun completes it."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from catalogs import Catalog
from catalogs.maintenance import compact
from catalogs.query import Session

KILLS = 50
LONGEST_LIFE_S = 0.12
MANY = 1_000_000
PROGRAM = Path(__file__).with_name("crash_writer.py")


@pytest.fixture(scope="module")
def crash_writer() -> ModuleType:
    found = importlib.util.spec_from_file_location("crash_writer", PROGRAM)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


class Writers:
    """A process without threads that forks one writer at a time."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process

    def start(self, units: int) -> int:
        self._send(str(units))
        word, pid = self._receive().split()
        assert word == "started"
        return int(pid)

    def end(self) -> int:
        word, status = self._receive().split()
        assert word == "ended"
        return int(status)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _receive(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def writers(path: Path) -> Iterator[Writers]:
    command = [sys.executable, str(PROGRAM), str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Writers(process)


def check_consistent(path: Path, clips_per_source: int) -> int:
    """No half transaction is visible; returns how many sources are there."""
    with Session(Catalog.open(path)) as session:
        ((sources, wrong),) = session.sql(
            """
            select count(*), count(*) filter (
                uri is null or clips is distinct from $n or scores is distinct from $n
                or not checked)
            from sources full join (
                select source_id, count(*) as clips, count(blur) as scores,
                    count(distinct clip_id) = $n as checked
                from clips group by all
            ) using (source_id)""",
            {"n": clips_per_source},
        ).rows()
    assert wrong == 0
    return int(sources)


def contents(path: Path) -> dict[str, pa.Table]:
    catalog = Catalog.open(path)
    return {
        table: catalog.sql(f"select * exclude (created) from {name} order by all").arrow()
        for table, name in (("sources", "sources"), ("clips", "clips_all"), ("e", "scores_blur"))
    }


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, crash_writer: ModuleType) -> Path:
    """A catalog whose writer was killed 50 times and then allowed to finish."""
    path = tmp_path_factory.mktemp("killed") / "corpus"
    crash_writer.write_unit(Catalog.create(path), 0)
    dice = random.Random(3)
    with writers(path) as fork:
        for _ in range(KILLS):
            pid = fork.start(MANY)
            time.sleep(dice.uniform(0, LONGEST_LIFE_S))
            os.kill(pid, signal.SIGKILL)
            assert fork.end() == -signal.SIGKILL
            last = check_consistent(path, crash_writer.CLIPS)
        fork.start(last + 1)
        assert fork.end() == 0
    return path


def test_the_rerun_completes_what_fifty_kills_left(
    killed: Path, crash_writer: ModuleType, tmp_path: Path
) -> None:
    undisturbed = Catalog.create(tmp_path / "corpus")
    for unit in range(check_consistent(killed, crash_writer.CLIPS)):
        crash_writer.write_unit(undisturbed, unit)
    assert contents(killed) == contents(tmp_path / "corpus")


def test_vacuum_leaves_nothing_of_the_killed_writers(killed: Path) -> None:
    catalog = Catalog.open(killed)
    compact(catalog, vacuum=True)
    for table in catalog.tables():
        on_disk = {file.name for file in (killed / table).glob("*.parquet")}
        assert on_disk == {item.path for item in catalog.files(table)}
    assert list((killed / ".staging").iterdir()) == []
