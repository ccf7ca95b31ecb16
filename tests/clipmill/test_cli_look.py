"""`show` and `caption`, on rendered media that are curated once."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops

from catalogs import Catalog
from catalogs.testing import Shot, render_take, render_video
from curation.jobs.run import curate
from curation.jobs.settings import MillSettings
from curation.segment import SegmentSettings

LEFT, RIGHT = (217, 115, 13), (36, 104, 201)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wave, a thing that is no body, and a film of three seconds; tests must not change it."""
    folder = tmp_path_factory.mktemp("looked")
    media = folder / "media"
    media.mkdir()
    render_take(media / "wave.bvh", "wave", seconds=3)
    named = (media / "wave.bvh").read_text()
    (media / "thing.bvh").write_text(named.replace("mixamorig:", "").replace("Left", "Le_"))
    render_video(media / "film.mp4", [Shot("pan_left", 72)], size=(192, 108))
    settings = MillSettings(segment=SegmentSettings(detector="none"))
    curate([media], folder / "catalog", settings=settings, workers=0, progress=None)
    for file in media.iterdir():
        file.unlink()
    return folder / "catalog"


def clip_of(catalog: Path, name: str) -> str:
    query = "select clip_id from clips where uri like ?"
    return str(Catalog.open(catalog).sql(query, [f"%/{name}"]).value())


def test_a_clip_is_told_with_its_captions_and_scores(clipmill: Any, looked: Path) -> None:
    clip = clip_of(looked, "wave.bvh")
    done = clipmill("show", looked, clip[:8])
    assert done.exit_code == 0, done.stderr
    lines = dict(line.split("\t") for line in done.stdout.splitlines())
    assert lines["clip_id"] == clip
    assert lines["duration_s"] == "3.0"
    assert lines["rules brief"].startswith("A person waves the right hand")
    assert float(lines["stature_m"]) == pytest.approx(1.65, abs=0.1)
    view = json.loads(clipmill("show", looked, clip, "--json").stdout)
    assert view["start_frame"] == 0
    assert {"take_frozen_s", "limit_share"} <= set(view["scores"])
    assert view["captions"][0]["origin"] == "rules"


def test_a_take_is_drawn_without_its_file(clipmill: Any, looked: Path, tmp_path: Path) -> None:
    clip = clip_of(looked, "wave.bvh")
    for name in ("wave.png", "wave.gif", "wave.mp4"):
        done = clipmill("show", looked, clip, "--to", tmp_path / name, "--size", 160)
        assert done.exit_code == 0, done.stderr
    with Image.open(tmp_path / "wave.png") as sheet:
        assert sheet.size == (4 * 166 + 6, 2 * 166 + 6)
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 20)}
        assert {LEFT, RIGHT} <= colours
    with Image.open(tmp_path / "wave.gif") as loop:
        assert loop.n_frames == 75
        first = loop.convert("RGB")
        loop.seek(40)
        assert ImageChops.difference(first, loop.convert("RGB")).getbbox()
    with av.open(str(tmp_path / "wave.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 90


def test_a_video_is_drawn_from_its_storyboard(clipmill: Any, looked: Path, tmp_path: Path) -> None:
    clip = clip_of(looked, "film.mp4")
    query = (
        "select jpeg from storyboards join clips using (source_id) where clip_id = ? order by pts"
    )
    stored = [
        Image.open(io.BytesIO(row[0])) for row in Catalog.open(looked).sql(query, [clip]).rows()
    ]
    clipmill("show", looked, clip, "--to", tmp_path / "film.png", "--size", 192)
    with Image.open(tmp_path / "film.png") as sheet:
        assert sheet.size == (len(stored) * 198 + 6, 108 + 12)
        shown = sheet.crop((6, 6, 198, 80)).convert("RGB")
    expected = stored[0].convert("RGB").resize((192, 108)).crop((0, 0, 192, 74))
    difference = ImageChops.difference(shown, expected).convert("L").getextrema()
    assert difference[1] < 40, "the first picture, above its time stamp"
    clipmill("show", looked, clip, "--to", tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as slides:
        assert (slides.n_frames, slides.info["duration"]) == (len(stored), 500)


def test_what_cannot_be_shown_is_told(clipmill: Any, looked: Path, tmp_path: Path) -> None:
    thing = clip_of(looked, "thing.bvh")
    for arguments, words in (
        ((thing, "--to", tmp_path / "a.png"), "no body is stored"),
        ((thing, "--to", tmp_path / "a.webp"), ".png, .gif, .mp4"),
        (("zz",), "no clip begins with 'zz'"),
        (("",), "several clips begin"),
    ):
        done = clipmill("show", looked, *arguments)
        assert done.exit_code != 0
        assert words in done.stderr


def test_captions_are_imported_and_what_found_no_clip_is_told(
    clipmill: Any, looked: Path, tmp_path: Path
) -> None:
    catalog = shutil.copytree(looked, tmp_path / "catalog")
    labels = tmp_path / "labels.csv"
    labels.write_text("take,text\nwave,greets\nfilm,a pan to the left\nswim,swims\n")
    done = clipmill("caption", catalog, "--import", labels)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "3 labels in 1 files: 2 captions of 2 clips, 2 of them new\n"
    assert "no clip for 'swims' (csv:labels.csv): no take is called 'swim'" in done.stderr
    again = json.loads(clipmill("caption", catalog, "--import", labels, "--json").stdout)
    assert (again["captions"], again["new"]) == (2, 0)
    assert clipmill("caption", catalog, "--import", labels, "--strict").exit_code == 3
    shown = clipmill("show", catalog, clip_of(catalog, "wave.bvh")).stdout
    assert "import caption\tgreets" in shown
    refused = clipmill("caption", catalog, labels)
    assert refused.exit_code == 2
    assert "--import" in refused.stderr


def test_clips_to_label_come_with_their_pictures(
    clipmill: Any, looked: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "long.yaml"
    recipe.write_text("name: long\ngates: {length: duration_s >= 1}\n")
    drawn = ("--recipe", recipe, "--anywhere", 9, "--to", tmp_path / "all", "--sheets")
    done = clipmill("sample", looked, *drawn)
    assert done.exit_code == 0, done.stderr
    assert "no body is stored" in done.stderr
    lines = (tmp_path / "all" / "labels.csv").read_text().splitlines()
    sheets = {line.split(",")[2]: line.rpartition(",")[2] for line in lines[1:]}
    assert sheets["thing.bvh"] == ""
    for name in ("wave.bvh", "film.mp4"):
        with Image.open(tmp_path / "all" / sheets[name]) as sheet:
            assert sheet.width > 100
