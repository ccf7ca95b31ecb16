"""Why, funnel and diff: the answers equal what SQL by hand says, and asking writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, RecipeError
from catalogs.explain import Verdict, diff, funnel, why
from catalogs.recipe import Balance, Dedup, NearDuplicates, Recipe, Splits
from catalogs.select import select
from catalogs.testing.duplicates import record_matches
from catalogs.testing.records import record_clips

OPERATORS = {"motion": ["motion_px"], "text": ["text_area"]}
GATES = {
    "length": "duration_s between 3 and 15",
    "motion": "motion_px between 0.5 and 20",
    "text": "text_area <= 0.02",
}
RECIPE = Recipe("r", GATES, splits=Splits(0.5, 0.25, 0.25))


def clip(
    clip_id: str, duration_s: float, motion_px: float | None, text_area: float, **more: Any
) -> dict[str, Any]:
    values = {"duration_s": duration_s, "motion_px": motion_px, "text_area": text_area}
    return {"clip_id": clip_id, "uri": f"/films/{clip_id[0]}.mp4"} | values | more


ROWS = [
    clip("a100", 4.0, 2.0, 0.0, start_s=1.0, end_s=5.0, source_id="A"),
    clip("a200", 20.0, 0.1, 0.0, source_id="A"),
    clip("b100", 5.0, None, 0.5),
    clip("b200", 6.0, 5.0, 0.01, start_s=0.0, end_s=6.0),
    clip("c100", 7.0, 9.0, 0.01, start_s=0.0, end_s=7.0),
    clip("d100", 8.0, 9.0, 0.3),
]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Most of c100 shows what b200 shows, two seconds later."""
    catalog = record_clips(tmp_path / "corpus", ROWS, OPERATORS)
    record_matches(catalog, [("b200", "c100", (0.0, 5.0), (2.0, 7.0))])
    return catalog


# -- why -----------------------------------------------------------------------------------


def test_why_shows_every_verdict_in_the_recipes_order(catalog: Catalog) -> None:
    select(catalog, RECIPE, "train")
    answer = why(catalog, "a2", "train")
    assert answer.clip_id == "a200"
    assert not answer.kept
    assert [item.gate for item in answer.verdicts] == ["length", "motion", "text"]
    assert answer.verdicts[0] == Verdict(
        "gate", "length", GATES["length"], "20.0", False, f"does not hold: {GATES['length']}"
    )
    assert [item.gate for item in answer.failed] == ["length", "motion"]
    assert json.loads(json.dumps(answer.to_dict()))["judged_by"] == "train"


def test_why_names_the_source_the_span_and_the_split(catalog: Catalog) -> None:
    select(catalog, RECIPE, "train")
    answer = why(catalog, "a100")
    assert (answer.source_id, answer.uri) == ("A", "/films/a.mp4")
    assert (answer.start_s, answer.end_s) == (1.0, 5.0)
    assert answer.kept
    assert answer.split == catalog.sql("select split from selections where clip_id='a100'").value()


def test_why_from_the_ledger_does_not_change_with_the_data(catalog: Catalog) -> None:
    select(catalog, RECIPE, "train")
    before = why(catalog, "b100", "train")
    scores = {"clip_id": "b100", "op_version": 2, "motion_px": 3.0}
    catalog.append("scores/motion", [scores])
    assert why(catalog, "b100", "train") == before
    assert before.verdicts[1].reason is not None
    assert before.verdicts[1].reason.startswith("motion_px is NULL")
    assert why(catalog, "b100", RECIPE).verdicts[1].value == "3.0"


def test_why_live_says_what_the_ledger_would(catalog: Catalog) -> None:
    dedup = Dedup(near=NearDuplicates(), keep="duration_s desc")
    for recipe in (RECIPE, Recipe("dedup", GATES, dedup=dedup, balance=(Balance("uri", 1),))):
        select(catalog, recipe, "x")
        for clip_id in ("a200", "b100", "b200"):
            live, recorded = (why(catalog, clip_id, by) for by in (recipe, "x"))
            assert live.verdicts == recorded.verdicts
            assert (live.kept, live.split) == (recorded.kept, recorded.split)
        assert live.selection_id is None


