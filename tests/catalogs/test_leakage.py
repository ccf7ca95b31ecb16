"""Planted leaks: what shows the same is kept in one split, excluded, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalogs.catalog import Catalog
from catalogs.chosen import choose
from catalogs.duplicates import Groups, Pair, catalog_version, losers
from catalogs.errors import RecipeError
from catalogs.explain import why
from catalogs.export import export_dataset
from catalogs.leaks import LeakError, find_leaks
from catalogs.publish import publish
from catalogs.recipe import (
    Dedup,
    Exclude,
    NearDuplicates,
    Recipe,
    SemanticDuplicates,
    Splits,
    parse_recipe,
)
from catalogs.select import select
from catalogs.splits import split_of
from catalogs.testing.duplicates import Shared, record_matches
from catalogs.testing.records import record_clips

SPLITS = Splits(0.5, 0.25, 0.25)
ALL = {"all": "true"}
NEAR = Dedup(near=NearDuplicates())


def clip(clip_id: str, source: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    span = {"start_s": start, "end_s": end, "duration_s": end - start}
    rights = {"license": "CC-BY-4.0", "uri": f"/films/{source}.mp4"}
    return {"clip_id": clip_id, "source_id": source, **span, **rights, **more}


def films(path: Path, count: int = 12, seconds: float = 4.0) -> Catalog:
    """One clip of each source, called like it."""
    rows = [clip(f"s{n:02}", f"s{n:02}", 0.0, seconds) for n in range(count)]
    return record_clips(path, rows)


def apart(count: int = 12) -> tuple[str, str]:
    """Two sources whose names put them into different splits."""
    names = [f"s{n:02}" for n in range(count)]
    first = names[0]
    return first, next(n for n in names if split_of(n, SPLITS) != split_of(first, SPLITS))


def splits_of(catalog: Catalog, selection_id: str) -> dict[str, str]:
    query = "select clip_id, split from selections where selection_id = ?"
    return dict(catalog.refresh().sql(query, [selection_id]).rows())


WHOLE = (0.0, 4.0)


@pytest.fixture
def leaking(tmp_path: Path) -> Catalog:
    """Two sources of different splits show the same for three of their four seconds."""
    catalog = films(tmp_path / "corpus")
    record_matches(catalog, [(*apart(), (0.0, 3.5), (0.5, 4.0))])
    return catalog


# -- splits ----------------------------------------------------------------------------------


def test_near_duplicates_share_a_split(leaking: Catalog) -> None:
    one, other = apart()
    alone = select(leaking, Recipe("r", ALL, splits=SPLITS), "alone")
    assert len({splits_of(leaking, alone.selection_id)[name] for name in (one, other)}) == 2
    # Overlaps of half of a clip tie here, but what is kept is only said to be a duplicate at 0.9.
    loose = Dedup(near=NearDuplicates(min_overlap=0.5))
    tied = select(leaking, Recipe("r", ALL, dedup=loose, splits=SPLITS), "tied")
    found = splits_of(leaking, tied.selection_id)
    assert {one, other} - found.keys() == {other}
    strict = Dedup(near=NearDuplicates(min_overlap=0.9))
    kept = select(leaking, Recipe("r", ALL, dedup=strict, splits=SPLITS), "kept")
    assert {one, other} <= splits_of(leaking, kept.selection_id).keys()


def test_what_is_tied_through_others_shares_a_split(tmp_path: Path) -> None:
    """a-b-c: b goes for a, c stays, for it shows nothing of a. Still no split divides them."""
    catalog = films(tmp_path / "corpus")
    first, last = apart()
    middle = next(f"s{n:02}" for n in range(11, 0, -1) if f"s{n:02}" not in (first, last))
    record_matches(catalog, [(first, middle, WHOLE, WHOLE), (middle, last, WHOLE, WHOLE)])
    keep = f"case clip_id when '{first}' then 0 when '{last}' then 2 else 1 end"
    dedup = Dedup(near=NearDuplicates(), keep=keep)
    made = select(catalog, Recipe("r", ALL, dedup=dedup, splits=SPLITS), "x")
    found = splits_of(catalog, made.selection_id)
    assert middle not in found
    assert found[first] == found[last] == split_of(min(first, middle, last), SPLITS)
    assert all(found[n] == split_of(n, SPLITS) for n in found if n not in (first, last))


def test_groups_of_another_column_are_tied(tmp_path: Path) -> None:
    rows = [
        clip(f"c{n}", f"s{n}", 0.0, 4.0, collection=name)
        for n, name in enumerate(["north", "north", "south", "south", "west"])
    ]
    catalog = record_clips(tmp_path / "corpus", rows)
    record_matches(catalog, [("s1", "s2", WHOLE, WHOLE)])
    splits = Splits(0.5, 0.25, 0.25, group_by="collection")
    made = select(catalog, Recipe("r", ALL, dedup=NEAR, splits=splits), "x")
    found = splits_of(catalog, made.selection_id)
    assert {found[name] for name in ("c0", "c1", "c3")} == {split_of("north", splits)}
    assert found["c4"] == split_of("west", splits)


def test_semantic_groups_share_a_split(tmp_path: Path) -> None:
    catalog = films(tmp_path / "corpus")
    one, other = apart()
    row = {"model": "m", "model_version": "1", "cutting": "cutting-1", "cosine": 0.93}
    catalog.append(
        "neighbours", [{**row, "clip_id": min(one, other), "other_clip": max(one, other)}]
    )
    dedup = Dedup(semantic=SemanticDuplicates("m", 0.9))
    made = select(catalog, Recipe("r", ALL, dedup=dedup, splits=SPLITS), "x")
    assert len({one, other} & splits_of(catalog, made.selection_id).keys()) == 1
    (failed,) = why(catalog, max(one, other)).failed
    assert failed.reason == f"semantic duplicate of {min(one, other)} (score 0.93)"


@pytest.mark.parametrize("seed", range(4))
def test_neither_order_nor_names_of_pairs_matter(seed: int) -> None:
    import random

    names = [f"c{n:02}" for n in range(30)]
    ranks = {name: number for number, name in enumerate(names)}
    shuffled = random.Random(0)
    pairs = [Pair(*sorted(shuffled.sample(names, 2)), "near", 1.0) for _ in range(40)]
    groups = dict(Groups((p.clip_id, p.other_clip) for p in pairs).members())
    lost = losers(pairs, ranks)
    again = random.Random(seed).sample(pairs, len(pairs))
    assert dict(Groups((p.other_clip, p.clip_id) for p in again).members()) == groups
    assert losers([p.swapped() for p in again], ranks).keys() == lost.keys()
    for clip_id, pair in lost.items():
        assert pair.clip_id == clip_id
        assert pair.other_clip not in lost
    kept = set(names) - lost.keys()
    assert not any({p.clip_id, p.other_clip} <= kept for p in pairs)


def test_of_equal_clips_one_stays_although_not_all_are_told_as_pairs() -> None:
    star = [Pair("a", name, "exact", 1.0) for name in ("b", "c", "d")]
    lost = losers(star, {"d": 0, "c": 1, "b": 2, "a": 3})
    assert sorted(lost) == ["a", "b", "c"]
    assert {pair.other_clip for pair in lost.values()} == {"d"}
    near = [Pair("a", name, "near", 1.0) for name in ("b", "c", "d")]
    assert sorted(losers(near, {"d": 0, "c": 1, "b": 2, "a": 3})) == ["a"]


# -- spans -----------------------------------------------------------------------------------


def test_clips_meet_where_their_sources_do(tmp_path: Path) -> None:
    """A film of three shots uses the second half of a take, from its fifth second on."""
    film = [clip(f"film-{n}", "film", 4.0 * n, 4.0 * n + 4) for n in range(3)]
    take = [clip("take", "take", 0.0, 8.0)]
    catalog = record_clips(tmp_path / "corpus", [*film, *take])
    shared: list[Shared] = [("film", "take", (5.0, 8.0), (5.0, 8.0))]
    record_matches(catalog, shared)
    dedup = Dedup(near=NearDuplicates(min_overlap=0.7), keep="duration_s desc")
    select(catalog, Recipe("r", ALL, dedup=dedup), "x")
    assert why(catalog, "film-0").kept
    assert why(catalog, "film-2").kept
    (failed,) = why(catalog, "film-1").failed
    assert (
        failed.reason == "near duplicate of take (score 0.75): 5.000-8.000 s is 5.000-8.000 s there"
    )
    assert failed.value == "film-1"


def test_what_was_held_back_counts_for_nobody(tmp_path: Path) -> None:
    catalog = record_clips(
        tmp_path / "corpus", [clip("a", "a", 0.0, 10.0), clip("b", "b", 0.0, 20.0)]
    )
    record_matches(catalog, [("a", "b", (0.0, 5.0), (0.0, 5.0))])
    search = NearDuplicates().search
    black = {"search": search, "source_id": "a", "against": "", "held_from_s": [5.0]}
    catalog.upsert("searched", [{**black, "held_to_s": [10.0]}])
    made = select(catalog, Recipe("r", ALL, dedup=NEAR), "x")
    assert made.clips == 1


# -- exclusion -------------------------------------------------------------------------------


def test_a_held_out_selection_is_excluded_with_all_that_shows_it(leaking: Catalog) -> None:
    one, other = apart()
    select(leaking, Recipe("held", {"one": f"clip_id = '{one}'"}), "held-out")
    recipe = Recipe("r", ALL, exclude=(Exclude("held-out"),))
    made = select(leaking, recipe, "rest")
    assert made.clips == 10
    assert {one, other} & splits_of(leaking, made.selection_id).keys() == set()
    assert [step.stage for step in made.funnel.steps] == ["gate", "exclude"]
    (itself,) = why(leaking, one, "rest").failed
    assert (itself.stage, itself.reason) == ("exclude", "is in held-out")
    (twin,) = why(leaking, other, "rest").failed
    assert twin.reason is not None
    assert twin.reason.startswith(f"near duplicate of {one} (score 0.88)")
    assert twin.reason.endswith("which is in held-out")
    assert why(leaking, other, recipe).failed == (twin,)


def test_spans_of_another_cutting_are_excluded(tmp_path: Path) -> None:
    catalog = films(tmp_path / "corpus", 3)
    select(catalog, Recipe("held", {"one": "source_id = 's00'"}), "held-out")
    shorter = [clip(f"part-{n}", f"s{n:02}", 0.5, 3.0) for n in range(3)]
    record_clips(catalog, shorter, cutting="cutting-2")
    record_matches(catalog, [])
    recipe = Recipe("r", ALL, exclude=(Exclude("held-out"),))
    made = select(catalog, recipe, "rest", cutting="cutting-2")
    assert sorted(splits_of(catalog, made.selection_id)) == ["part-1", "part-2"]


def test_a_benchmark_in_another_catalog_is_excluded(tmp_path: Path) -> None:
    ours = films(tmp_path / "ours", 4)
    bench = record_clips(tmp_path / "bench", [clip("b1", "b1", 0.0, 6.0), clip("b2", "b2", 0, 6.0)])
    select(bench, Recipe("t", {"b": "clip_id = 'b2'"}), "test")
    recipe = parse_recipe(
        f"name: r\ngates: {{all: 'true'}}\nexclude: [{{catalog: {tmp_path / 'bench'}}}]"
    )
    with pytest.raises(RecipeError, match="against the excluded catalog"):
        select(ours, recipe, "x")
    against = catalog_version(bench)
    shared: list[Shared] = [("s01", "b1", WHOLE, (2.0, 6.0)), ("s02", "b2", WHOLE, (0.0, 4.0))]
    record_matches(ours, shared, against=against)
    made = select(ours, recipe, "clean")
    assert sorted(splits_of(ours, made.selection_id)) == ["s00", "s03"]
    (failed,) = why(ours, "s01").failed
    assert failed.reason is not None
    assert "0.000-4.000 s is 2.000-6.000 s there" in failed.reason
    part = Recipe("r", ALL, exclude=(Exclude("test", str(tmp_path / "bench")),))
    tested = select(ours, part, "tested")
    assert sorted(splits_of(ours, tested.selection_id)) == ["s00", "s01", "s03"]
    assert parse_recipe(part.to_yaml()) == part
    # Pairs with the benchmark say nothing about our own clips.
    record_matches(ours, [])
    assert select(ours, Recipe("r", ALL, dedup=NEAR), "own").clips == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exclude: x", "not a list"),
        ("exclude: [3]", "holds 3"),
        ("exclude: [{catalgo: x}]", "unknown key 'catalgo'"),
        ("dedup: {near: {mirrored: 1}}", "true or false"),
        ("dedup: {semantic: {model: m}}", "'min_cosine' is missing"),
    ],
)
def test_recipes_are_strict_about_them(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe(f"name: x\n{text}")


# -- refusal ---------------------------------------------------------------------------------


def test_a_leaking_export_is_refused_and_names_the_pair(leaking: Catalog, tmp_path: Path) -> None:
    select(leaking, Recipe("r", ALL, splits=SPLITS), "careless")
    with pytest.raises(LeakError, match="1 pairs of clips show the same") as refusal:
        export_dataset(leaking, tmp_path / "out", selection="careless")
    assert all(name in str(refusal.value) for name in apart())
    assert "0.000-3.500 s is 0.500-4.000 s there" in str(refusal.value)
    assert not (tmp_path / "out").exists()
    done = export_dataset(leaking, tmp_path / "out", selection="careless", leaks="allow")
    assert done.manifest["leaks"] == {"searched": True, "pairs": [sorted(apart())]}
    assert [leak.split for leak in done.leaks.found] == [split_of(min(apart()), SPLITS)]


def test_what_turned_out_to_be_alike_after_the_selection_is_refused(tmp_path: Path) -> None:
    catalog = films(tmp_path / "corpus")
    one, other = apart()
    third = next(f"s{n:02}" for n in range(1, 12) if f"s{n:02}" != other)
    row = {"model": "m", "model_version": "1", "cutting": "cutting-1"}
    catalog.append("neighbours", [{**row, "clip_id": one, "other_clip": third, "cosine": 0.6}])
    dedup = Dedup(semantic=SemanticDuplicates("m", 0.9))
    select(catalog, Recipe("r", ALL, dedup=dedup, splits=SPLITS), "early")
    export_dataset(catalog.refresh(), tmp_path / "first", selection="early")
    catalog.append("neighbours", [{**row, "clip_id": one, "other_clip": other, "cosine": 0.95}])
    with pytest.raises(LeakError, match=r"semantic duplicate of .* \(score 0.95\)"):
        export_dataset(catalog.refresh(), tmp_path / "second", selection="early")


def test_a_leaking_publication_is_refused_before_anything_happens(leaking: Catalog) -> None:
    select(leaking, Recipe("r", ALL, splits=SPLITS), "careless")
    with pytest.raises(LeakError, match="cannot publish me/films"):
        publish(leaking, "me/films", selection="careless")


def test_a_selection_that_knows_its_duplicates_does_not_leak(
    leaking: Catalog, tmp_path: Path
) -> None:
    select(leaking, Recipe("r", ALL, dedup=NEAR, splits=SPLITS), "careful")
    done = export_dataset(leaking, tmp_path / "out", selection="careful")
    assert done.manifest["leaks"] == {"searched": True, "pairs": []}


def test_what_was_not_searched_is_not_vouched_for(tmp_path: Path) -> None:
    catalog = films(tmp_path / "corpus")
    select(catalog, Recipe("r", ALL, splits=SPLITS), "x")
    done = export_dataset(catalog, tmp_path / "out", selection="x")
    assert done.manifest["leaks"] == {"searched": False, "pairs": []}


def test_pairs_in_one_split_are_no_leak(tmp_path: Path) -> None:
    catalog = films(tmp_path / "corpus")
    together = [n for n in (f"s{k:02}" for k in range(12)) if split_of(n, SPLITS) == "train"][:2]
    record_matches(catalog, [(together[0], together[1], WHOLE, WHOLE)])
    select(catalog, Recipe("r", ALL, splits=SPLITS), "x")
    with choose(catalog, selection="x") as chosen:
        assert find_leaks(chosen).found == ()
