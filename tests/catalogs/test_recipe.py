"""Recipes are read strictly, written back without loss, and found where they ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.errors import RecipeError
from catalogs.gates import Grammar
from catalogs.query import SOURCE_COLUMNS, source_column
from catalogs.recipe import (
    Balance,
    Dedup,
    NearDuplicates,
    Recipe,
    Score,
    Splits,
    load_recipe,
    parse_recipe,
    shipped_recipes,
)
from catalogs.schema import TABLES
from catalogs.strict_yaml import MAX_BYTES
from curation import operators
from curation.segment import DETECTORS

FULL = """
name: web-video   # a comment
segment: {detector: adaptive, threshold: 3.0, min_s: 2, max_s: 60, long_shot: split,
          settings: {window: 2, weights: [1, 0]}}
score: [exposure, {motion: {rate: 2}}]
gates:
  length: duration_s between 3 and 15
  motion: motion_px between 0.5 and 20
dedup: {exact: true, near: {max_distance: 20}, keep: sharpness_median desc}
balance: {by: collection, cap: 2000}
splits: {train: 0.98, val: 0.01, test: 0.01, group_by: source_id}
mocap: {unit: cm, up_axis: z}
"""


def test_every_section_is_read() -> None:
    recipe = parse_recipe(FULL)
    assert recipe.segment is not None
    assert recipe.segment.settings == {"window": 2, "weights": [1, 0]}
    assert recipe.segment.max_s == 60.0
    assert recipe.score == (Score("exposure"), Score("motion", {"rate": 2}))
    assert list(recipe.gates) == ["length", "motion"]
    near = NearDuplicates(max_distance=20, min_quality=50, min_overlap=0.8)
    assert recipe.dedup == Dedup(near=near, keep="sharpness_median desc")
    assert recipe.balance == (Balance("collection", 2000),)
    assert recipe.splits == Splits(0.98, 0.01, 0.01, "source_id")
    assert recipe.mocap is not None
    assert recipe.mocap.up_axis == "z"


def test_written_and_read_again_it_is_the_same() -> None:
    recipe = parse_recipe(FULL)
    again = parse_recipe(recipe.to_yaml())
    assert again == recipe
    assert again.hash == recipe.hash


def test_several_caps_are_a_list() -> None:
    recipe = parse_recipe("name: x\nbalance: [{by: a, cap: 1}, {by: b, cap: 2}]")
    assert recipe.balance == (Balance("a", 1), Balance("b", 2))
    assert parse_recipe(recipe.to_yaml()) == recipe


def test_hash_ignores_layout_and_sees_content() -> None:
    recipe = parse_recipe(FULL)
    assert parse_recipe(FULL.replace("# a comment", "# another")).hash == recipe.hash
    assert parse_recipe(FULL.replace("between 3", "between 4")).hash != recipe.hash


def test_cutting_depends_on_segment_settings_alone() -> None:
    one = parse_recipe(FULL).segment
    same = parse_recipe(FULL.replace("between 3", "between 4")).segment
    other = parse_recipe(FULL.replace("threshold: 3.0", "threshold: 2.5")).segment
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.cutting == same.cutting != other.cutting


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\ngatez: {}", ["r.yaml:2", "gatez", "did you mean 'gates'"]),
        ("name: x\nsplits: {trian: 1}", ["r.yaml:2", "trian", "'train'"]),
        ("name: x\nsegment:\n  detector: a\n  treshold: 3", ["r.yaml:4", "'threshold'"]),
        ("name: x\nname: y", ["r.yaml:2", "twice", "line 1"]),
        ("name: x\ngates: {a: b > 1,\n a: c > 1}", ["r.yaml:3", "twice"]),
        ("name: x\ngates: {motion: 0.5}", ["'motion' is 0.5", "Allowed: text"]),
        ("name: x\ngates: [a]", ["'gates'", "a mapping"]),
        ("name: x\ngates: {Motion: a}", ["'Motion' is not a name"]),
        ("name: x\ngates: {on: a}", ["True is not a plain name"]),
        ("gates: {a: b}", ["'name' is missing"]),
        ("name: X Y", ["'X Y' is not a name"]),
        ("name: x\nsplits: {train: 0.9, val: 0.2}", ["add up to 1.1"]),
        ("name: x\nsplits: {train: 1.5}", ["1.5", "0 to 1"]),
        ("name: x\nsplits: {train: .nan}", ["nan"]),
        ("name: x\nbalance: {by: c}", ["'cap' is missing"]),
        ("name: x\nbalance: {by: c, cap: 0}", ["'cap' is 0", "from 1"]),
        ("name: x\nbalance: {by: c, cap: true}", ["'cap' is True"]),
        ("name: x\nbalance: [a]", ["'balance' holds", "{by: COLUMN"]),
        ("name: x\nbalance: [{by: a, cap: 1}, {by: a, cap: 2}]", ["caps 'a' twice"]),
        ("name: x\ndedup: {exact: 1}", ["'exact' is 1", "same id"]),
        ("name: x\ndedup: {exact: false}", ["'exact' is False", "same id"]),
        ("name: x\ndedup: {near: {max_distance: 300}}", ["0 to 256"]),
        ("name: x\nsegment: {threshold: 3}", ["'detector' is missing"]),
        ("name: x\nsegment: {detector: a, long_shot: splt}", ["split, keep, drop", "'split'"]),
        ("name: x\nsegment: {detector: a, min_s: 9, max_s: 2}", ["more than max_s"]),
        ("name: x\nscore: [a, a]", ["names 'a' twice"]),
        ("name: x\nscore: [[a]]", ["'score' holds"]),
        ("name: x\nmocap: {fps: fast}", ["r.yaml:2", "fps", "30000/1001"]),
        ("name: x\nmocap: {handedness: both}", ["right, left"]),
        ("name: x\nmocap: {unit: km}", ["m, cm, mm, inch, cmu"]),
        ("name: &n x\ngates: {a: *n}", ["r.yaml:2", "alias"]),
        ("name: x\n<<: {gates: {}}", ["'<<' is not a plain name"]),
        ("name: !!python/object/apply:os.system [ls]", ["not YAML"]),
        ("- a", ["holds no mapping"]),
        ("name: [", ["not YAML"]),
        ("a: " + "[" * 1200, ["r.yaml"]),
        ("# " + "x" * MAX_BYTES, ["larger than"]),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.yaml")
    for word in words:
        assert word in str(caught.value)


def test_gates_can_be_changed_added_and_removed() -> None:
    recipe = parse_recipe(FULL)
    changed = recipe.with_gates({"motion": "motion_px > 1", "new": "frames > 3", "length": ""})
    assert changed.gates == {"motion": "motion_px > 1", "new": "frames > 3"}
    assert list(recipe.gates) == ["length", "motion"]
    assert changed.hash != recipe.hash
    with pytest.raises(RecipeError, match="did you mean 'motion'"):
        recipe.with_gates({"moton": " "})


def test_unknown_operators_are_named() -> None:
    recipe = parse_recipe("name: x\nscore: [exposre]")
    with pytest.raises(RecipeError, match="did you mean 'exposure'"):
        recipe.check_scores(["exposure", "motion"])
    parse_recipe("name: x\nscore: [motion]").check_scores(["exposure", "motion"])


def test_recipes_come_from_files_and_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FULL)
    assert load_recipe(file) == load_recipe(str(file)) == parse_recipe(FULL)
    assert load_recipe("web-video").name == "web-video"
    with pytest.raises(RecipeError, match="did you mean 'web-video'"):
        load_recipe("web-vide")
    file.write_bytes(b"name: \xff")
    with pytest.raises(RecipeError, match="UTF-8"):
        load_recipe(file)


def test_the_promised_recipes_ship() -> None:
    assert {"high-quality", "human", "mocap", "web-video"} <= set(shipped_recipes())


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_use_only_what_their_operators_measure(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.segment is not None
    assert recipe.segment.detector in DETECTORS
    recipe.check_scores(operators.names())
    columns = [column.name for column in TABLES["clips"].columns]
    columns += map(source_column, SOURCE_COLUMNS)
    for item in recipe.score:
        columns += [column.name for column in operators.operator_class(item.operator).columns]
    grammar = Grammar(columns)
    assert len(grammar.gates(recipe.gates)) == len(recipe.gates) > 5
    if recipe.dedup is not None and recipe.dedup.keep is not None:
        assert grammar.order(recipe.dedup.keep, "keep").columns
    assert recipe.splits is not None


def test_a_recipe_needs_no_more_than_a_name() -> None:
    assert parse_recipe("name: all") == Recipe("all")
