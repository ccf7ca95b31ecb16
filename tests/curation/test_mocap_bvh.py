"""BVH: what valid files may look like, what broken ones are told, and who is right on positions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from catalogs.testing import render_take
from curation.mocap.bvh import parse_bvh
from curation.mocap.numerals import parse_numbers
from curation.mocap.problems import MocapFileError
from curation.mocap.rates import fps_from_frame_time, fps_from_rate

HEAD = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Chest
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 0 5 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
"""
ROWS = "1 2 3 0 0 0 90 0 0\n1 2 3 0 0 90 0 0 0\n"


def parsed(text: str):
    return parse_bvh(text.encode())


def test_forward_kinematics_of_a_file_worked_out_by_hand() -> None:
    motion = parsed(HEAD + ROWS)
    np.testing.assert_allclose(motion.joints[0], [[1, 2, 3], [1, 12, 3]], atol=1e-12)
    np.testing.assert_allclose(motion.end_sites[0, 0], [-4, 12, 3], atol=1e-12)
    # a quarter turn of the root about x brings +y to +z
    np.testing.assert_allclose(motion.joints[1, 1], [1, 2, 13], atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("  ", "\t"),
        lambda text: text.replace("1 2 3", "1.0e0 +2 3.00E+00"),
        lambda text: text.replace("90 0 0", "90\n0 0"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
        lambda text: "\ufeff" + text,
        lambda text: text.replace("{", "{ ").replace("ROOT Hips\n{", "ROOT Hips {"),
        lambda text: text.replace("Frame Time:", "Frame Time:\t"),
        lambda text: text.replace("End Site", "End site"),
    ],
)
def test_the_same_file_written_another_way_is_the_same_motion(change) -> None:
    plain, other = parsed(HEAD + ROWS), parsed(change(HEAD + ROWS))
    np.testing.assert_array_equal(plain.joints, other.joints)
    assert other.fps == 30


def test_channels_apply_in_the_order_of_the_file() -> None:
    turned = HEAD.replace("CHANNELS 3 Zrotation Yrotation", "CHANNELS 3 Xrotation Yrotation")
    turned = turned.replace("Yrotation Xrotation\n    End", "Yrotation Zrotation\n    End")
    motion = parsed(turned + "0 0 0 0 0 0 90 0 90\n" * 2)
    # Rx(90) Rz(90) sends the tip's +y to -x and leaves it there
    np.testing.assert_allclose(motion.end_sites[0, 0], [-5, 10, 0], atol=1e-12)


def test_positions_on_a_joint_replace_its_offset() -> None:
    moving = HEAD.replace("CHANNELS 3 Z", "CHANNELS 6 Xposition Yposition Zposition Z")
    motion = parsed(moving + "0 0 0 0 0 0 4 5 6 0 0 0\n" * 2)
    np.testing.assert_allclose(motion.joints[0, 1], [4, 5, 6], atol=1e-12)


