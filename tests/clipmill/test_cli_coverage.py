"""`clipmill coverage`: a selection beside what it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def selected(clipmill: Any, corpus_path: Path, recipe_path: Path) -> Path:
    """The clips of 4 s and more with a luma above 20: 3 and 5 to 9 of ten."""
    done = clipmill("select", corpus_path, "--recipe", recipe_path, "--name", "light")
    assert done.exit_code == 0, done.stderr
    return corpus_path


def test_columns_are_compared(clipmill: Any, selected: Path, tmp_path: Path) -> None:
    done = clipmill("coverage", selected, "light", "--to", tmp_path / "pictures")
    assert done.exit_code == 0, done.stderr
    spreads, columns = done.stdout.split("\n\n")
    lines = {line.split("\t")[0]: line.split("\t") for line in spreads.splitlines()}
    assert lines["duration_s"][3] == "5.5"
    assert lines["duration_s"][6] == "7.5"
    assert "uri\t3\t2.97 -> 2.75" in columns
    assert "6 of 10 clips" in done.stderr
    assert (tmp_path / "pictures" / "duration_s.png").read_bytes().startswith(b"\x89PNG")


def test_groups_are_listed(clipmill: Any, selected: Path) -> None:
    done = clipmill("coverage", selected, "--by", "license")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["\t4\t3\t1.25\t", "CC-BY-4.0\t6\t3\t0.833\t"]
    assert "entropy 0.971 -> 1.000 bits" in done.stderr


def test_coverage_is_json(clipmill: Any, selected: Path) -> None:
    found = json.loads(clipmill("coverage", selected, "light", "--json").stdout)
    assert (found["clips_before"], found["clips_after"]) == (10, 6)
    luma = next(item for item in found["spreads"] if item["column"] == "luma_mean_255")
    assert sum(luma["after"]["counts"]) + luma["after"]["above"] == 6
    assert luma["unit"] == "0 to 255"
