"""A recipe on the bench: the numbers of `funnel`, and who comes and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import GateError
from catalogs.funnel import funnel
from catalogs.recipe import Recipe, parse_recipe
from catalogs.testing.duplicates import record_matches
from catalogs.testing.records import record_clips
from catalogs.workbench import Workbench

PLAIN = Recipe("plain", {"long": "duration_s >= 3", "moving": "motion_px between 2 and 8"})
STAGED = parse_recipe("""
name: staged
gates: {moving: motion_px >= 2}
dedup: {near: {}, keep: motion_px desc}
balance: {by: collection, cap: 2}
""")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Ten clips: number n lasts n seconds and moves n px; clip 5 was not measured; 8 is 9 again."""
    clips = [
        {
            "clip_id": f"{n:032x}",
            "duration_s": float(n),
            "start_s": 0.0,
            "end_s": float(n),
            "motion_px": None if n == 5 else float(n),
            "colour": 10.0 * n,
            "uri": f"videos/{n}.mp4",
            "collection": "even" if n % 2 == 0 else "odd",
        }
        for n in range(10)
    ]
    path = tmp_path_factory.mktemp("bench") / "corpus"
    catalog = record_clips(path, clips, {"motion": ["motion_px"], "colour": ["colour"]})
    record_matches(catalog, [(f"{8:032x}", f"{9:032x}", (0.0, 8.0), (0.0, 8.0))])
    return catalog.refresh()


@pytest.mark.parametrize("recipe", [PLAIN, STAGED], ids=lambda recipe: recipe.name)
def test_the_numbers_are_those_of_the_funnel(catalog: Catalog, recipe: Recipe) -> None:
    bench = Workbench(catalog, recipe)
    for changes in ({"moving": "motion_px >= 4"}, {"moving": "", "other": "colour > 75"}):
        assert bench.judge(changes).funnel == funnel(catalog, recipe, changes)


def test_who_comes_and_goes(catalog: Catalog) -> None:
    bench = Workbench(catalog, PLAIN)
    same = bench.judge({})
    assert (same.gained.clips, same.lost.clips) == (0, 0)
    change = bench.judge({"moving": "motion_px between 4 and 9"})
    assert [int(name, 16) for name in change.gained.examples] == [9]
    assert [int(name, 16) for name in change.lost.examples] == [3]
    assert change.gained.hours * 3600 == pytest.approx(9)
    back = bench.judge({})
    assert (back.gained.clips, back.lost.clips) == (0, 0)


def test_a_twin_that_goes_brings_the_other_back(catalog: Catalog) -> None:
    bench = Workbench(catalog, STAGED)
    change = bench.judge({"moving": "motion_px between 2 and 8"})
    assert {int(name, 16) for name in change.lost.examples} == {4, 9}
    assert {int(name, 16) for name in change.gained.examples} == {3, 8}


def test_limits_with_their_values_and_nearest_clips(catalog: Catalog) -> None:
    bench = Workbench(catalog, PLAIN)
    low, high = bench.sliders("motion_px between 2 and 80")
    assert (low.bound.sign, low.bound.limit, high.bound.limit) == (">=", 2.0, 80.0)
    assert (high.chart.low, high.chart.high) == (0.0, 80.0)
    assert sum(low.chart.counts) + low.chart.above == 9
    assert bench.sliders("duration_s > 2 and motion_px is not null")[0].median == 4.5
    (edge,) = bench.edges("motion_px >= 6", 2)
    assert [near.value for near in edge.inside] == [6.0, 7.0]
    assert [near.value for near in edge.outside] == [4.0, 3.0]
    clips = bench.clips([edge.inside[0].clip_id])
    assert [clip["uri"] for clip in clips.values()] == ["videos/6.mp4"]


def test_bad_sql_is_refused_and_the_bench_goes_on(catalog: Catalog) -> None:
    bench = Workbench(catalog, PLAIN)
    for predicate in ("nothing > 3", "motion_px", "read_text('/etc/passwd') = ''"):
        with pytest.raises(GateError):
            bench.judge({"moving": predicate})
    assert bench.judge({}).funnel.kept_clips == 5


def test_a_catalog_without_clips(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "empty")
    bench = Workbench(catalog, Recipe("any", {"long": "duration_s >= 3"}))
    assert bench.judge({}).funnel.clips == 0
    (slider,) = bench.sliders("duration_s >= 3")
    assert (slider.median, list(slider.chart.counts)) == (None, [])
