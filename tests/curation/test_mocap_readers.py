"""Every format through the one door: rates, units, axes, bodies, and files that are none."""

from __future__ import annotations

import copy
import json
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import UsageError
from catalogs.testing import render_take
from curation.mocap.amass import NEUTRAL, neutral_skeleton
from curation.mocap.amc import parse_amc, parse_asf
from curation.mocap.mapping import body_joints
from curation.mocap.problems import MocapFileError
from curation.mocap.read import is_mocap, read_motion
from curation.mocap.take import Overrides

ASF = """:version 1.10
:units
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name thigh
    direction 0 -1 0
    length 9
    axis 0 0 90 XYZ
    dof rx
  end
  begin
    id 2
    name shin
    direction 0 -1 0
    length 9
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = ":FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 18 0 0 0 0\nthigh 90\n2\nroot 0 18 1 0 0 0\nthigh 0\n"
TOLERANCE_M = 1e-4


@pytest.mark.parametrize("unit", ["m", "cm", "mm", "inch"])
@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_unit_and_up_axis_are_found(tmp_path: Path, unit: str, up_axis: str) -> None:
    truth = render_take(
        tmp_path / "t.bvh", "walk", seconds=2, unit=unit, up_axis=up_axis, fps=Fraction(30)
    )
    take = read_motion(truth.path)
    found = take.conventions
    assert (found.unit.value, found.up_axis.value) == (unit, up_axis)
    assert found.handedness.value == "right"
    assert min(found.unit.confidence, found.up_axis.confidence) > 0.8
    assert found.stature_m == pytest.approx(1.7, abs=0.12)
    np.testing.assert_allclose(body_joints(take.motion), truth.joints, atol=TOLERANCE_M)


def test_a_source_row_holds_what_the_catalog_asks(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "run", seconds=2, fps=Fraction(30000, 1001))
    row = read_motion(truth.path).source_row()
    assert (row["kind"], row["container"], row["frames"]) == ("mocap", "bvh", truth.frames)
    assert (row["fps_num"], row["fps_den"]) == (30000, 1001)
    assert (row["time_base_num"], row["time_base_den"]) == (1001, 30000)
    assert row["end_pts"] == truth.frames
    assert row["joints"] == 22
    assert json.loads(row["meta"])["conventions"]["unit"]["confidence"] > 0.8


def test_a_recipe_overrides_what_was_detected(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=2)
    chosen = Overrides.from_recipe({"fps": "60", "unit": "m", "handedness": "left"})
    take = read_motion(truth.path, chosen)
    assert take.motion.fps == 60
    assert take.conventions.unit.source == "override"
    expected = truth.joints * np.array([-100, 100, 100])
    np.testing.assert_allclose(body_joints(take.motion), expected, atol=100 * TOLERANCE_M)
    with pytest.raises(UsageError, match="up_axis"):
        Overrides.from_recipe({"upaxis": "z"})


def test_travel_on_a_child_of_the_root_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "child.bvh"
    truth = render_take(path, "walk", seconds=2)
    wrapped = "ROOT Reference\n{\nOFFSET 0 0 0\nCHANNELS 0\nJOINT "
    text = path.read_text().replace("ROOT ", wrapped)
    path.write_text(text.replace("MOTION", "}\nMOTION"))
    take = read_motion(path)
    assert take.conventions.travel_joint.value.endswith("Hips")
    np.testing.assert_allclose(body_joints(take.motion), truth.joints, atol=TOLERANCE_M)


def test_swapped_sides_are_reported_and_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "t.bvh"
    truth = render_take(path, "walk", seconds=2)
    text = path.read_text().replace("Left", "#").replace("Right", "Left").replace("#", "Right")
    path.write_text(text)
    take = read_motion(path)
    assert take.conventions.handedness.value == "left"
    assert any("left" in note for note in take.notes)
    assert body_joints(take.motion)[0, 2] == pytest.approx(truth.joints[0, 1], abs=TOLERANCE_M)


def test_acclaim_bones_turn_in_their_own_axes(tmp_path: Path) -> None:
    acclaim = parse_asf(ASF)
    motion = parse_amc(AMC.encode(), acclaim)
    assert acclaim.metres_per_unit == pytest.approx(0.0254 / 0.45)
    # the thigh's axis frame is turned by 90 degrees about z: its own x is the world's y, about
    # which a bone that hangs along y does not move
    np.testing.assert_allclose(motion.joints[0], [[0, 18, 0], [0, 18, 0], [0, 9, 0]], atol=1e-9)
    np.testing.assert_allclose(motion.end_sites[0], [[0, 0, 0]], atol=1e-9)
    (tmp_path / "11.asf").write_text(ASF)
    (tmp_path / "11_01.amc").write_text(AMC)
    take = read_motion(tmp_path / "11_01.amc")
    assert take.motion.fps == 120
    assert take.motion.joints[1, 0, 1] == pytest.approx(18 * 0.0254 / 0.45)
    with pytest.raises(MocapFileError, match="without motion"):
        read_motion(tmp_path / "11.asf")


@pytest.mark.parametrize(
    ("amc", "words"),
    [
        (AMC.replace("thigh 0\n", ""), "frame 2"),
        (AMC.replace("thigh 90", "thigh ninety"), "line 5: 'ninety'"),
        (AMC.replace("thigh 90", "thigh 90 1"), "line 5: 2 values"),
        (AMC.replace("thigh", "wing"), "line 5: bone 'wing'"),
    ],
)
def test_a_broken_amc_names_its_line(amc: str, words: str) -> None:
    with pytest.raises(MocapFileError, match=words):
        parse_amc(amc.encode(), parse_asf(ASF))


@pytest.mark.parametrize(("width", "joints"), [(66, 22), (72, 24), (156, 52), (165, 55)])
def test_amass_poses_turn_the_documented_body(tmp_path: Path, width: int, joints: int) -> None:
    poses = np.zeros((3, width))
    poses[:, 0] = np.pi / 2  # z up, as AMASS has it: standing means a quarter turn about x
    path = tmp_path / "a.npz"
    np.savez(path, poses=poses, trans=np.zeros((3, 3)), mocap_framerate=120.0, gender="neutral")
    take = read_motion(path)
    assert (take.format, len(take.motion.skeleton), take.motion.fps) == ("amass", joints, 120)
    assert take.conventions.up_axis.value == "z"
    assert take.conventions.stature_m == pytest.approx(1.7, abs=0.05)
    knee = take.motion.joints[0, 4] - take.motion.joints[0, 1]
    np.testing.assert_allclose(knee, NEUTRAL["left_knee"], atol=1e-9)


def test_a_body_model_gives_the_rest_joints(tmp_path: Path) -> None:
    rest = np.cumsum(np.ones((52, 3)) * 0.01, axis=0)
    model = tmp_path / "model.npz"
    np.savez(model, J_regressor=np.eye(52), v_template=rest, shapedirs=np.ones((52, 3, 16)))
    path = tmp_path / "a.npz"
    np.savez(
        path, poses=np.zeros((2, 156)), trans=np.zeros((2, 3)), mocap_framerate=60.0,
        betas=np.full(16, 0.001),
    )  # fmt: skip
    take = read_motion(path, Overrides(body_model=model, up_axis="y"))
    np.testing.assert_allclose(take.motion.joints[0], rest + 0.016, atol=1e-9)


def test_arrays_are_told_by_their_shape(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "j.npy", "walk", seconds=2)
    take = read_motion(tmp_path / "j.npy")
    assert (take.rig, take.motion.fps) == ("smpl", 20)
    np.testing.assert_allclose(take.motion.joints, truth.joints, atol=TOLERANCE_M)
    np.savez(tmp_path / "j.npz", joints=truth.joints)
    assert len(read_motion(tmp_path / "j.npz").motion) == truth.frames
    np.save(tmp_path / "odd.npy", np.zeros((7, 4)))
    with pytest.raises(MocapFileError, match=r"\(7, 4\)"):
        read_motion(tmp_path / "odd.npy")


def test_ntu_people_are_told_apart_and_padding_is_no_motion(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = np.zeros((3, 20, 25, 2), np.float32)
    array[:, :12, :, 0] = rng.normal(size=(3, 12, 25))
    array[:, :15, :, 1] = rng.normal(size=(3, 15, 25))
    array[:, 4, :, 1] = 0
    np.save(tmp_path / "ntu.npy", array)
    first, second = (read_motion(tmp_path / "ntu.npy", Overrides(person=i)) for i in (0, 1))
    assert (len(first.motion), len(second.motion), first.people) == (15, 12, 2)
    assert np.isnan(first.motion.joints[4]).all()
    assert first.motion.skeleton.names[3] == "Neck"
    with pytest.raises(MocapFileError, match="person 2 of 2"):
        read_motion(tmp_path / "ntu.npy", Overrides(person=2))


def test_deepmimic_rows_become_joints(tmp_path: Path) -> None:
    row = [0.033332, 0, 0.85, 0, 1, 0, 0, 0]
    row += [1, 0, 0, 0] * 3 + [-np.pi / 2] + [1, 0, 0, 0] * 2 + [0.0]
    row += [1, 0, 0, 0] + [0.0] + [1, 0, 0, 0] * 2 + [0.0]
    path = tmp_path / "m.txt"
    path.write_text(json.dumps({"Loop": "wrap", "Frames": [row, row]}))
    take = read_motion(path)
    names = take.motion.skeleton.names
    ankle = take.motion.joints[0, names.index("right_ankle")]
    # a bent knee swings the shin backwards: the character faces +x
    np.testing.assert_allclose(ankle, [-0.40987, 0.85 - 0.421546, 0.084887], atol=1e-6)
    assert take.motion.fps == 30
    assert is_mocap(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.bvh", b"", "empty"),
        ("pointer.npy", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "line 1"),
        ("noise.bvh", b"\x00\x01\x02\x03" * 10, "line 1"),
        ("cut.npz", b"PK\x03\x04" + b"\x00" * 50, "npz"),
        ("cut.npy", b"\x93NUMPY\x01\x00", "npy"),
        ("cut.c3d", b"\x02\x50" + b"\x00" * 600, ""),
        ("label.json", b'{"content": 1}', "Frames"),
        ("broken.txt", b'{"Frames": [[1, 2', "line 1"),
    ],
)
def test_a_bad_file_says_why_and_its_error_survives_a_process_border(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MocapFileError) as caught:
        read_motion(tmp_path / name)
    assert words in caught.value.problem
    assert str(copy.copy(caught.value)) == str(caught.value)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(MocapFileError, match="pickle"):
        read_motion(tmp_path / "p.npy")


def test_labels_beside_motions_are_not_motions(tmp_path: Path) -> None:
    (tmp_path / "label.json").write_text('{"content": 6}')
    (tmp_path / "list.txt").write_text("000001\n")
    (tmp_path / "cut.bvh").write_bytes(b"")
    found = {path.name for path in tmp_path.iterdir() if is_mocap(path)}
    assert found == {"cut.bvh"}


def test_the_documented_body_is_symmetric() -> None:
    skeleton = neutral_skeleton("smplx")
    for name, offset in zip(skeleton.names, skeleton.offsets, strict=True):
        if name.startswith("left_"):
            twin = skeleton.offsets[skeleton.index(name.replace("left_", "right_"))]
            np.testing.assert_allclose(twin, offset * [-1, 1, 1])


def test_no_damage_lets_anything_but_a_named_error_out(tmp_path: Path) -> None:
    rng = random.Random(0)
    originals = [
        render_take(tmp_path / name, "walk", seconds=1.5).path for name in ("t.bvh", "t.npy")
    ]
    outcomes = set()
    for round_ in range(120):
        original = originals[round_ % 2]
        data = bytearray(original.read_bytes())
        if round_ % 3:
            for _ in range(rng.choice((1, 5, 40))):
                data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            del data[rng.randrange(len(data)) :]
        damaged = tmp_path / f"damaged{original.suffix}"
        damaged.write_bytes(data)
        try:
            outcomes.add(len(read_motion(damaged).motion) > 1)
        except MocapFileError as error:
            outcomes.add(error.problem[:4])
    assert {True, "line"} <= outcomes
