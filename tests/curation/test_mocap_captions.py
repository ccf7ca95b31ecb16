"""Cuts and captions against rendered truth, fixed captions, mirrors, labels, pictures."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from catalogs.errors import UsageError
from catalogs.testing import render_take
from curation.mocap.augment import (
    Heading,
    Mirror,
    Speed,
    apply,
    mirror_partners,
    transforms_from_json,
    transforms_to_json,
)
from curation.mocap.boundaries import (
    BoundaryOptions,
    cycle,
    fixed_windows,
    segments,
    trim_rest,
)
from curation.mocap.captions import caption_motion, mirrored_text
from curation.mocap.draw import draw_motion
from curation.mocap.labels import read_label_ids, read_labels
from curation.mocap.problems import MocapFileError
from curation.mocap.read import read_motion
from curation.mocap.signals import motion_signals
from curation.mocap.skeleton import Motion

FIXED = [
    ("stand", {}, "A person stands still."),
    ("walk", {}, r"A person walks forward, 11 steps over 7\.\d m\."),
    ("walk", {"direction": "backward"}, r"A person walks backward, 11 steps over 4\.\d m\."),
    ("walk", {"direction": "left"}, r"A person walks .*sideways to the left, 1\d steps .*"),
    ("walk", {"turn_deg": 90}, r"A person walks forward, turning left by (8|9)\d degrees, .*"),
    ("run", {}, r"A person runs forward, 1[67] steps over 16\.\d m\."),
    ("turn", {"turn_deg": -180}, r"A person turns right by 1[678]\d degrees\."),
    ("jump", {"count": 3}, r"A person jumps 3 times, (29|30|31) cm high\."),
    ("squat", {"count": 3}, r"A person squats down 3 times\."),
    ("wave", {}, r"A person waves the right hand 4 times\."),
    ("wave", {"side": "left"}, r"A person waves the left hand 4 times\."),
    ("raise_arm", {"side": "left"}, r"A person raises the left arm above the head\."),
    ("kick", {"count": 2}, r"A person kicks with the right leg twice, up to 7\d cm high\."),
    ("bow", {}, r"A person bows forward by \d\d degrees\."),
    ("sit", {}, r"A person sits down\."),
]
# what a label names or shows, for the contents of the real labelled takes
SHOWN_BY = {
    "walk": "walks",
    "run": "runs",
    "dash": "runs",
    "walk left": "left",
    "walk turn left": "turning left",
    "bow": "bows",
    "guide": "raises the right arm",
    "kick": "kicks",
    "dance short": "dances",
    "raise up right hand": "raises the right arm",
    "wave both hands": "waves both hands",
}


def rendered(path: Path, action: str, **options) -> Motion:
    return read_motion(render_take(path, action, **{"seconds": 6, **options}).path).motion


@pytest.mark.parametrize(("action", "options", "pattern"), FIXED)
def test_captions_of_known_actions(
    tmp_path: Path, action: str, options: dict, pattern: str
) -> None:
    motion = rendered(tmp_path / "t.bvh", action, **options)
    caption = caption_motion(motion)
    assert re.fullmatch(pattern, caption.brief)
    assert caption_motion(motion) == caption
    mirrored = caption_motion(apply(motion, [Mirror()]))
    assert mirrored.brief == mirrored_text(caption.brief)
    assert mirrored.detailed == mirrored_text(caption.detailed)


def test_sentences_carry_their_spans_parts_and_measurements(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=8, rest_s=1.5, speed_m_s=1.3)
    caption = caption_motion(read_motion(truth.path).motion)
    walk = next(sentence for sentence in caption.sentences if "walks" in sentence.text)
    start, end = (frame / 30 for frame in truth.span)
    assert walk.part == "body"
    assert (walk.start_s, walk.end_s) == pytest.approx((start, end), abs=0.5)
    assert walk.measures["speed_m_s"] == pytest.approx(truth.speed_m_s, rel=0.15)
    assert walk.measures["distance_m"] == pytest.approx(truth.distance_m, rel=0.1)
    assert f"From {walk.start_s:.1f} s" in caption.detailed
    assert caption.by_part()["body"].startswith("The person walks forward")


def test_captions_do_not_depend_on_size_rate_or_heading(tmp_path: Path) -> None:
    plain = caption_motion(rendered(tmp_path / "t.bvh", "wave"))
    for options in ({"fps": 120}, {"heading_deg": 135}, {"up_axis": "z"}):
        assert caption_motion(rendered(tmp_path / "o.bvh", "wave", **options)).brief == plain.brief


def test_gaps_do_not_stop_a_caption(tmp_path: Path) -> None:
    motion = rendered(tmp_path / "t.bvh", "walk", defect="nan")
    assert "walks forward" in caption_motion(motion).brief


@pytest.mark.parametrize("action", ["walk", "run", "jump", "squat", "wave", "kick"])
def test_rest_at_both_ends_is_trimmed(tmp_path: Path, action: str) -> None:
    truth = render_take(tmp_path / "t.bvh", action, seconds=8, rest_s=2)
    signals = motion_signals(read_motion(truth.path).motion)
    start, end = trim_rest(signals, 30)
    assert start > 30
    assert end < truth.frames - 30
    assert start <= truth.span[0] + 45
    assert end >= truth.span[1] - 45


def test_a_calibration_pose_is_trimmed(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=4, defect="t_pose_start")
    assert trim_rest(motion_signals(read_motion(truth.path).motion), 30)[0] == truth.defect_span[1]


def test_a_take_is_cut_where_the_activity_changes(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=8, rest_s=2)
    signals = motion_signals(read_motion(truth.path).motion)
    found = segments(signals, 30)
    assert [segment.kind for segment in found] == ["rest", "active", "rest"]
    assert (found[1].start, found[1].end) == pytest.approx(truth.span, abs=15)
    assert (found[0].starts_with, found[2].ends_with) == ("take start", "take end")
    assert [segment.start for segment in found[1:]] == [segment.end for segment in found[:-1]]
    split = segments(signals, 30, options=BoundaryOptions(max_s=1.5))
    assert max(segment.end - segment.start for segment in split) <= 45
    with pytest.raises(UsageError, match="outside"):
        segments(signals, 30, 5, 5)


def test_a_cycle_has_its_period(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=6)
    found = cycle(motion_signals(read_motion(truth.path).motion), 30)
    assert found.period_s == pytest.approx(2 * 6 / truth.count, rel=0.12)
    still = render_take(tmp_path / "t.bvh", "stand", seconds=4)
    assert cycle(motion_signals(read_motion(still.path).motion), 30) is None


def test_windows_leave_the_rest_out() -> None:
    assert fixed_windows(10, 100, 30, 1.0) == [(10, 40), (40, 70), (70, 100)]
    assert fixed_windows(0, 75, 30, 1.0, 0.5) == [(0, 30), (15, 45), (30, 60), (45, 75)]
    with pytest.raises(UsageError, match="windows"):
        fixed_windows(0, 10, 30, 0.0)


@pytest.mark.parametrize("rig", ["mixamo", "smpl", "cmu"])
def test_a_mirror_is_a_reflection(tmp_path: Path, rig: str) -> None:
    motion = rendered(tmp_path / "t.bvh", "kick", rig=rig, seconds=2)
    partners = mirror_partners(motion.skeleton)
    mirrored = apply(motion, [Mirror()])
    np.testing.assert_allclose(mirrored.joints, motion.joints[:, partners] * [-1, 1, 1], atol=1e-12)
    np.testing.assert_allclose(apply(mirrored, [Mirror()]).joints, motion.joints, atol=1e-12)
    assert np.count_nonzero(partners != np.arange(len(partners))) == 16


def test_views_are_recorded_and_applied_in_order(tmp_path: Path) -> None:
    motion = rendered(tmp_path / "t.bvh", "walk", seconds=2)
    view = [Mirror(), Heading(90), Speed(1.5)]
    assert transforms_from_json(transforms_to_json(view)) == view
    out = apply(motion, view)
    assert out.fps == 45
    mirrored = apply(motion, [Mirror()]).joints
    np.testing.assert_allclose(out.joints[..., 0], mirrored[..., 2], atol=1e-12)
    np.testing.assert_allclose(out.joints[..., 1], mirrored[..., 1], atol=1e-12)
    with pytest.raises(UsageError, match="mirro"):
        transforms_from_json('[{"kind": "mirro"}]')
    with pytest.raises(UsageError, match="speed factor 0"):
        transforms_from_json('[{"kind": "speed", "factor": 0}]')


def test_external_labels_keep_their_source_and_spans(tmp_path: Path) -> None:
    humanml = tmp_path / "000001.txt"
    humanml.write_text("a man #1 kicks.#a/DET man/NOUN#0.0#0.0\nhe sits#he/PRON#1.5#3.0\n")
    first, second = read_labels(humanml)
    assert (first.text, first.start_s, first.end_s) == ("a man #1 kicks.", None, None)
    assert (second.text, second.start_s, second.end_s) == ("he sits", 1.5, 3.0)
    babel = tmp_path / "babel.json"
    segment = {"proc_label": "walk", "start_t": 0.5, "end_t": 2}
    entry = {"feat_p": "a/b.npz", "seq_ann": None, "frame_ann": {"labels": [segment]}}
    babel.write_text(json.dumps({"1": entry}))
    (label,) = read_labels(babel)
    assert (label.text, label.kind, label.take, label.end_s) == ("walk", "action", "a/b.npz", 2.0)
    table = tmp_path / "labels.csv"
    table.write_text("text,start_s,end_s\nwaves,0,1.25\nbows,,\n")
    assert [label.end_s for label in read_labels(table)] == [1.25, None]
    plain = tmp_path / "labels.json"
    plain.write_text('[{"text": "jumps", "start": 1, "end": 2}]')
    assert read_labels(plain)[0].source == "json:labels.json"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "no fields\n", "line 1"),
        ("a.csv", "label,start\nwalk,0\n", "line 1"),
        ("a.csv", "text,start_s\nwalk,soon\n", "line 2"),
        ("a.json", "[{", "line 1"),
        ("a.json", '[{"start": 1}]', "without 'text'"),
    ],
)
def test_broken_labels_name_their_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(MocapFileError, match=words):
        read_labels(tmp_path / name)


def test_motions_are_drawn_as_sheet_loop_and_film(tmp_path: Path) -> None:
    motion = rendered(tmp_path / "t.bvh", "wave", seconds=2, fps=120)
    with Image.open(draw_motion(motion, tmp_path / "t.png", size=256)) as sheet:
        assert sheet.size == (4 * 262 + 6, 2 * 262 + 6)
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 20)}
        assert {(217, 115, 13), (36, 104, 201), (48, 54, 61)} <= colours
    with Image.open(draw_motion(motion, tmp_path / "t.gif", size=96)) as loop:
        assert (loop.n_frames, loop.info["duration"]) == (50, 40)
    with av.open(str(draw_motion(motion, tmp_path / "t.mp4", size=96))) as film:
        assert film.streams.video[0].average_rate == Fraction(30)
        assert sum(1 for _ in film.decode(video=0)) == 60
    with pytest.raises(UsageError, match="webp"):
        draw_motion(motion, tmp_path / "t.webp")


def test_real_labelled_takes_are_named(shared_data: Path) -> None:
    folder = shared_data / "mocap" / "bandai"
    named = {}
    for path in sorted(folder.glob("*.bvh")):
        table = folder / f"{path.name[:9]}_content_label.txt"
        (label,) = read_label_ids(path.with_suffix(".json"), {"content": table})
        caption = caption_motion(read_motion(path).motion)
        named[path.name] = SHOWN_BY[label.text] in caption.brief
    assert len(named) == 11
    assert sum(named.values()) >= 0.9 * len(named), named


def test_real_takes_swap_sides_in_a_mirror(shared_data: Path) -> None:
    for name in ("bandai/dataset-1_kick_normal_001.bvh", "cmu_11_01.amc", "freebvh.bvh"):
        motion = read_motion(shared_data / "mocap" / name).motion
        mirrored = caption_motion(apply(motion, [Mirror()]))
        assert mirrored.detailed == mirrored_text(caption_motion(motion).detailed)
