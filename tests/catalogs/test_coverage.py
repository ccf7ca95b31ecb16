"""What a selection covers: counts that can be checked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from catalogs.catalog import Catalog
from catalogs.coverage import Coverage, coverage
from catalogs.errors import GateError, NotFoundError, QueryError
from catalogs.recipe import Recipe
from catalogs.select import select
from catalogs.testing.records import record_clips

CLIPS = 80


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Half of the clips are of `x`, a quarter of `y`, a quarter of none; the first half stays."""
    rows: list[dict[str, Any]] = [
        {
            "clip_id": f"c{n:02}",
            "duration_s": 1.0 + n,
            "frames": 10 * n,
            "uri": f"{n}.mp4",
            "collection": ("x", "y", "x", None)[n % 4],
            "motion_px": float(n) if n != 7 else None,
            "is_grey": n < CLIPS // 4,
        }
        for n in range(CLIPS)
    ]
    operators = {"motion": ["motion_px"], "colour": ["is_grey"]}
    made = record_clips(tmp_path_factory.mktemp("coverage") / "corpus", rows, operators)
    select(made, Recipe("half", {"length": f"duration_s <= {CLIPS // 2}"}), "half")
    select(made, Recipe("x", {"x": "collection = 'x'"}), "x")
    select(made, Recipe("none", {"none": "false"}), "none")
    return made.refresh()


@pytest.fixture(scope="module")
def half(catalog: Catalog) -> Coverage:
    return coverage(catalog, "half")


def test_clips_and_hours_are_counted(half: Coverage) -> None:
    assert (half.clips_before, half.clips_after) == (80, 40)
    assert half.hours_after == pytest.approx(sum(range(1, 41)) / 3600)


def test_histograms_share_their_bins(half: Coverage) -> None:
    spreads = {item.column.name: item for item in half.spreads}
    assert {"duration_s", "frames", "motion_px"} <= set(spreads)
    assert "start_pts" not in spreads
    for item in spreads.values():
        assert (item.before.low, item.before.high) == (item.after.low, item.after.high)
        assert len(item.before.counts) == len(item.after.counts)
        assert all(a <= b for a, b in zip(item.after.counts, item.before.counts, strict=True))
    motion = spreads["motion_px"]
    assert sum(motion.before.counts) + motion.before.above == CLIPS - 1
    assert sum(motion.after.counts) == 39
    assert motion.quantiles_after is not None
    assert motion.quantiles_after[1] == 20.0


def test_groups_are_counted_with_their_ratio(catalog: Catalog) -> None:
    groups = {item.by: item for item in coverage(catalog, "x").groups}
    assert "uri" not in groups  # every clip has another one
    found = {group.name: group for group in groups["collection"].groups}
    assert (found["x"].before, found["x"].after, found["x"].ratio) == (40, 40, 2.0)
    assert (found[None].before, found[None].after, found[None].ratio) == (20, 0, 0.0)
    assert [group.name for group in groups["collection"].over] == ["x"]
    assert {group.name for group in groups["collection"].under} == {"y", None}
    assert groups["collection"].entropy_before == pytest.approx(1.5)
    assert groups["collection"].effective_after == 1.0


def test_what_chance_would_do_is_not_called_over(half: Coverage) -> None:
    collection = next(item for item in half.groups if item.by == "collection")
    assert [group.ratio for group in collection.groups] == [1.0, 1.0, 1.0]
    assert collection.over == collection.under == ()
    grey = next(item for item in half.groups if item.by == "is_grey")
    assert [(g.name, g.ratio) for g in grey.over] == [("true", 2.0)]
    assert [g.name for g in grey.under] == ["false"]


def test_groups_can_be_asked_for_in_sql(catalog: Catalog) -> None:
    found = coverage(catalog, "half", by="floor(duration_s / 41)")
    assert found.spreads == ()
    (groups,) = found.groups
    assert {group.name: (group.before, group.after) for group in groups.groups} == {
        "0.0": (40, 40),
        "1.0": (40, 0),
    }
    assert groups.effective_before == pytest.approx(2**1.0)
    assert math.isclose(groups.entropy_after, 0.0)


def test_a_selection_of_nothing_covers_nothing(catalog: Catalog) -> None:
    found = coverage(catalog, "none")
    assert found.clips_after == 0
    assert all(group.ratio is None for item in found.groups for group in item.groups)
    assert all(item.quantiles_after is None for item in found.spreads)


def test_what_cannot_be_grouped_is_told(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="did you mean 'collection'"):
        coverage(catalog, "half", by="colection")
    with pytest.raises(GateError, match="subquery"):
        coverage(catalog, "half", by="(select 1)")
    with pytest.raises(QueryError, match="--by does not work"):
        coverage(catalog, "half", by="ln(collection)")
    with pytest.raises(NotFoundError, match="did you mean 'half'"):
        coverage(catalog, "hal")
