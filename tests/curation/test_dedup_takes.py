"""Duplicates among takes: turned, mirrored, resampled and cut-out ones, and nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from catalogs.catalog import Catalog
from catalogs.duplicates import DuplicateGroup, Pair, duplicate_groups
from catalogs.export import export_dataset
from catalogs.leaks import LeakError
from catalogs.recipe import Dedup, Exclude, NearDuplicates, Recipe, Splits
from catalogs.select import select
from catalogs.splits import split_of
from catalogs.testing import render_take
from curation.dedup import find_near
from curation.dedup.hashes import distance, seen
from curation.dedup.takes import hashed_take
from curation.jobs.rows import MOTION_COLUMNS
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from curation.mocap.layouts import HUMANML22
from curation.segment import SegmentSettings

NEAR = NearDuplicates()
CUT = slice(37, 107)


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """A dancing walk of eight seconds with copies, beside takes of others."""
    folder = tmp_path_factory.mktemp("takes")
    render_take(folder / "walk.npy", "walk", fps=20, seconds=8, seed=3, turn_deg=120)
    for name in ("kick", "wave"):
        render_take(folder / f"{name}.npy", name, fps=20, seconds=4, seed=6)
    found = {path.stem: np.load(path) for path in folder.iterdir()}
    dance = _danced(found["walk"], 20, seed=1)
    copies = {"dance": dance, "far": _moved(dance, 130), "mirrored": _mirrored(dance)}
    other = _danced(found["walk"], 20, seed=2)
    still = np.repeat(dance[:1], 60, axis=0)
    return {**found, **copies, "part": dance[CUT], "other": other, "still": still}


@pytest.fixture(scope="module")
def corpus(takes: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return _searched(tmp_path_factory.mktemp("corpus") / "c", [takes])


def _searched(
    path: Path, parts: Sequence[Mapping[str, np.ndarray]], near: NearDuplicates = NEAR
) -> Catalog:
    """A catalog whose takes, 20 frames a second, came and were searched in parts."""
    catalog = Catalog.create(path)
    for part in parts:
        _record(catalog.refresh(), part)
        find_near(catalog.refresh(), near)
    return catalog.refresh()


def _record(catalog: Catalog, part: Mapping[str, np.ndarray]) -> None:
    """Each take as one clip, with its joints as the pass stores them."""
    sources, clips, signals = [], [], []
    for name, joints in part.items():
        span = {"start_s": 0.0, "end_s": len(joints) / 20, "duration_s": len(joints) / 20}
        about = {"source_id": name, "kind": "mocap"}
        sources.append({**about, "uri": f"{name}.npy", "license": "CC-BY-4.0"})
        clips.append({**about, **span, "clip_id": name, "cutting": "whole"})
        rate = {"set_version": 1, "time_base_num": 1, "time_base_den": 20}
        chunk = {"source_id": name, "chunk": 0, "of_chunks": 1, "frames": len(joints)}
        signals.append({**chunk, **rate, "body_joints": joints.ravel()})
    with catalog.transaction("record") as txn:
        txn.append("sources", sources)
        txn.append("clips", clips)
        txn.append("signals/motion", signals, MOTION_COLUMNS)


def _danced(joints: np.ndarray, fps: int, seed: int) -> np.ndarray:
    """Every joint sways as well, in a way that does not come again."""
    random = np.random.default_rng(seed)
    hertz, phase = random.uniform(0.3, 1.7, (2, 6, 22, 3)) * [[[[1.0]]], [[[4.0]]]]
    moments = np.arange(len(joints))[:, None, None, None] / fps
    return (joints + 0.03 * np.sin(2 * np.pi * hertz * moments + phase).sum(axis=1)).astype("f4")


def _moved(joints: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return (joints @ turn.T + [3.0, 0.0, -2.0]).astype(np.float32)


def _mirrored(joints: np.ndarray) -> np.ndarray:
    return (joints[:, HUMANML22.mirrored] * [-1, 1, 1]).astype(np.float32)


def _groups(catalog: Catalog, near: NearDuplicates = NEAR) -> list[DuplicateGroup]:
    return duplicate_groups(catalog.refresh(), Dedup(near=near))


def _members(group: DuplicateGroup) -> list[str]:
    return sorted(Path(member.uri or "").stem for member in group.members)


def _pair(group: DuplicateGroup, one: str, other: str) -> Pair:
    """The pair of two takes, told from the first."""
    for pair in group.pairs:
        for told in (pair, pair.swapped()):
            if (told.clip_id, told.other_clip) == (one, other):
                return told
    raise AssertionError(f"{one} and {other} are no pair")


def test_copies_are_grouped_and_nobody_else(corpus: Catalog) -> None:
    (group,) = _groups(corpus)
    assert _members(group) == ["dance", "far", "mirrored", "part"]
    assert len(group.pairs) == 6


def test_mirrored_takes_are_told_as_such(corpus: Catalog) -> None:
    (group,) = _groups(corpus)
    assert _pair(group, "dance", "mirrored").mirrored
    assert not _pair(group, "dance", "far").mirrored


def test_a_sub_take_is_found_where_it_was_cut_out(corpus: Catalog) -> None:
    (group,) = _groups(corpus)
    pair = _pair(group, "part", "dance")
    assert pair.score > 0.95
    assert (pair.start_s, pair.end_s) == (pytest.approx(0, abs=0.05), pytest.approx(3.5, abs=0.05))
    assert pair.other_start_s == pytest.approx(CUT.start / 20, abs=0.05)
    assert pair.other_end_s == pytest.approx(CUT.stop / 20, abs=0.05)


def test_mirrored_takes_are_strangers_when_they_are_to_be(
    takes: dict[str, np.ndarray], tmp_path: Path
) -> None:
    plain = NearDuplicates(mirrored=False)
    part = {name: takes[name] for name in ("dance", "mirrored", "far")}
    (group,) = _groups(_searched(tmp_path / "c", [part], plain), plain)
    assert _members(group) == ["dance", "far"]


def test_runs_and_their_order_do_not_matter(
    takes: dict[str, np.ndarray], tmp_path: Path, corpus: Catalog
) -> None:
    columns = "source_id, other_id, kind, start_pts, end_pts, other_start_pts, other_end_pts"
    query = f"select {columns} from matches order by all"
    names = sorted(takes, reverse=True)
    parts = [{name: takes[name] for name in part} for part in (names[:2], names[2:6], names[6:])]
    assert _searched(tmp_path / "c", parts).sql(query).rows() == corpus.sql(query).rows()


def test_equal_takes_are_pairs_in_whatever_order_they_come(
    takes: dict[str, np.ndarray], tmp_path: Path
) -> None:
    found = []
    for number, order in enumerate((["abcd"], ["d", "bc", "a"], ["bd", "ac"])):
        parts = [dict.fromkeys(part, takes["dance"]) for part in order]
        catalog = _searched(tmp_path / str(number), parts)
        found.append(catalog.sql("select source_id, other_id, kind from matches").rows())
    assert {kind for _, _, kind in found[0]} == {"exact"}
    assert len(found[0]) == 6
    assert sorted(found[0]) == sorted(found[1]) == sorted(found[2])


def test_a_catalog_that_comes_without_its_sorted_anchors_makes_them(
    takes: dict[str, np.ndarray], tmp_path: Path, corpus: Catalog
) -> None:
    names = sorted(takes)
    for first, last in ((0, 5), (5, 9)):
        if first:
            shutil.rmtree(tmp_path / "c" / ".cache")
            catalog = Catalog.open(tmp_path / "c")
        else:
            catalog = Catalog.create(tmp_path / "c")
        _record(catalog, {name: takes[name] for name in names[first:last]})
        find_near(catalog.refresh(), NEAR)
    query = "select source_id, other_id, start_pts, end_pts from matches order by all"
    assert catalog.refresh().sql(query).rows() == corpus.sql(query).rows()


def test_copies_of_a_take_stay_in_one_split(takes: dict[str, np.ndarray], tmp_path: Path) -> None:
    splits = Splits(0.5, 0.25, 0.25)
    home = split_of("dance", splits)
    away = next(f"copy-{n}" for n in range(99) if split_of(f"copy-{n}", splits) != home)
    part = {"dance": takes["dance"], away: takes["part"], "other": takes["other"]}
    catalog = _searched(tmp_path / "c", [part])
    select(catalog, Recipe("r", {"all": "true"}, splits=splits), "careless")
    with pytest.raises(LeakError, match=f"near duplicate of {away}|near duplicate of dance"):
        export_dataset(catalog, tmp_path / "out", selection="careless")
    strict = Dedup(near=NearDuplicates(min_overlap=0.3), keep="clip_id")
    made = select(catalog, Recipe("s", {"all": "true"}, dedup=strict, splits=splits), "careful")
    assert made.clips == 2
    export_dataset(catalog, tmp_path / "out", selection="careful")


def test_a_benchmark_of_takes_is_kept_out(takes: dict[str, np.ndarray], tmp_path: Path) -> None:
    bench = Catalog.create(tmp_path / "bench")
    _record(bench, {"tested": takes["far"]})
    ours = Catalog.create(tmp_path / "ours")
    _record(ours, {name: takes[name] for name in ("part", "other")})
    assert find_near(ours.refresh(), NEAR, against=bench.refresh()).matches == 1
    recipe = Recipe("r", {"all": "true"}, exclude=(Exclude(None, str(tmp_path / "bench")),))
    select(ours.refresh(), recipe, "clean")
    assert ours.refresh().sql("select clip_id from selections").rows() == [("other",)]


@pytest.mark.parametrize("fps", [24, 30, 120])
def test_another_rate_hashes_alike(takes: dict[str, np.ndarray], tmp_path: Path, fps: int) -> None:
    render_take(tmp_path / "fast.npy", "walk", fps=fps, seconds=8, seed=3, turn_deg=120)
    joints = _danced(np.load(tmp_path / "fast.npy"), fps, seed=1)
    one = hashed_take("a", takes["dance"], Fraction(1, 20), 50)
    other = hashed_take("b", joints, Fraction(1, fps), 50)
    shared = min(len(one.whole), len(other.whole))
    assert shared >= 139
    assert np.median(distance(one.whole[:shared], other.whole[:shared])) <= 10


def test_a_mirrored_take_has_the_hash_of_a_mirrored_picture(takes: dict[str, np.ndarray]) -> None:
    joints = takes["dance"]
    one = hashed_take("a", joints, Fraction(1, 20), 50)
    other = hashed_take("b", _mirrored(joints), Fraction(1, 20), 50)
    assert distance(seen(one.whole, "mirrored"), other.whole).max() <= 2
    assert np.median(distance(one.whole, other.whole)) > 60


def test_what_stands_still_or_is_too_short_is_held_back(takes: dict[str, np.ndarray]) -> None:
    still = hashed_take("a", takes["still"], Fraction(1, 20), 50)
    assert len(still.good)
    assert not still.good.any()
    short = hashed_take("b", takes["dance"][:15], Fraction(1, 20), 50)
    assert (len(short.pts), short.start_pts, short.end_pts) == (0, 0, 15)


def test_equal_takes_too_short_to_hash_are_exact_duplicates(
    takes: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.save(tmp_path / "short.npy", takes["walk"][:16])
    np.savez(tmp_path / "again.npz", joints=takes["walk"][:16])
    (group,) = _groups(_milled(tmp_path / "c", tmp_path.glob("*.np?")))
    assert [pair.kind for pair in group.pairs] == ["exact"]


def test_raw_and_cleaned_takes_are_one_and_other_people_are_not(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "mocap"
    paths = [*folder.glob("*.bvh"), *folder.glob("*.amc"), *folder.glob("bandai/*walk*.bvh")]
    (group,) = _groups(_milled(tmp_path / "c", paths))
    assert _members(group) == ["dme_demo_3d_1_fixed", "dme_demo_3d_1_raw"]


def _milled(path: Path, files: Iterable[Path]) -> Catalog:
    """A catalog of files that were read and searched, whole."""
    settings = MillSettings(segment=SegmentSettings(detector="none"), operators=())
    curate(sorted(files), path, settings=settings, workers=0, progress=None)
    find_near(Catalog.open(path), NEAR)
    return Catalog.open(path)
