"""`sample` and `calibrate` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.reviews import store_label


@pytest.fixture
def labels(clipmill: Any, corpus_path: Path, recipe_path: Path, tmp_path: Path) -> Path:
    """All ten clips, labelled by whether their luma is above 45."""
    folder = tmp_path / "to-label"
    drawn = ("--recipe", recipe_path, "--gate", "light", "--anywhere", 10, "--to", folder)
    done = clipmill("sample", corpus_path, *drawn)
    assert done.exit_code == 0, done.stderr
    assert "10 clips wait for a label" in done.stderr
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = "keep" if row["value"] in {"50", "60", "70", "80", "90"} else "drop"
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "labels.csv"


def test_drawn_clips_are_printed(clipmill: Any, corpus_path: Path, recipe_path: Path) -> None:
    near = ("--recipe", recipe_path, "--gate", "light", "--near", 4)
    done = clipmill("sample", corpus_path, *near)
    assert done.exit_code == 0, done.stderr
    head, *rows = (line.split("\t") for line in done.stdout.splitlines())
    assert head == ["clip_id", "gate", "file", "span_s", "value"]
    values = sorted(float(row[4]) for row in rows)
    assert len(values) == 4
    assert values[1] <= 20 < values[2]
    again = json.loads(clipmill("sample", corpus_path, *near, "--json").stdout)
    assert [item["clip_id"] for item in again] == [row[0] for row in rows]


def test_gates_are_compared_and_limits_suggested(
    clipmill: Any, corpus_path: Path, recipe_path: Path, labels: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    asked = ("--labels", labels, "--recipe", recipe_path)
    done = clipmill("calibrate", corpus_path, *asked, "--to", pictures)
    assert done.exit_code == 0, done.stderr
    gates, limits = done.stdout.split("\n\n")
    lines = {line.split("\t")[0]: line.split("\t") for line in gates.splitlines()}
    assert lines["light"][1:3] == ["5", "5"]
    assert lines["light"][4].startswith("1.00 (")
    assert lines["light"][6:] == ["0", "1", "1"]
    assert "light\tluma_mean_255 > 20" in limits
    assert "too few labels: 5 to keep and 4 to drop" in limits
    assert sorted(path.name for path in pictures.iterdir()) == ["length.png", "light.png"]


def test_calibrations_are_json(
    clipmill: Any, corpus_path: Path, recipe_path: Path, labels: Path
) -> None:
    done = clipmill("calibrate", corpus_path, "--labels", labels, "--recipe", recipe_path, "--json")
    found = json.loads(done.stdout)
    light = next(gate for gate in found["gates"] if gate["gate"] == "light")
    assert light["recall"]["value"] == 1.0
    assert light["limits"][0]["auc"]["value"] == 1.0
    assert light["limits"][0]["curve"][0]["yield_clips"] > 0
    assert found["whole"] is None


def test_wrong_use_is_told(clipmill: Any, corpus_path: Path, recipe_path: Path) -> None:
    done = clipmill("sample", corpus_path, "--recipe", recipe_path, "--gate", "light")
    assert done.exit_code == 2
    assert "how many clips" in done.stderr
    done = clipmill("sample", corpus_path, "--anywhere", 2)
    assert done.exit_code == 2
    assert "no selection" in done.stderr
    sheets = ("--recipe", recipe_path, "--anywhere", 2, "--sheets")
    assert "--to DIR" in clipmill("sample", corpus_path, *sheets).stderr


def test_labels_of_a_reviewer_are_compared(
    clipmill: Any, corpus_path: Path, recipe_path: Path, labels: Path
) -> None:
    catalog = Catalog.open(corpus_path)
    for (clip,) in catalog.sql("select clip_id from clips where luma_mean_255 > 60").rows():
        store_label(catalog, "ada", clip, "keep")
    asked = ("--recipe", recipe_path, "--json")
    done = clipmill("calibrate", corpus_path, "--reviewer", "ada", *asked)
    assert done.exit_code == 0, done.stderr
    light = next(gate for gate in json.loads(done.stdout)["gates"] if gate["gate"] == "light")
    assert (light["kept_right"], light["lost"]) == (3, 0)
    for given in ((), ("--labels", labels, "--reviewer", "ada"), ("--reviewer", "ben")):
        assert clipmill("calibrate", corpus_path, *given, *asked).exit_code == 2