def test_several_roots_keep_their_own_paths() -> None:
    body = HEAD[HEAD.index("ROOT") : HEAD.index("MOTION")]
    two = HEAD.replace("MOTION", body.replace("Hips", "Prop").replace("Chest", "Tip") + "MOTION")
    motion = parsed(two + ("1 2 3 0 0 0 0 0 0 " + "7 8 9 0 0 0 0 0 0\n") * 2)
    assert motion.skeleton.names == ("Hips", "Chest", "Prop", "Tip")
    np.testing.assert_allclose(motion.joints[0], [[1, 2, 3], [1, 12, 3], [7, 8, 9], [7, 18, 9]])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEAD + "1 2 3 0 0 0 90 0 0\n1 2 3 0 0\n", 20, "5 values"),
        (HEAD + "1 2 3 0 0 0 90 0 0\n", 19, "after 1 frames"),
        (HEAD + ROWS.replace("90", "9o"), 19, "'9o'"),
        (HEAD.replace("0 10 0", "0 ten 0") + ROWS, 8, "'ten'"),
        (
            HEAD.replace("Yrotation Xrotation\n  J", "Yrotation Wrotation\n  J") + ROWS,
            5,
            "Wrotation",
        ),
        (HEAD.replace("OFFSET 0 5 0\n    }", "OFFSET 0 5 0\n") + ROWS, 15, "'}'"),
        (HEAD.replace("0.0333333", "0") + ROWS, 18, "impossible"),
        (HEAD.replace("Frames: 2", "Frames: two") + ROWS, 17, "'two'"),
        (HEAD[: HEAD.index("MOTION")], 16, "no MOTION"),
        (HEAD.replace("OFFSET 0 10", "WEIGHT 0 10") + ROWS, 8, "'WEIGHT'"),
    ],
)
def test_a_broken_file_names_the_line_and_the_token(text: str, line: int, words: str) -> None:
    with pytest.raises(MocapFileError) as caught:
        parsed(text)
    assert caught.value.problem.startswith(f"line {line}:")
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        ("0.0333333", 30),
        (".03333", 30),
        ("0.033333", 30),
        ("0.0083333", 120),
        (".0083333", 120),
        ("0.008333", 120),
        ("8.3333e-3", 120),
        ("0.0416667", 24),
        ("0.0416666", 24),
        ("0.04", 25),
        ("0.01", 100),
        ("0.016667", 60),
        ("0.05", 20),
        ("0.0417083750417", Fraction(2997, 125)),
        ("0.041708333333", Fraction(24000, 1001)),
        ("0.0333666666667", Fraction(30000, 1001)),
        ("0.00834167", Fraction(120000, 1001)),
        ("0.033333335", 30),
    ],
)
def test_rounded_frame_times_give_the_exact_rate(text: str, fps: Fraction) -> None:
    assert fps_from_frame_time(text) == fps


def test_float_rates_give_the_exact_rate() -> None:
    assert fps_from_rate(29.97) == Fraction(30000, 1001)
    assert fps_from_rate(59.94005994) == Fraction(60000, 1001)
    assert fps_from_rate(120.0) == 120
    assert fps_from_rate(12.5) == Fraction(25, 2)


def test_fast_numbers_equal_python_floats_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for decimals in (1, 4, 6, 8):
        values = rng.normal(scale=10.0 ** rng.integers(-3, 5, 3000), size=3000)
        text = "\n".join(f"{value:.{decimals}f}" for value in values)
        np.testing.assert_array_equal(
            parse_numbers(text.encode()), [float(word) for word in text.split()]
        )


@pytest.mark.parametrize(
    "text",
    ["1.5 2.25\t-3.125", ".5 -.5 5. 0.0", "1.123456789012 2.0", "123456789012.5 1.0", "1 2.5 3"],
)
def test_unusual_decimals_are_read_as_python_does(text: str) -> None:
    np.testing.assert_array_equal(
        parse_numbers(text.encode()), [float(word) for word in text.split()]
    )


def test_long_blocks_are_read_in_order_and_know_their_lines() -> None:
    rows = np.arange(60_000.0)[:, None] + np.arange(8) / 8
    lines = [" ".join(f"{value:.3f}" for value in row) for row in rows.tolist()]
    text = "\n".join(lines).encode()
    np.testing.assert_array_equal(parse_numbers(text), rows.ravel())
    lines[54_321] = lines[54_321].replace(".125", ".l25")
    with pytest.raises(MocapFileError, match="line 54322: value 2"):
        parse_numbers("\n".join(lines).encode())


@pytest.mark.parametrize("bad", ["1.2.3", "1-2.5", "--1.0", "1.5x", "1/5.0", "."])
def test_nothing_that_only_looks_like_a_decimal_is_read(bad: str) -> None:
    with pytest.raises(MocapFileError, match="line 2: value 1"):
        parse_numbers(f"1.0\n{bad}\n2.0\n".encode())


@pytest.mark.parametrize("rig", ["mixamo", "smpl", "cmu"])
@pytest.mark.parametrize("order", ["ZXY", "XYZ"])
def test_rendered_takes_come_back_where_they_were(tmp_path: Path, rig: str, order: str) -> None:
    truth = render_take(tmp_path / "take.bvh", "walk", seconds=2, rig=rig, channel_order=order)
    motion = parse_bvh(truth.path.read_bytes())
    columns = [motion.skeleton.names.index(name) for name in truth.joint_names]
    np.testing.assert_allclose(motion.joints[:, columns] / 100, truth.joints, atol=1e-5)
    assert motion.fps == truth.fps
