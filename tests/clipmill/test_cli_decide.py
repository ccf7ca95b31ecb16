"""`select`, `why`, `funnel` and `diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog


@pytest.fixture
def selected(clipmill: Any, corpus_path: Path, recipe_path: Path) -> Path:
    """The catalog with the selections `one` (luma above 20) and `two` (above 40)."""
    for name, settings in (("one", []), ("two", ["--set", "light=luma_mean_255 > 40"])):
        made = clipmill("select", corpus_path, "--recipe", recipe_path, "--name", name, *settings)
        assert made.exit_code == 0, made.stderr
        assert "recorded" in made.stderr
    return corpus_path


def test_select_prints_the_funnel_and_splits(
    clipmill: Any, corpus_path: Path, recipe_path: Path
) -> None:
    result = clipmill("select", corpus_path, "--recipe", recipe_path, "--name", "one")

    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert rows[1][:3] == ["length", "10", "8"]
    assert rows[2][:3] == ["light", "8", "6"]
    assert rows[4][:2] == ["train", "6"]
    assert "6 of 10 clips" in result.stderr


def test_selecting_again_changes_nothing(clipmill: Any, selected: Path, recipe_path: Path) -> None:
    version = Catalog.open(selected).version
    settings = ["--set", "light=luma_mean_255 > 40"]

    again = clipmill(
        "select", selected, "--recipe", recipe_path, "--name", "two", *settings, "--json"
    )

    assert json.loads(again.stdout)["is_new"] is False
    assert Catalog.open(selected).version == version


def test_a_setting_that_is_none(clipmill: Any, corpus_path: Path, recipe_path: Path) -> None:
    result = clipmill("funnel", corpus_path, "--recipe", recipe_path, "--set", "light")

    assert result.exit_code == 2
    assert "'light' is not NAME=VALUE" in result.stderr


def test_an_unknown_recipe_names_those_that_ship(clipmill: Any, corpus_path: Path) -> None:
    result = clipmill("select", corpus_path, "--recipe", "web-vidoe", "--name", "x")

    assert result.exit_code == 2
    assert "'web-video'" in result.stderr


def test_a_column_that_nobody_measures_names_the_operator_that_would(
    clipmill: Any, corpus_path: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "motion.yaml"
    recipe.write_text("name: m\ngates: {moves: motion_px > 1}\n")

    result = clipmill("funnel", corpus_path, "--recipe", recipe)

    assert result.exit_code == 2
    assert "motion_px" in result.stderr
    assert "operator" in result.stderr


def test_why_of_a_kept_and_a_refused_clip(clipmill: Any, selected: Path) -> None:
    kept = clipmill("why", selected, "5555", "--selection", "one")
    refused = clipmill("why", selected, "1111", "--selection", "one")
    unmeasured = clipmill("why", selected, "4444", "--selection", "one")

    assert "kept, split train by one" in kept.stdout
    assert "not kept by one" in refused.stdout
    assert refused.stdout.count("FAIL") == 2
    assert "videos/1.mp4 from 40.000 s to 42.000 s" in refused.stdout
    assert "luma_mean_255 is NULL" in unmeasured.stdout


def test_why_takes_the_newest_selection_or_a_recipe(
    clipmill: Any, selected: Path, recipe_path: Path
) -> None:
    newest = json.loads(clipmill("why", selected, "3333", "--json").stdout)
    live = json.loads(clipmill("why", selected, "3333", "--recipe", recipe_path, "--json").stdout)

    assert (newest["judged_by"], newest["kept"]) == ("two", False)
    assert (live["judged_by"], live["selection_id"], live["kept"]) == ("tiny", None, True)


def test_why_wants_one_judge(clipmill: Any, selected: Path, recipe_path: Path) -> None:
    result = clipmill("why", selected, "3", "--recipe", recipe_path, "--selection", "one")

    assert result.exit_code == 2
    assert "one of the two" in result.stderr


def test_funnel_of_the_newest_selection_and_what_if(clipmill: Any, selected: Path) -> None:
    version = Catalog.open(selected).version
    newest = json.loads(clipmill("funnel", selected, "--json").stdout)
    changed = json.loads(clipmill("funnel", selected, "one", "--set", "light=", "--json").stdout)

    assert newest["kept_clips"] == 5
    assert changed["kept_clips"] == 8
    assert [step["gate"] for step in changed["steps"]] == ["length"]
    assert Catalog.open(selected).version == version, "a funnel writes nothing"


def test_diff_of_selections(clipmill: Any, selected: Path) -> None:
    found = json.loads(clipmill("diff", selected, "one", "two", "--json").stdout)
    shown = clipmill("diff", selected, "one", "two")

    assert found["lost"]["by_gate"] == {"light": 1}
    assert found["gained"]["clips"] == 0
    assert "lost\t" + "3" * 32 in shown.stdout


def test_diff_of_a_selection_and_a_recipe_at_a_version(
    clipmill: Any, selected: Path, recipe_path: Path
) -> None:
    found = json.loads(clipmill("diff", selected, "two", f"{recipe_path}@1", "--json").stdout)

    assert (found["b"]["name"], found["b"]["catalog_version"], found["b"]["clips"]) == (
        "tiny",
        1,
        6,
    )
    assert found["gained"]["by_gate"] == {"light": 1}


def test_diff_of_versions(clipmill: Any, selected: Path) -> None:
    shown = clipmill("diff", selected, "1", "2", "--table", "quarantine")
    found = json.loads(
        clipmill("diff", selected, "1", "2", "--table", "quarantine", "--json").stdout
    )

    assert shown.stdout.splitlines() == ["change\trows", "gained\t1", "lost\t0", "changed\t0"]
    assert found["examples"]["gained"][0]["uri"] == "bad.mp4"


def test_diff_with_something_unknown(clipmill: Any, selected: Path) -> None:
    result = clipmill("diff", selected, "one", "nothing")

    assert result.exit_code == 2
    assert "neither a selection nor a recipe" in result.stderr
    assert "two, one; a YAML file" in result.stderr
