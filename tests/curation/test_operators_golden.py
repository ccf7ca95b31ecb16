"""Operators give the scores that they gave when the golden values were written.

Encoders of another FFmpeg release place bits a little differently, which moves real scores by a
percent or so, and by more where they are next to nothing; hence the tolerances. Counts and flags
are held to exactly.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from curation.operators import operator_class

SCRIPT = runpy.run_path(str(Path(__file__).with_name("make_operator_golden.py")))
STORED: dict[str, dict[str, dict[str, Any]]] = json.loads(SCRIPT["GOLDEN"].read_text())

RELATIVE = 0.03
NEXT_TO_NOTHING = {"": 0.02, "..": 0.01, "px": 0.1, "%": 0.02, "deg": 0.02, "dB": 0.5, "luma^2": 1}
"""Absolute tolerance by what the unit begins with or contains."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    return SCRIPT["measured"](tmp_path_factory.mktemp("golden"))  # type: ignore[no-any-return]


def absolute(unit: str) -> float:
    return max(size for mark, size in NEXT_TO_NOTHING.items() if mark in unit)


@pytest.mark.parametrize("name", SCRIPT["OPERATORS"])
def test_scores_are_the_stored_ones(found: dict[str, dict[str, dict[str, Any]]], name: str) -> None:
    units = {column.name: column.unit for column in operator_class(name).columns}
    assert set(found[name]) == set(STORED[name])
    for clip, row in STORED[name].items():
        for column, value in row.items():
            now = found[name][clip][column]
            if isinstance(value, float | list):
                wanted = pytest.approx(value, rel=RELATIVE, abs=absolute(units[column]))
                assert now == wanted, f"{column} of {clip}"
            else:
                assert now == value, f"{column} of {clip}"


@pytest.mark.parametrize("name", SCRIPT["OPERATORS"])
def test_stored_scores_are_of_the_present_version(name: str) -> None:
    versions = {row["op_version"] for row in STORED[name].values()}
    assert versions == {operator_class(name).version}, "run make_operator_golden.py"


@pytest.mark.parametrize("name", SCRIPT["OPERATORS"])
def test_every_declared_column_is_pinned(name: str) -> None:
    declared = {column.name for column in operator_class(name).columns}
    assert all(set(row) - {"op_version"} == declared for row in STORED[name].values())
