"""Drawing clips to label: around limits, on both sides, the same for the same seed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.labels import read_labels
from catalogs.recipe import Recipe
from catalogs.sampling import COLUMNS, Drawn, sample, write_labels
from catalogs.testing.records import record_clips

RECIPE = Recipe(
    "r",
    {"motion": "motion_px between 10 and 60", "light": "luma > 50", "grey": "not is_grey"},
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A hundred clips; clip n moves by n pixels, and every fourth is grey."""
    rows: list[dict[str, Any]] = [
        {
            "clip_id": f"c{n:03}",
            "uri": f"/films/{n}.mp4",
            "start_s": 2.0,
            "end_s": 6.5,
            "duration_s": 4.5,
            "motion_px": float(n) if n else None,
            "luma": 1000.0 if n == 5 else 50.001 if n % 2 else 20.0,
            "is_grey": n % 4 == 0,
        }
        for n in range(100)
    ]
    operators = {"motion": ["motion_px"], "exposure": ["luma"], "colour": ["is_grey"]}
    return record_clips(tmp_path_factory.mktemp("sampling") / "corpus", rows, operators)


def numbers(drawn: list[Drawn]) -> list[int]:
    return [int(item.clip_id[1:]) for item in drawn]


def test_both_sides_of_both_limits_are_drawn_alike(catalog: Catalog) -> None:
    drawn = numbers(sample(catalog, RECIPE, gate="motion", near=12))
    assert len(drawn) == len(set(drawn)) == 12
    sides = [range(1, 10), range(10, 23), range(49, 61), range(61, 73)]
    assert [sum(n in side for n in drawn) for side in sides] == [3, 3, 3, 3]


def test_a_short_side_gives_what_it_has(catalog: Catalog) -> None:
    recipe = Recipe("r", {"motion": "motion_px >= 98"})
    drawn = numbers(sample(catalog, recipe, gate="motion", near=20))
    assert sum(n >= 98 for n in drawn) == 2
    assert sum(n < 98 for n in drawn) == 10
    assert min(drawn) >= 98 - 40


def test_ties_are_drawn_by_lot(catalog: Catalog) -> None:
    """Fifty clips are equally far below the limit: all of them can be drawn."""
    seen = {
        n
        for seed in range(12)
        for n in numbers(sample(catalog, RECIPE, gate="light", near=20, seed=seed))
        if n % 2 == 0
    }
    assert len(seen) > 35


def test_a_gate_without_limits_is_drawn_by_its_verdict(catalog: Catalog) -> None:
    drawn = numbers(sample(catalog, RECIPE, gate="grey", near=10))
    assert sum(n % 4 == 0 for n in drawn) == 5


def test_the_seed_decides(catalog: Catalog) -> None:
    one, same, other = (
        numbers(sample(catalog, RECIPE, gate="motion", near=12, anywhere=8, seed=seed))
        for seed in (3, 3, 4)
    )
    assert one == same
    assert set(one) != set(other)
    assert len(set(one)) == 20
    assert one != sorted(one)


def test_anywhere_is_anywhere(catalog: Catalog) -> None:
    drawn = numbers(sample(catalog, RECIPE, anywhere=100))
    assert sorted(drawn) == list(range(100))


def test_the_file_can_be_filled_in_and_read(catalog: Catalog, tmp_path: Path) -> None:
    drawn = sample(catalog, RECIPE, gate="motion", near=4)
    path = tmp_path / "labels.csv"
    write_labels(path, drawn, {drawn[0].clip_id: "sheets/1.png"})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    number = numbers(drawn)[0]
    assert rows[0] == {
        "clip_id": f"c{number:03}",
        "gate": "motion",
        "file": f"{number}.mp4",
        "span_s": "2.000-6.500",
        "value": f"{number}",
        "label": "",
        "sheet": "sheets/1.png",
    }
    assert read_labels(path).empty == 4
    with pytest.raises(UsageError, match="may hold labels"):
        write_labels(path, drawn)


def test_what_cannot_be_drawn_is_refused(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="did you mean 'motion'"):
        sample(catalog, RECIPE, gate="moton", near=4)
    with pytest.raises(UsageError, match="near what"):
        sample(catalog, RECIPE, near=4)
