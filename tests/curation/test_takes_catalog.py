"""Takes in a catalog: captions, labels, cutting again, overrides and damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogs import Catalog
from catalogs.errors import NotFoundError
from catalogs.query import Session
from catalogs.recipe import load_recipe, parse_recipe
from catalogs.testing import render_take
from curation.captions.imports import import_labels
from curation.jobs.run import Report, curate, recut
from curation.jobs.settings import MillSettings
from curation.mocap.augment import Mirror, apply
from curation.mocap.captions import caption_motion, mirrored_text
from curation.mocap.problems import MocapFileError
from curation.mocap.stored import stored_motion
from curation.segment import SegmentSettings

WHOLE = MillSettings(segment=SegmentSettings(detector="none"))
# what a label names or shows, for the contents of the real labelled takes
SHOWN_BY = {
    "bow": "bows",
    "dance short": "dances",
    "dash": "runs",
    "guide": "raises the right arm",
    "kick": "kicks",
    "raise up right hand": "raises the right arm",
    "run": "runs",
    "walk": "walks",
    "walk left": "left",
    "walk turn left": "turning left",
    "wave both hands": "waves both hands",
}


def mill(media: Path, catalog: Path, **options: object) -> Report:
    return curate([media], catalog, workers=0, progress=None, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk, a kick with the left leg and two waves, whole; tests must not change it."""
    folder = tmp_path_factory.mktemp("takes")
    (folder / "media" / "a").mkdir(parents=True)
    (folder / "media" / "b").mkdir()
    render_take(folder / "media/walk.bvh", "walk", seconds=6)
    render_take(folder / "media/kick.bvh", "kick", seconds=4, side="left", count=2)
    render_take(folder / "media/a/wave.bvh", "wave", seconds=4)
    render_take(folder / "media/b/wave.bvh", "wave", seconds=4, side="left")
    mill(folder / "media", folder / "catalog", settings=WHOLE)
    return folder / "catalog"


def copied(takes: Path, tmp_path: Path) -> Catalog:
    import shutil

    return Catalog.open(shutil.copytree(takes, tmp_path / "catalog"))


def brief(catalog: Catalog, name: str) -> str:
    return str(
        catalog.sql(
            "select text from captions join clips using (clip_id) "
            "where uri like ? and origin = 'rules' and captions.kind = 'brief'",
            [f"%/{name}.bvh"],
        ).value()
    )


# -- captions from rules -------------------------------------------------------------------


def test_captions_come_with_the_cut(takes: Path) -> None:
    catalog = Catalog.open(takes)
    assert brief(catalog, "walk").startswith("A person walks forward, ")
    assert brief(catalog, "kick").startswith("A person kicks with the left leg twice")
    assert brief(catalog, "a/wave").startswith("A person waves the right hand")
    evidence = catalog.sql(
        "select evidence from captions where kind = 'brief' and text like '%walks%'"
    ).value()
    assert json.loads(evidence)[0]["measures"]["speed_m_s"] == pytest.approx(1.2, abs=0.2)


def test_stored_motions_mirror_into_the_other_side(takes: Path) -> None:
    catalog = Catalog.open(takes)
    with Session(catalog) as session:
        rows = session.sql("select * from clips order by uri").dicts()
        for row in rows:
            motion = stored_motion(session, row)
            assert len(motion) == row["frames"]
            mirrored = caption_motion(apply(motion, [Mirror()]))
            said = brief(catalog, row["uri"].removesuffix(".bvh").lstrip("/"))
            assert mirrored.brief == mirrored_text(said)
            assert mirrored.brief != said or "walk" in row["uri"]


