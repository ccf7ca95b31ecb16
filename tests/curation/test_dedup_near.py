"""Duplicates of rendered footage, from the pass to the groups of a catalog."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.duplicates import DuplicateGroup, duplicate_groups
from catalogs.ids import clip_id, file_sha256, source_id
from catalogs.recipe import Dedup, NearDuplicates
from catalogs.testing import Shot, render_video
from catalogs.testing.altered import ALTERATIONS, render_altered
from catalogs.timebase import Span
from curation.dedup import find_near
from curation.jobs.measure import measure_whole
from curation.jobs.rows import VIDEO_COLUMNS, signal_row
from curation.jobs.settings import MillSettings

NEAR = NearDuplicates()
KINDS = sorted(ALTERATIONS.keys() - {"off_centre"})
"""A crop away from the middle is more than hashes of windows around it can follow."""
FILMS = {
    "street.mp4": [Shot("pan_left", 60, seed=11), Shot("moving_shapes", 60, seed=12)],
    "field.mp4": [Shot("zoom_in", 72, seed=21), Shot("still", 48, seed=22)],
    "crowd.mp4": [Shot("moving_shapes", 70, seed=31), Shot("tilt_up", 50, seed=32)],
    "black.mp4": [Shot("black", 48)],
    "dark.mp4": [Shot("black", 60)],
}


def record(catalog: Catalog, paths: Iterable[Path]) -> None:
    """Each file as one clip, with the signals of its pass."""
    sources, clips, signals = [], [], []
    for path in sorted(paths):
        name = source_id(file_sha256(path))
        found = measure_whole(str(path), MillSettings())
        low, high, tick = int(found.signals.pts[0]), found.signals.end_pts, found.probe.time_base
        span = Span(low, high, tick)
        sources.append({"source_id": name, "kind": "video", "uri": str(path)})
        clips.append(
            {
                "clip_id": clip_id(name, span),
                "cutting": "whole",
                "source_id": name,
                "kind": "video",
                "start_s": float(span.start),
                "end_s": float(span.end),
                "duration_s": float(span.duration),
            }
        )
        signals.append(signal_row(name, found) | {"chunk": 0, "of_chunks": 1})
    with catalog.transaction("record") as txn:
        txn.append("sources", sources)
        txn.append("clips", clips)
        txn.append("signals/video", signals, VIDEO_COLUMNS)


def groups(catalog: Catalog) -> Iterator[list[str]]:
    for group in duplicate_groups(catalog.refresh(), Dedup(near=NEAR)):
        yield sorted(Path(member.uri or "").name for member in group.members)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, shots in FILMS.items():
        render_video(folder / name, shots, size=(320, 180), fps=24)
    return folder


@pytest.fixture(scope="module")
def altered(films: Path) -> Path:
    for kind in KINDS:
        suffix = ".webm" if kind == "vp9" else ".mp4"
        render_altered(films / "street.mp4", films / f"street-{kind}{suffix}", kind)
    return films


@pytest.fixture(scope="module")
def searched(altered: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    catalog = Catalog.create(tmp_path_factory.mktemp("all") / "corpus")
    record(catalog, altered.iterdir())
    find_near(catalog, NEAR)
    return catalog


def test_every_alteration_is_grouped_and_nothing_else(searched: Catalog, altered: Path) -> None:
    names = sorted(path.name for path in altered.iterdir() if path.name.startswith("street"))
    assert list(groups(searched)) == [names]


@pytest.mark.parametrize("kind", ["h264", "crop15", "subclip"])
def test_vpn_finds_the_original_of_a_copy_first(searched: Catalog, kind: str) -> None:
    (group,) = duplicate_groups(searched, Dedup(near=NEAR))
    names = {member.clip_id: Path(member.uri or "").stem for member in group.members}
    assert names[group.members[0].clip_id].startswith("street")
    copies = {frozenset((names[pair.clip_id], names[pair.other_clip])) for pair in group.pairs}
    assert frozenset((f"street-{kind}", "street")) in copies
    assert not {"field", "crowd", "black", "dark"} & set(names.values())


def test_a_mirrored_copy_is_told_as_one(searched: Catalog) -> None:
    (group,) = duplicate_groups(searched, Dedup(near=NEAR))
    assert {pair.mirrored for pair in _of(group, "mirrored", "h264")} == {True}
    assert {pair.mirrored for pair in _of(group, "gamma", "h264")} == {False}


def test_a_sub_clip_is_found_where_it_was_cut_out(searched: Catalog, altered: Path) -> None:
    (group,) = duplicate_groups(searched, Dedup(near=NEAR))
    names = {member.clip_id: Path(member.uri or "").name for member in group.members}
    (pair,) = (
        pair
        for pair in group.pairs
        if {names[pair.clip_id], names[pair.other_clip]} == {"street-subclip.mp4", "street.mp4"}
    )
    if names[pair.clip_id] == "street.mp4":
        pair = pair.swapped()
    assert pair.score > 0.95
    assert (pair.start_s, pair.end_s) == (pytest.approx(0, abs=0.2), pytest.approx(3, abs=0.2))
    assert pair.other_start_s == pytest.approx(5 * 0.371, abs=0.1)


def _of(group: DuplicateGroup, one: str, other: str) -> list:
    names = {member.clip_id: Path(member.uri or "").stem for member in group.members}
    wanted = {f"street-{one}", f"street-{other}"}
    return [pair for pair in group.pairs if {names[pair.clip_id], names[pair.other_clip]} == wanted]


def test_mirrored_copies_are_strangers_when_they_are_to_be(searched: Catalog) -> None:
    plain = NearDuplicates(mirrored=False)
    find_near(searched.refresh(), plain)
    (group,) = duplicate_groups(searched.refresh(), Dedup(near=plain))
    assert not any("mirrored" in (member.uri or "") for member in group.members)


def test_runs_and_their_order_do_not_matter(
    altered: Path, searched: Catalog, tmp_path: Path
) -> None:
    kinds = ("street", "street-crop5", "street-subclip", "street-logo", "field", "black")
    paths = [altered / f"{name}.mp4" for name in kinds]
    results = []
    for number, parts in enumerate(([paths], [paths[:3], paths[3:]], [paths[4:], paths[:4]])):
        catalog = Catalog.create(tmp_path / str(number))
        for part in parts:
            record(catalog.refresh(), part)
            find_near(catalog.refresh(), NEAR, threads=number + 1)
        columns = "source_id, other_id, kind, start_pts, end_pts, other_start_pts, other_end_pts"
        results.append(catalog.refresh().sql(f"select {columns} from matches order by all").rows())
        assert list(groups(catalog)) == [sorted(f"{name}.mp4" for name in kinds[:4])]
    assert results[0] == results[1] == results[2]


def test_a_second_search_has_nothing_to_do(searched: Catalog) -> None:
    version = searched.refresh().version
    assert find_near(searched, NEAR).sources == 0
    assert searched.refresh().version == version


def test_videos_that_were_measured_without_all_hashes_are_told(
    searched: Catalog, tmp_path: Path
) -> None:
    stored = searched.sql("select * from signals_video limit 1").dicts()[0]
    kept = [column for column in VIDEO_COLUMNS if column.name != "hash_inside"]
    names = {*searched.spec("signals/video").schema.names} - {"hash_inside"}
    older = Catalog.create(tmp_path / "corpus")
    row = {name: stored[name] for name in names} | {"set_version": 2}
    older.append("signals/video", [row], kept)
    report = find_near(older, NEAR)
    assert (report.sources, report.outdated) == (0, 1)
    assert find_near(searched, NEAR).outdated == 0


def test_another_container_is_an_exact_duplicate(films: Path, tmp_path: Path) -> None:
    import av

    remuxed = tmp_path / "field.mkv"
    with av.open(str(films / "field.mp4")) as source, av.open(str(remuxed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    shutil.copy(films / "black.mp4", tmp_path / "black.mp4")
    shutil.copy(films / "dark.mp4", tmp_path / "dark.mp4")
    catalog = Catalog.create(tmp_path / "corpus")
    record(catalog, [films / "field.mp4", remuxed, tmp_path / "black.mp4", tmp_path / "dark.mp4"])
    find_near(catalog, NEAR)
    # Without rules for near-duplicates only what is equal goes.
    (group,) = duplicate_groups(catalog.refresh(), Dedup())
    assert [pair.kind for pair in group.pairs] == ["exact"]
    assert {Path(member.uri or "").name for member in group.members} == {"field.mp4", "field.mkv"}


def test_another_catalog_is_searched_without_taking_it_over(altered: Path, tmp_path: Path) -> None:
    ours, theirs = Catalog.create(tmp_path / "ours"), Catalog.create(tmp_path / "theirs")
    record(ours, [altered / "street-crop5.mp4", altered / "field.mp4"])
    record(theirs, [altered / "street.mp4", altered / "crowd.mp4"])
    before = theirs.version
    assert find_near(ours, NEAR, against=theirs).matches >= 1
    rows = ours.refresh().sql("select source_id, other_id from matches").rows()
    mine = {row[0] for row in ours.sql("select source_id from sources").rows()}
    others = {row[0] for row in theirs.sql("select source_id from sources").rows()}
    assert {a for a, _ in rows} < mine
    assert {b for _, b in rows} < others
    assert list(groups(ours)) == []
    assert theirs.refresh().version == before


def test_real_families_are_found(shared_data: Path, tmp_path: Path) -> None:
    names = (
        "mdn_elf.mp4", "mdn_elf.webm", "carphone_pristine.mp4", "carphone_distorted.mp4",
        "psd_goldeneye_vfr_drop3.mp4", "psd_goldeneye_rotate.mp4", "asl_again.mkv",
        "asl_book.mkv", "asl_yes.mkv",
    )  # fmt: skip
    catalog = Catalog.create(tmp_path / "corpus")
    record(catalog, [shared_data / "video" / name for name in names])
    find_near(catalog, NEAR)
    assert sorted(groups(catalog)) == [
        ["carphone_distorted.mp4", "carphone_pristine.mp4"],
        ["mdn_elf.mp4", "mdn_elf.webm"],
        ["psd_goldeneye_rotate.mp4", "psd_goldeneye_vfr_drop3.mp4"],
    ]
