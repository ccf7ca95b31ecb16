"""A take in space: what is sent, and what the page makes of it."""

from __future__ import annotations

import json
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest

from catalogs import Catalog
from catalogs.query import Session
from clipmill.web.sources import SourceFiles, find_clip
from clipmill.web.take import Joints, joints_in_file, packed
from curation.mocap.read import read_motion
from curation.mocap.stored import stored_motion

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect


def take_id(corpus: Any) -> str:
    query = "select clip_id from clips where kind = 'mocap' order by start_pts limit 1"
    return str(Catalog.open(corpus).sql(query).value())


def unpacked(data: bytes) -> tuple[dict[str, Any], np.ndarray]:
    (length,) = struct.unpack("<I", data[:4])
    head = json.loads(data[4 : 4 + length])
    numbers = np.frombuffer(data, "<f4", offset=4 + length)
    return head, numbers.reshape(head["frames"], len(head["names"]), 3)


def test_joints_are_those_of_the_catalog(web_server: Any, web_corpus: Any) -> None:
    clip_id = take_id(web_corpus)
    with web_server.fetch(f"/api/take/{clip_id}") as response:
        head, joints = unpacked(response.read())
    with Session(Catalog.open(web_corpus), cutting="-") as session:
        (clip,) = session.sql("select * from clips_all where clip_id = ?", [clip_id]).dicts()[:1]
        motion = stored_motion(session, clip)
    assert np.array_equal(joints, motion.joints.astype(np.float32))
    told = [head[name] for name in ("up", "unit", "fps", "origin")]
    assert told == ["y", "m", float(motion.fps), "catalog"]
    assert head["parents"][0] == -1
    assert set(head["sides"]) == {"l", "r", "m"}
    assert abs(head["floor"]) < 0.2


def test_other_skeletons_are_read_from_the_file(web_corpus: Any, tmp_path: Path) -> None:
    with Session(Catalog.open(web_corpus), cutting="-") as session:
        found = find_clip(session, take_id(web_corpus))
    joints = joints_in_file(SourceFiles(tmp_path), found)
    motion = read_motion(found.source["uri"]).motion
    frames = slice(found.clip["start_frame"], found.clip["end_frame"])
    assert joints.names == motion.skeleton.names
    assert np.allclose(joints.positions, motion.joints[frames], atol=1e-5)


def test_long_takes_are_thinned_and_keep_their_time() -> None:
    positions = np.arange(1000 * 2 * 3, dtype=np.float32).reshape(1000, 2, 3)
    joints = Joints(positions, ("root", "tip"), (-1, 0), "mm", Fraction(30), "file")
    head, sent = unpacked(packed(joints, most_bytes=6000))
    assert (head["step"], head["clip_frames"]) == (4, 1000)
    assert np.array_equal(sent, positions[::4])
    assert sent.nbytes <= 6000


def test_numbers_begin_where_they_can_be_read() -> None:
    for name in ("r", "ro", "roo", "root"):
        joints = Joints(np.zeros((1, 1, 3), np.float32), (name,), (-1,), "m", Fraction(1), "file")
        (length,) = struct.unpack("<I", packed(joints)[:4])
        assert length % 4 == 0


@pytest.fixture
def stage(page: Any, web_corpus: Any) -> Any:
    """The canvas of the take, drawn."""
    page.goto(f"/clip/{take_id(web_corpus)}")
    canvas = page.locator(".player canvas")
    canvas.wait_for(timeout=60_000)
    picture_of(page)
    return canvas


DRAWN = """() => new Promise((done) => {
  const canvas = document.querySelector(".player canvas");
  const look = () => requestAnimationFrame(() => requestAnimationFrame(() => {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    if (data.some((value) => value)) done(canvas.toDataURL());
    else look();
  }));
  look();
})"""


def picture_of(page: Any) -> str:
    """What the canvas shows, once something is drawn."""
    return str(page.evaluate(DRAWN))


def test_scrubbing_and_playing_move_the_figure(page: Any, stage: Any) -> None:
    counter = page.locator(".counter b")
    first = picture_of(page)
    page.get_by_role("slider").fill("12")
    expect(counter).to_have_text("12", timeout=60_000)
    moved = picture_of(page)
    assert moved != first
    page.get_by_role("slider").fill("0")
    assert picture_of(page) == first
    page.keyboard.press(" ")
    expect(counter).to_have_text(re.compile("^[1-9]"), timeout=60_000)
    page.get_by_role("button", name="Pause").click()
    assert page.get_by_role("button", name="Play").is_visible()


def test_dragging_keys_and_wheel_turn_and_zoom(page: Any, stage: Any) -> None:
    seen = [picture_of(page)]
    box = stage.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 10)
    page.mouse.up()
    seen.append(picture_of(page))
    stage.press("ArrowRight")
    seen.append(picture_of(page))
    page.mouse.wheel(0, -240)
    seen.append(picture_of(page))
    assert len(set(seen)) == 4
    page.get_by_role("button", name="Reset view").click()
    assert picture_of(page) == seen[0]


def test_a_film_is_no_take(web_server: Any, web_corpus: Any) -> None:
    query = "select clip_id from clips where kind = 'video' limit 1"
    clip_id = Catalog.open(web_corpus).sql(query).value()
    with pytest.raises(HTTPError) as refused:
        web_server.fetch(f"/api/take/{clip_id}")
    with refused.value:
        assert refused.value.code == 400