def test_why_of_a_near_duplicate_names_the_better_one(catalog: Catalog) -> None:
    dedup = Dedup(near=NearDuplicates(), keep="duration_s desc")
    select(catalog, Recipe("r", GATES, dedup=dedup), "x")
    (failed,) = why(catalog, "b200").failed
    reason = "near duplicate of c100 (score 0.83): 0.000-5.000 s is 2.000-7.000 s there"
    assert (failed.stage, failed.reason) == ("dedup", reason)


def test_why_needs_a_clip_that_exists_once_and_was_judged(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no selection"):
        why(catalog, "a100")
    select(catalog, RECIPE, "train")
    with pytest.raises(NotFoundError, match="several clips begin with 'a'") as caught:
        why(catalog, "a")
    assert caught.value.allowed == "a100, a200"
    with pytest.raises(NotFoundError, match="no clip begins with 'zz'"):
        why(catalog, "zz")
    record_clips(catalog, [{"clip_id": "e100", "duration_s": 4.0}], cutting="second")
    with pytest.raises(NotFoundError, match="did not judge clip e100"):
        why(catalog, "e1", "train")
    with pytest.raises(NotFoundError, match="did you mean 'train'"):
        why(catalog, "a100", "trian")
    with pytest.raises(NotFoundError, match="not in cutting second"):
        why(catalog, "a100", Recipe("r", {"length": "duration_s > 1"}))


def test_an_id_that_begins_another_is_still_unique(tmp_path: Path) -> None:
    rows = [{"clip_id": "ab", "duration_s": 1.0}, {"clip_id": "abc", "duration_s": 2.0}]
    catalog = record_clips(tmp_path / "corpus", rows)
    recipe = Recipe("r", {"long": "duration_s > 1"})
    select(catalog, recipe, "x")
    assert [why(catalog, name).kept for name in ("ab", "abc")] == [False, True]
    assert len(why(catalog, "ab").verdicts) == 1
    assert why(catalog, "ab", recipe).clip_id == "ab"


# -- funnel --------------------------------------------------------------------------------


def test_funnel_counts_in_order_and_alone(catalog: Catalog) -> None:
    flow = funnel(catalog, RECIPE)
    assert (flow.clips, flow.kept_clips) == (6, 3)
    assert flow.hours == pytest.approx(50 / 3600)
    length, motion, text = flow.steps
    assert (length.clips_in, length.clips_out, length.alone_failed_clips) == (6, 5, 1)
    assert (motion.clips_in, motion.clips_out, motion.alone_failed_clips) == (5, 4, 2)
    assert motion.hours_out == pytest.approx(25 / 3600)
    assert (motion.null_clips, motion.only_failed_clips) == (1, 0)
    assert (text.clips_in, text.clips_out, text.alone_failed_clips) == (4, 3, 2)
    assert (text.only_failed_clips, text.only_failed_hours) == (1, pytest.approx(8 / 3600))


def test_funnel_goes_on_through_duplicates_and_balance(catalog: Catalog) -> None:
    recipe = Recipe(
        "r",
        {"length": "duration_s < 15"},
        dedup=Dedup(near=NearDuplicates()),
        balance=(Balance("uri", 1),),
    )
    stages = [(step.stage, step.clips_in, step.clips_out) for step in funnel(catalog, recipe).steps]
    assert stages == [("gate", 6, 5), ("dedup", 5, 4), ("balance", 4, 3)]


def test_funnel_of_a_selection_is_the_recorded_one(catalog: Catalog) -> None:
    made = select(catalog, RECIPE, "train")
    record_clips(catalog, [clip("e100", 5.0, 3.0, 0.0)], OPERATORS)
    assert funnel(catalog, "train") == made.funnel
    assert funnel(catalog, RECIPE).clips == 7


def test_what_if_writes_nothing(catalog: Catalog) -> None:
    select(catalog, RECIPE, "train")
    version = catalog.version
    looser = funnel(catalog, "train", {"text": "text_area <= 0.4"})
    assert looser.kept_clips == 4
    assert funnel(catalog, RECIPE, {"text": ""}).kept_clips == 4
    assert funnel(catalog, RECIPE, {"new": "duration_s > 6.5"}).kept_clips == 1
    with pytest.raises(RecipeError, match="no gate 'txt'"):
        funnel(catalog, RECIPE, {"txt": ""})
    assert catalog.refresh().version == version


def test_funnel_of_nothing_is_empty(tmp_path: Path) -> None:
    flow = funnel(Catalog.create(tmp_path / "corpus"), Recipe("r", {"l": "duration_s > 1"}))
    assert (flow.clips, flow.kept_clips, flow.steps[0].clips_in) == (0, 0, 0)


# -- diff ----------------------------------------------------------------------------------


def test_diff_of_selections_names_the_gates(catalog: Catalog) -> None:
    select(catalog, RECIPE, "old")
    gates = {"text": "text_area <= 0.4", "motion": "motion_px > 4", "length": "duration_s > 6.5"}
    select(catalog, RECIPE, "new", set_gates=gates)
    change = diff(catalog, "old", "new")
    assert (change.a.clips, change.b.clips, change.in_both) == (3, 2, 1)
    assert change.gained.by_gate == {"text": 1}
    assert [item.clip_id for item in change.gained.examples] == ["d100"]
    assert change.lost.by_gate == {"length": 2, "motion": 1}
    assert [(c.clip_id, c.gates) for c in change.lost.examples] == [
        ("a100", ("length", "motion")),
        ("b200", ("length",)),
    ]
    assert change.lost.hours == pytest.approx(10 / 3600)
    assert json.loads(json.dumps(change.to_dict()))["b"]["name"] == "new"


def test_diff_of_recipes_is_that_of_their_selections(catalog: Catalog) -> None:
    dedup = Recipe("dedup", GATES, dedup=Dedup(near=NearDuplicates(), keep="duration_s"))
    select(catalog, RECIPE, "plain")
    select(catalog, dedup, "dedup")
    version = catalog.version
    live = diff(catalog, RECIPE, dedup)
    recorded = diff(catalog, "plain", "dedup")
    mixed = diff(catalog, "plain", dedup)
    assert live.lost == recorded.lost == mixed.lost
    assert live.lost.by_gate == {"duplicates": 1}
    assert live.gained.clips == 0
    assert catalog.refresh().version == version


def test_diff_of_versions_shows_what_data_changed(catalog: Catalog) -> None:
    select(catalog, RECIPE, "train")
    old = catalog.version
    catalog.append("scores/motion", [{"clip_id": "a100", "op_version": 2, "motion_px": 99.0}])
    record_clips(catalog, [clip("e100", 5.0, 3.0, 0.0)], OPERATORS)
    for what in (RECIPE, "train"):
        change = diff(catalog, what, what, a_version=old, b_version=catalog.version)
        assert change.gained.by_gate == {"(not in the corpus)": 1}
        assert change.lost.by_gate == {"motion": 1}
        assert (change.a.catalog_version, change.b.catalog_version) == (old, catalog.version)


def test_diff_shows_only_so_many_examples(catalog: Catalog) -> None:
    change = diff(catalog, RECIPE, Recipe("none", {"never": "false"}), examples=2)
    assert (change.lost.clips, len(change.lost.examples)) == (3, 2)
    assert change.lost.by_gate == {"never": 3}


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    rows = [clip(f"{n:02}", float(n), n / 2, n / 10) for n in range(20)]
    return record_clips(tmp_path_factory.mktemp("ladder") / "corpus", rows, OPERATORS)


THRESHOLDS = st.fixed_dictionaries(
    {"length": st.integers(-1, 20), "motion": st.integers(-1, 10), "text": st.integers(-1, 3)}
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(THRESHOLDS, THRESHOLDS)
def test_diff_accounts_for_every_clip(
    ladder: Catalog, a: dict[str, int], b: dict[str, int]
) -> None:
    def gates(at: dict[str, int]) -> dict[str, str]:
        return {
            "length": f"duration_s > {at['length']}",
            "motion": f"motion_px > {at['motion']}",
            "text": f"text_area < {at['text']}",
        }

    def passing(at: dict[str, int]) -> set[str]:
        return {
            f"{n:02}"
            for n in range(20)
            if n > at["length"] and n / 2 > at["motion"] and n / 10 < at["text"]
        }

    change = diff(ladder, Recipe("a", gates(a)), Recipe("b", gates(b)))
    before, after = passing(a), passing(b)
    assert {item.clip_id for item in change.gained.examples} == after - before
    assert {item.clip_id for item in change.lost.examples} == before - after
    assert change.in_both == len(before & after)
    for item in change.lost.examples:
        n = int(item.clip_id)
        expected = {
            "length": n <= b["length"],
            "motion": n / 2 <= b["motion"],
            "text": n / 10 >= b["text"],
        }
        assert item.gates == tuple(name for name, failed in expected.items() if failed)
