"""A small catalog for the command line, and two ways to run commands on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from catalogs import Catalog, Column

CLIPS, SOURCES, DARK, UNMEASURED = 10, 3, 3, 4
RECIPE = """\
name: tiny
gates:
  length: duration_s >= 3
  light: luma_mean_255 > 20
splits: {train: 1.0}
"""

Run = Callable[..., Any]


def clip_id(number: int) -> str:
    return f"{number:x}" * 32


@pytest.fixture(scope="session")
def _catalog_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of three sources. Clip n lasts n + 1 s and has luma 10 n; clip 4 has none."""
    folder = tmp_path_factory.mktemp("cli") / "corpus"
    stamp = {"created": datetime(2026, 5, 1, tzinfo=UTC), "run_id": "r"}
    sources = [
        {
            "source_id": f"{number:032x}",
            "uri": f"videos/{number}.mp4",
            "kind": "video",
            "fps": 25.0,
            "license": "CC-BY-4.0" if number else None,
            **stamp,
        }
        for number in range(SOURCES)
    ]
    clips = [
        {
            "clip_id": clip_id(number),
            "cutting": "cutting1",
            "source_id": f"{number % SOURCES:032x}",
            "kind": "video",
            "start_pts": number * 1000,
            "end_pts": number * 1000 + 25 * (number + 1),
            "time_base_num": 1,
            "time_base_den": 25,
            "start_s": number * 40.0,
            "end_s": number * 41.0 + 1,
            "duration_s": number + 1.0,
            **stamp,
        }
        for number in range(CLIPS)
    ]
    scores = [
        {
            "clip_id": clip_id(number),
            "op_version": 1,
            "luma_mean_255": None if number == UNMEASURED else 10.0 * number,
            **stamp,
        }
        for number in range(CLIPS)
    ]
    luma = Column("luma_mean_255", pa.float64(), "mean luma", "0 to 255")
    catalog = Catalog.create(folder)
    with catalog.transaction("first") as txn:
        txn.append("sources", sources)
        txn.append("clips", clips)
        txn.append("scores/exposure", scores, [luma])
    bad = {"uri": "bad.mp4", "stage": "probe", "error_class": "Empty", "detail": "no\tbytes\n"}
    catalog.append("quarantine", [{**bad, **stamp}])
    return folder


@pytest.fixture
def corpus_path(_catalog_template: Path, tmp_path: Path) -> Path:
    """A catalog of one's own, at version 2."""
    return Path(shutil.copytree(_catalog_template, tmp_path / "corpus"))


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def clipmill() -> Run:
    """Run a command in this process: `clipmill("sql", path, "select 1")`."""
    from clipmill.cli import app

    def run(*args: object) -> Any:
        return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="clipmill")

    return run


@pytest.fixture
def program() -> Run:
    """Run a command as a process of its own."""

    def run(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clipmill", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)

    return run