def test_labelled_real_takes_are_named_by_stored_captions(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "mocap" / "bandai"
    mill(folder, tmp_path / "c", settings=WHOLE)
    catalog = Catalog.open(tmp_path / "c")
    report = import_labels(catalog, [folder])
    assert (report.labels, report.unmatched, report.skipped) == (22, (), ())
    pairs = catalog.sql(
        "select distinct i.text, r.text from captions i join captions r using (clip_id) "
        "where i.origin = 'import' and i.kind = 'action' "
        "and r.origin = 'rules' and r.kind = 'brief'"
    ).rows()
    named = {(label, text): SHOWN_BY[label] in text for label, text in pairs}
    assert len(named) == 11
    assert sum(named.values()) >= 0.8 * len(named), named


# -- labels of others ----------------------------------------------------------------------


def imported(catalog: Catalog) -> list[tuple[object, ...]]:
    return catalog.sql(
        "select regexp_extract(uri, 'media/(.*)\\.bvh', 1), c.kind, c.text, c.start_s, c.end_s, "
        "c.model from captions c join clips using (clip_id) where c.origin = 'import' order by all"
    ).rows()


def test_labels_find_their_takes_by_name_folder_and_time(takes: Path, tmp_path: Path) -> None:
    catalog = copied(takes, tmp_path)
    labels = tmp_path / "labels"
    (labels / "b").mkdir(parents=True)
    (labels / "walk.txt").write_text("a person walks#a/DET#0.0#0.0\nhe stops#he/PRON#5.5#9\n")
    (labels / "b" / "wave.txt").write_text("left hello#left/ADJ#1.0#2.5\n")
    entry = {"feat_p": "X/a/wave.npz", "babel_sid": 7, "seq_ann": {"labels": [{"raw_label": "hi"}]}}
    (labels / "babel.json").write_text(json.dumps({"7": entry}))
    kit = {"00003": {"path": "KIT/3/kick", "annotations": [{"text": "kicks", "start": 0}]}}
    (labels / "kit.json").write_text(json.dumps(kit))

    report = import_labels(catalog, [labels])

    assert imported(catalog) == [
        ("a/wave", "action", "hi", 0.0, 4.0, "babel:babel.json"),
        ("b/wave", "caption", "left hello", 1.0, 2.5, "humanml:wave.txt"),
        ("kick", "caption", "kicks", 0.0, 4.0, "json:kit.json"),
        ("walk", "caption", "a person walks", 0.0, 6.0, "humanml:walk.txt"),
    ]
    assert [(miss.text, miss.reason) for miss in report.unmatched] == [
        ("he stops", "no clip of its take lies in its span")
    ]
    assert (report.files, report.labels, report.new) == (4, 5, 4)


def test_an_import_again_changes_nothing(takes: Path, tmp_path: Path) -> None:
    catalog = copied(takes, tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text("take,text,start_s,end_s\nwalk,walking,0,3\nkick.bvh,kicking,,\n")
    first = import_labels(catalog, [table])
    version, rows = catalog.version, imported(catalog)
    again = import_labels(catalog, [table])
    assert (first.new, again.new, again.captions) == (2, 0, 2)
    assert (catalog.version, imported(catalog)) == (version, rows)
    table.write_text("take,text,start_s,end_s\nwalk,walking,0,3\nwalk,striding,0,6\n")
    assert import_labels(catalog, [table]).new == 1


def test_what_cannot_be_told_apart_is_reported_and_not_guessed(takes: Path, tmp_path: Path) -> None:
    catalog = copied(takes, tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text("take,text\nwave,waving\nswim,swimming\n")
    report = import_labels(catalog, [table])
    assert report.captions == 0
    assert "several takes are called 'wave'" in report.unmatched[0].reason
    assert report.unmatched[1].reason == "no take is called 'swim'"
    chosen = import_labels(catalog, [table], where="uri like '%/a/%'")
    assert chosen.captions == 1
    assert imported(catalog)[0][0] == "a/wave"


def test_broken_labels_are_named_with_file_and_line(takes: Path, tmp_path: Path) -> None:
    catalog = copied(takes, tmp_path)
    (tmp_path / "labels").mkdir()
    broken = tmp_path / "labels" / "walk.txt"
    broken.write_text("a person walks#a/DET\n")
    with pytest.raises(MocapFileError, match=r"walk\.txt: line 1"):
        import_labels(catalog, [broken])
    (skipped,) = import_labels(catalog, [broken.parent]).skipped
    assert skipped[0] == str(broken)
    with pytest.raises(NotFoundError, match="nowhere"):
        import_labels(catalog, [tmp_path / "nowhere"])


# -- cutting again, overrides --------------------------------------------------------------


def test_recut_opens_no_file_and_keeps_unchanged_clips(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for action in ("walk", "jump", "squat"):
        render_take(media / f"{action}.bvh", action, seconds=6)
    mill(media, tmp_path / "c", recipe=load_recipe("mocap"))
    for file in media.iterdir():
        file.unlink()
    query = "select clip_id, uri, start_frame, end_frame from clips"
    first = set(Catalog.open(tmp_path / "c").sql(query).rows())
    recut(tmp_path / "c", settings=WHOLE, workers=0, progress=None)
    catalog = Catalog.open(tmp_path / "c")
    second = set(catalog.sql(query).rows())
    assert len(second) == 3
    spans = {row[1:] for row in first} & {row[1:] for row in second}
    assert {row[1:] for row in first & second} == spans
    assert 0 < len(spans) < 3
    captioned = catalog.sql(
        "select count(distinct clip_id) from captions semi join clips using (clip_id)"
    )
    assert captioned.value() == 3
    briefs = catalog.sql("select count(*) from captions where kind = 'brief'").value()
    assert briefs == len(first | second)
    assert catalog.rows("scores/take_quality") == len(first | second)


def test_overrides_of_a_recipe_reach_the_reader(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    render_take(media / "walk.bvh", "walk", unit="cm")
    render_take(media / "walk.npy", "walk")
    recipe = parse_recipe(
        "name: odd\nsegment: {detector: none}\n"
        "mocap: {fps: 60000/1001, unit: mm, up_axis: z, handedness: left}\n"
    )
    mill(media, tmp_path / "c", recipe=recipe)
    catalog = Catalog.open(tmp_path / "c")
    rows = catalog.sql(
        "select container, fps_num, fps_den, unit, up_axis, subject_height_m, "
        "meta->'$.conventions.unit.from' ->> '$', meta->'$.conventions.handedness.value' ->> '$' "
        "from sources order by container"
    ).rows()
    assert rows[0][:5] == ("array", 60000, 1001, "mm", "z")
    assert rows[1][:5] == ("bvh", 60000, 1001, "mm", "z")
    assert rows[1][5] == pytest.approx(0.164, abs=0.01)
    assert {row[6:] for row in rows} == {("override", "left")}
    recorded = json.loads(str(catalog.sql("select settings from runs").value()))
    assert recorded["mocap"]["unit"] == "mm"


# -- damage --------------------------------------------------------------------------------


def refused(catalog: Path) -> dict[str, str]:
    rows = Catalog.open(catalog).sql("select uri, detail from quarantine").rows()
    return {Path(uri).name: detail for uri, detail in rows}


def test_damaged_takes_are_quarantined_with_line_and_reason(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    text = render_take(media / "good.bvh", "walk").path.read_text()
    (media / "short.bvh").write_text(text[: len(text) // 2])
    (media / "pointer.npy").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    mill(media, tmp_path / "c")
    details = refused(tmp_path / "c")
    assert set(details) == {"short.bvh", "pointer.npy"}
    assert all(detail.startswith("line ") for detail in details.values())


def test_real_damaged_takes_are_quarantined_with_line_and_reason(
    shared_data: Path, tmp_path: Path
) -> None:
    names = ("lfs_pointer.npy", "bvh_skeleton_no_motion.bvh", "bvh_full_precision_frame_time.bvh")
    paths = [shared_data / "broken" / name for name in names]
    curate(paths, tmp_path / "c", workers=0, progress=None)
    details = refused(tmp_path / "c")
    assert set(details) == set(names[:2])
    assert details[names[0]].startswith("line 1: a pointer of Git LFS")
    assert details[names[1]].startswith("line 143: a skeleton and one frame")
