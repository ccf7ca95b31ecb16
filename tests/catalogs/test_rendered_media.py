"""The rendered test media hold what their truth says.

Footage is decoded with PyAV and measured; takes are read by a small BVH reader of this file, which
shares nothing with the writer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from catalogs.errors import NotFoundError, UsageError
from catalogs.testing import (
    ACTIONS,
    DEFECTS,
    SHOT_KINDS,
    CorpusTruth,
    Dissolve,
    Fade,
    Shot,
    TakeTruth,
    VideoTruth,
    corrupt_bytes,
    playlist_disguised,
    render_copy,
    render_long_video,
    render_many,
    render_take,
    render_video,
    truncate_file,
    write_bvh,
    zero_byte,
)

# ---------------------------------------------------------------- footage


@dataclass
class Decoded:
    pictures: np.ndarray
    """(frames, height, width, 3) RGB as stored."""
    pts: list[int]
    time_base: Fraction
    rotation: int


def decode(path: Path) -> Decoded:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return Decoded(
            np.stack([frame.to_ndarray(format="rgb24") for frame in frames]),
            [frame.pts for frame in frames],
            stream.time_base,
            frames[0].rotation,
        )


def changes(pictures: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame to the one before; 0 for the first."""
    moved = np.abs(np.diff(pictures.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    return np.concatenate([[0.0], moved])


def luma(pictures: np.ndarray) -> np.ndarray:
    return pictures.mean(axis=(1, 2, 3))


def shift_between(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Phase correlation: how far the content moved right and down."""
    spectra = [np.fft.fft2(picture.mean(axis=-1)) for picture in (before, after)]
    cross = spectra[1] * np.conj(spectra[0])
    peak = np.fft.ifft2(cross / (np.abs(cross) + 1e-9)).real
    row, column = np.unravel_index(peak.argmax(), peak.shape)
    height, width = peak.shape
    return (column + width // 2) % width - width // 2, (row + height // 2) % height - height // 2


EDITED = [
    Shot("pan_left", 20, seed=1),
    Shot("moving_shapes", 18, seed=2),
    Shot("shake", 30, seed=3, transition=Dissolve(11)),
    Shot("flash", 24, seed=4),
    Shot("zoom_out", 24, seed=5, ending=Fade(8)),
    Shot("still", 24, seed=6, transition=Fade(8)),
]


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoTruth, Decoded]:
    truth = render_video(tmp_path_factory.mktemp("edited") / "edited.mp4", EDITED)
    return truth, decode(truth.path)


def test_an_edit_has_the_boundaries_that_were_asked_for(edited) -> None:
    truth, _ = edited
    assert truth.cuts == [20, 68, 92]
    assert truth.dissolves == [(38, 48)]
    assert truth.fades == [("fade_out", 108, 115), ("fade_in", 116, 123)]
    assert truth.flashes == [79, 80]
    assert [(edge.kind, edge.frame) for edge in truth.boundaries] == [
        ("cut", 20),
        ("dissolve", 38),
        ("cut", 68),
        ("cut", 92),
        ("fade_out", 108),
        ("fade_in", 116),
    ]


def test_decoded_frames_and_times_are_those_of_the_truth(edited) -> None:
    truth, decoded = edited
    assert decoded.pictures.shape == (truth.frames, 180, 320, 3)
    assert decoded.pts == truth.pts
    assert decoded.time_base == truth.time_base
    assert truth.seconds == [Fraction(frame, 24) for frame in range(140)]


def test_pictures_jump_at_cuts_and_flashes_and_nowhere_else(edited) -> None:
    truth, decoded = edited
    jumps = set(np.flatnonzero(changes(decoded.pictures) > 25).tolist())
    around_flash = {truth.flashes[0], truth.flashes[-1] + 1}
    assert jumps == set(truth.cuts) | around_flash


def test_flash_frames_are_bright(edited) -> None:
    truth, decoded = edited
    bright = np.flatnonzero(luma(decoded.pictures) > 210)
    assert bright.tolist() == truth.flashes


def test_dissolve_frames_are_mixes_of_both_shots(edited, tmp_path: Path) -> None:
    truth, decoded = edited
    first, last = truth.dissolves[0]
    out = decode(render_video(tmp_path / "out.mp4", [Shot("moving_shapes", 29, seed=2)]).path)
    into = decode(render_video(tmp_path / "in.mp4", [Shot("shake", 30, seed=3)]).path)
    for step, frame in enumerate(range(first, last + 1)):
        share = (step + 1) / 12
        mix = (1 - share) * out.pictures[18 + step] + share * into.pictures[step]
        assert np.abs(mix - decoded.pictures[frame]).mean() < 4


def test_fades_run_to_black_and_back(edited) -> None:
    truth, decoded = edited
    level = luma(decoded.pictures)
    (_, first, last), (_, rise, risen) = truth.fades
    assert (np.diff(level[first - 1 : last + 1]) < 0).all()
    assert (np.diff(level[rise : risen + 2]) > 0).all()
    assert level[last] < 3
    assert level[rise] < 3


def test_shots_that_meet_in_the_same_flat_colour_have_no_cut(tmp_path: Path) -> None:
    shots = [
        Shot("black", 4),
        Shot("still", 8, transition=Fade(4)),
        Shot("black", 4),
        Shot("still", 8, seed=1, transition=Fade(4, "white")),
    ]
    truth = render_video(tmp_path / "flat.mp4", shots, size=(64, 48))
    assert truth.cuts == [12, 16]


@pytest.mark.parametrize("kind", ["pan_left", "pan_right", "tilt_up", "tilt_down"])
def test_camera_travel_is_the_stated_pixels_per_frame(kind: str, tmp_path: Path) -> None:
    truth = render_video(tmp_path / "travel.mp4", [Shot(kind, 6, seed=7)])
    pictures = decode(truth.path).pictures
    params = truth.shots[0].params
    assert {"pan_left": -3, "pan_right": 3}.get(kind, 0) == params["pan_x_px"]
    assert {"tilt_up": -3, "tilt_down": 3}.get(kind, 0) == params["pan_y_px"]
    for before, after in pairwise(pictures):
        assert shift_between(before, after) == (-params["pan_x_px"], -params["pan_y_px"])


@pytest.mark.parametrize("kind", ["zoom_in", "zoom_out"])
def test_zoom_magnifies_by_the_stated_factor(kind: str, tmp_path: Path) -> None:
    truth = render_video(tmp_path / "zoom.mp4", [Shot(kind, 31, seed=8)])
    pictures = decode(truth.path).pictures
    factor = truth.shots[0].params["zoom_per_frame"] ** 30
    assert (factor > 1.1) == (kind == "zoom_in")
    wide, near = (pictures[0], pictures[30]) if factor > 1 else (pictures[30], pictures[0])
    grown = max(factor, 1 / factor)
    box = (160 - 160 / grown, 90 - 90 / grown, 160 + 160 / grown, 90 + 90 / grown)
    enlarged = Image.fromarray(wide).resize((320, 180), Image.Resampling.BILINEAR, box)
    error = np.abs(np.asarray(enlarged, dtype=np.int16) - near).mean()
    assert error < 6
    assert error < np.abs(wide.astype(np.int16) - near).mean() / 3


def test_roll_turns_by_the_stated_angle(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "roll.mp4", [Shot("roll", 21, seed=9)])
    first, last = decode(truth.path).pictures[[0, 20]]
    degrees = truth.shots[0].params["roll_deg_per_frame"] * 20
    errors = {
        turn: np.abs(
            np.asarray(Image.fromarray(first).rotate(turn, Image.Resampling.BILINEAR))[
                50:130, 120:200
            ].astype(np.int16)
            - last[50:130, 120:200]
        ).mean()
        for turn in (-degrees, 0, degrees)
    }
    assert min(errors, key=lambda turn: errors[turn]) == degrees
    assert errors[degrees] < 6


def test_every_kind_renders_and_seeds_look_different(tmp_path: Path) -> None:
    for kind in SHOT_KINDS:
        shots = [Shot(kind, 3, seed=seed) for seed in (0, 1)]
        truth = render_video(tmp_path / f"{kind}.mp4", shots, size=(128, 72))
        pictures = decode(truth.path).pictures
        assert len(pictures) == truth.frames == 6
        if kind not in ("black", "white"):
            assert changes(pictures)[3] > 4, kind


def test_static_kinds_stand_still_and_moving_kinds_move(tmp_path: Path) -> None:
    moved = {}
    for kind in ("slide_text", "still", "pan_left", "fast_motion", "noise"):
        truth = render_video(tmp_path / f"{kind}.mp4", [Shot(kind, 12, seed=3)])
        moved[kind] = changes(decode(truth.path).pictures)[1:].mean()
    assert moved["slide_text"] < 0.3
    assert moved["slide_text"] <= moved["still"] < 2 < moved["pan_left"] < moved["fast_motion"]
    assert moved["noise"] > 40


def test_text_and_bars_lie_where_the_truth_says(tmp_path: Path) -> None:
    shots = [Shot(kind, 8, seed=5) for kind in ("subtitle", "letterbox", "pillarbox")]
    truth = render_video(tmp_path / "boxes.mp4", shots, size=(640, 360))
    pictures = decode(truth.path).pictures
    left, top, right, bottom = truth.shots[0].params["text_box"]
    text = pictures[:8, top:bottom, left:right]
    white = (text > 225).all(axis=-1)
    assert top > 280
    assert white.mean() > 0.1
    assert (white[0] == white[7]).mean() > 0.95
    bar = truth.shots[1].params["bar_top_px"]
    assert pictures[8:16, : bar - 1].max() < 12
    assert pictures[8:16, bar + 2].mean() > 30
    bar = truth.shots[2].params["bar_side_px"]
    assert pictures[16:, :, : bar - 1].max() < 12
    assert pictures[16:, :, bar + 2].mean() > 30


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rates_keep_every_pts(suffix: str, tmp_path: Path) -> None:
    pts = [0, 3000, 9000, 12345, 20000, 30000, 31000, 50000, 60000, 70000]
    truth = render_video(tmp_path / f"vfr{suffix}", [Shot("pan_left", 10)], pts=pts)
    decoded = decode(truth.path)
    assert truth.is_vfr
    assert decoded.pts == truth.pts
    exact = [Fraction(tick, 90000) for tick in pts]
    off = [abs(found - asked) for found, asked in zip(truth.seconds, exact, strict=True)]
    assert max(off) <= (0 if suffix == ".mp4" else truth.time_base / 2)


@pytest.mark.parametrize("rotate_deg", [90, 180, 270])
def test_rotated_files_show_the_upright_picture(rotate_deg: int, tmp_path: Path) -> None:
    shots = [Shot("still", 2, seed=4)]
    upright = decode(render_video(tmp_path / "upright.mp4", shots).path)
    turned = decode(render_video(tmp_path / "turned.mp4", shots, rotate_deg=rotate_deg).path)
    assert turned.rotation % 360 == rotate_deg
    shown = np.rot90(turned.pictures[0], turned.rotation // 90)
    assert np.abs(shown.astype(np.int16) - upright.pictures[0]).mean() < 3


@pytest.mark.parametrize(("audio", "loud"), [("tone", True), ("silence", False)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_soundtracks(audio: str, loud: bool, suffix: str, tmp_path: Path) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = tmp_path / f"sound{suffix}"
    render_video(path, [Shot("black", 24)], size=(64, 48), codec=codec, audio=audio)
    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = np.concatenate(blocks, axis=-1)
    assert abs(samples.shape[-1] / 48000 - 1) < 0.06
    assert (np.sqrt((samples[..., 4800:-4800] ** 2).mean()) > 0.1) == loud


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.avi", "mpeg4"), ("a.mp4", "mpeg4"), ("a.mov", "libx265"), ("a.webm", "libvpx-vp9")],
)
def test_other_containers_and_codecs(name: str, codec: str, tmp_path: Path) -> None:
    shots = [Shot("pan_left", 6), Shot("still", 6, seed=1)]
    truth = render_video(tmp_path / name, shots, size=(128, 72), codec=codec)
    decoded = decode(truth.path)
    assert decoded.pts == truth.pts
    assert np.argmax(changes(decoded.pictures)) == truth.cuts[0]


def test_same_request_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    shots = [Shot("shake", 6), Shot("slide_text", 6, transition=Dissolve(3))]
    digests = [
        hashlib.sha256(
            render_video(tmp_path / name, shots, seed=seed, audio="tone").path.read_bytes()
        ).hexdigest()
        for name, seed in (("a.mp4", 0), ("b.mp4", 0), ("c.mp4", 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_video_truth_survives_json(edited) -> None:
    truth, _ = edited
    assert VideoTruth.from_json(truth.to_json()) == truth


def test_impossible_videos_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "never.mp4"
    with pytest.raises(UsageError, match=r"pan_lfet.*unknown"):
        Shot("pan_lfet", 10)
    with pytest.raises(UsageError, match="cannot hold 12"):
        Shot("still", 10, transition=Dissolve(12))
    with pytest.raises(UsageError, match="nothing to dissolve from"):
        render_video(path, [Shot("still", 10, transition=Dissolve(4))])
    with pytest.raises(UsageError, match="2 pts were given for 3 frames"):
        render_video(path, [Shot("still", 3)], pts=[0, 1])
    assert not path.exists()


# ---------------------------------------------------------------- copies and damage


def test_a_copy_is_the_same_footage_under_other_bytes(edited, tmp_path: Path) -> None:
    truth, decoded = edited
    copied = render_copy(truth, tmp_path / "copy.mp4", size=(160, 90), trim=(30, 90), logo=True)
    pictures = decode(copied.path)
    assert (copied.frames, copied.cuts, copied.dissolves) == (60, [38], [(8, 18)])
    assert pictures.pts == copied.pts
    assert pictures.pictures.shape[1:3] == (90, 160)
    original = decoded.pictures[30:90].reshape(60, 90, 2, 160, 2, 3).mean(axis=(2, 4))
    away = np.abs(original - pictures.pictures).mean(axis=(0, 3))
    assert away[30:].mean() < 8
    assert away[8:16, 142:150].mean() > 40


def test_a_gray_copy_of_a_path(edited, tmp_path: Path) -> None:
    truth, _ = edited
    copied = render_copy(truth.path, tmp_path / "gray.mkv", gray=True, trim=(0, 10))
    pictures = decode(copied.path).pictures.astype(np.int16)
    assert copied.frames == len(pictures) == 10
    assert copied.shots == []
    assert np.abs(pictures[..., 0] - pictures[..., 2]).mean() < 2


def test_damage(edited, tmp_path: Path) -> None:
    truth, decoded = edited
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(truncate_file(truth.path, tmp_path / "cut_off.mp4", 0.5)))
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(zero_byte(tmp_path / "empty.mp4")))
    damaged = corrupt_bytes(truth.path, tmp_path / "damaged.mp4", seed=1)
    assert damaged.stat().st_size == truth.path.stat().st_size
    seen, refused = decode_past_errors(damaged)
    hurt = [
        frame
        for pts, picture in seen
        for frame in [truth.pts.index(pts)]
        if np.abs(picture.astype(np.int16) - decoded.pictures[frame]).mean() > 1
    ]
    assert len(seen) > truth.frames / 2
    assert hurt or refused


def decode_past_errors(path: Path) -> tuple[list[tuple[int, np.ndarray]], int]:
    """Pts and pictures that a tolerant player shows, and how many packets it refused."""
    shown, refused = [], 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                refused += 1
                continue
            shown += [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in frames]
    return shown, refused


def test_a_matroska_file_cut_off_still_shows_its_beginning(tmp_path: Path) -> None:
    truth = render_video(tmp_path / "whole.mkv", [Shot("pan_left", 40)], gop=8)
    pictures = decode(truncate_file(truth.path, tmp_path / "part.mkv", 0.6)).pictures
    assert 5 < len(pictures) < 40


def test_disguised_playlists_lead_a_credulous_reader_elsewhere(tmp_path: Path) -> None:
    target = render_video(tmp_path / "secret.mp4", [Shot("still", 3)]).path
    playlist = playlist_disguised(tmp_path / "innocent.mp4", target.name, form="concat")
    with av.open(str(playlist), format="concat", options={"safe": "0"}) as container:
        assert len(list(container.decode(video=0))) == 3
    assert (
        playlist_disguised(tmp_path / "hls.mp4", "http://127.0.0.1/x")
        .read_text()
        .startswith("#EXTM3U")
    )


def test_a_long_video_repeats_its_segment_without_a_gap(tmp_path: Path) -> None:
    truth = render_long_video(tmp_path / "long.mp4", 0.5, size=(96, 54))
    decoded = decode(truth.path)
    assert truth.frames == 360
    assert decoded.pts == truth.pts
    assert np.flatnonzero(changes(decoded.pictures) > 25).tolist() == truth.cuts
    assert [path.name for path in tmp_path.iterdir()] == ["long.mp4"]


def test_many_files_are_tiny_distinct_and_readable(tmp_path: Path) -> None:
    paths = render_many(tmp_path / "many", 40)
    assert len({path.read_bytes() for path in paths}) == len(paths) == 40
    assert max(path.stat().st_size for path in paths) < 8000
    assert len(decode(paths[-1]).pictures) == 5


# ---------------------------------------------------------------- takes

PER_METRE = {"m": 1.0, "cm": 100.0, "mm": 1000.0, "inch": 1 / 0.0254}
SPINNERS = {
    "X": lambda c, s: [[1, 0, 0], [0, c, -s], [0, s, c]],
    "Y": lambda c, s: [[c, 0, s], [0, 1, 0], [-s, 0, c]],
    "Z": lambda c, s: [[c, -s, 0], [s, c, 0], [0, 0, 1]],
}
LEFT_TOE, RIGHT_TOE = 10, 11


def read_bvh(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """World positions (T, 3) by joint name in the file's unit and axes, and the frame time."""
    tokens = path.read_text().split()
    motion = tokens.index("MOTION")
    frames, frame_time = int(tokens[motion + 2]), float(tokens[motion + 5])
    values = np.array(tokens[motion + 6 :], dtype=float).reshape(frames, -1)
    positions: dict[str, np.ndarray] = {}
    stack: list[tuple[str, np.ndarray, np.ndarray]] = []
    place, column, name, offset = 0, 0, "", np.zeros(3)
    while place < motion:
        word = tokens[place]
        if word in ("ROOT", "JOINT", "End"):
            name = "" if word == "End" else tokens[place + 1]
            place += 1
        elif word == "OFFSET":
            offset = np.array(tokens[place + 1 : place + 4], dtype=float)
            if not name:
                stack.append(("", np.zeros((frames, 3)), np.eye(3)))
            place += 3
        elif word == "CHANNELS":
            count = int(tokens[place + 1])
            local, spin = np.tile(offset, (frames, 1)), np.tile(np.eye(3), (frames, 1, 1))
            for number, channel in enumerate(tokens[place + 2 : place + 2 + count]):
                data = values[:, column + number]
                if channel.endswith("position"):
                    local[:, "XYZ".index(channel[0])] = data
                else:
                    angle = np.radians(data)
                    turn = [SPINNERS[channel[0]](c, s) for c, s in zip(np.cos(angle),
                            np.sin(angle), strict=True)]  # fmt: skip
                    spin = spin @ np.array(turn)
            column, place = column + count, place + 1 + count
            if stack:
                _, at, turned = stack[-1]
                local = at + np.einsum("tij,tj->ti", turned, local)
                spin = turned @ spin
            positions[name] = local
            stack.append((name, local, spin))
        elif word == "}":
            stack.pop()
        place += 1
    return positions, frame_time


def joints_of(truth: TakeTruth) -> np.ndarray:
    """(T, 22, 3) metres, y up, out of the file."""
    positions, _ = read_bvh(truth.path)
    stacked = np.stack([positions[name] for name in truth.joint_names], axis=1)
    if truth.up_axis == "z":
        stacked = np.stack([stacked[..., 0], stacked[..., 2], -stacked[..., 1]], axis=-1)
    return stacked / PER_METRE[truth.unit]


def landings(truth: TakeTruth) -> int:
    return int((truth.contacts[1:] & ~truth.contacts[:-1]).sum())


def heading_deg(joints: np.ndarray) -> np.ndarray:
    """(T,) where the hips face, in degrees to the left of +z."""
    leftward = joints[:, 1] - joints[:, 2]
    return np.degrees(np.unwrap(np.arctan2(-leftward[:, 2], leftward[:, 0])))


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    limbs = [(1, 4), (2, 5), (4, 7), (5, 8), (7, 10), (8, 11), (16, 18), (17, 19), (18, 20)]
    return np.stack(
        [np.linalg.norm(joints[:, a] - joints[:, b], axis=-1) for a, b in limbs], axis=-1
    )


@pytest.mark.parametrize("action", ACTIONS)
def test_the_file_holds_the_joints_and_planted_feet_stay(action: str, tmp_path: Path) -> None:
    truth = render_take(tmp_path / "take.bvh", action, seed=3)
    joints = joints_of(truth)
    assert truth.frames == len(joints) == 120
    assert np.abs(joints - truth.joints).max() < 1e-4
    toes = joints[:, [LEFT_TOE, RIGHT_TOE]]
    moved = np.linalg.norm(np.diff(toes, axis=0), axis=-1)
    resting = truth.contacts[1:] & truth.contacts[:-1]
    assert resting.any()
    assert moved[resting].max() < 1e-4
    assert joints[..., 1].min() > 0
    assert np.ptp(bone_lengths(joints), axis=0).max() < 1e-4
    assert np.abs(np.diff(joints, axis=0)).max() < 0.35


@pytest.mark.parametrize(
    "options",
    [
        {"unit": "m", "channel_order": "XYZ", "rig": "smpl"},
        {"unit": "mm", "channel_order": "YZX", "up_axis": "z", "rig": "cmu"},
        {"unit": "inch", "channel_order": "ZYX", "fps": 120, "heading_deg": 135.0},
        {"unit": "cm", "channel_order": "XZY", "fps": Fraction(30000, 1001)},
    ],
)
def test_conventions_of_the_file(options: dict, tmp_path: Path) -> None:
    truth = render_take(tmp_path / "take.bvh", "raise_arm", seconds=2, **options)
    assert np.abs(joints_of(truth) - truth.joints).max() < 1e-4
    _, frame_time = read_bvh(truth.path)
    assert frame_time == pytest.approx(1 / float(truth.fps), abs=1e-8)


def test_people_have_adult_height(tmp_path: Path) -> None:
    for seed in range(4):
        joints = render_take(tmp_path / "stand.npy", "stand", seconds=1.5, seed=seed).joints
        assert 1.45 < np.ptp(joints[0, :, 1]) < 1.6


@pytest.mark.parametrize("rest_s", [0.0, 0.8])
@pytest.mark.parametrize("action", ["walk", "run"])
@pytest.mark.parametrize(
    ("direction", "axis"),
    [
        ("forward", (0, 0, 1)),
        ("backward", (0, 0, -1)),
        ("left", (1, 0, 0)),
        ("right", (-1, 0, 0)),
    ],
)
def test_travel(action: str, direction: str, axis: tuple, rest_s: float, tmp_path: Path) -> None:
    truth = render_take(tmp_path / "go.npy", action, direction=direction, rest_s=rest_s, seconds=5)
    assert truth.count == landings(truth)
    went = truth.joints[-1, 0] - truth.joints[0, 0]
    assert went @ axis == pytest.approx(truth.distance_m, abs=0.03)
    assert truth.speed_m_s * (5 - 1 / 30 - 2 * rest_s) == pytest.approx(truth.distance_m)
    flight = (~truth.contacts).all(axis=1).any()
    assert flight == (action == "run")
    if rest_s:
        still = np.abs(np.diff(truth.joints[:20], axis=0)).max()
        assert still < 0.004
        assert truth.contacts[:20].all()


@pytest.mark.parametrize("turn_deg", [90.0, -90.0, 180.0])
@pytest.mark.parametrize("action", ["turn", "walk"])
def test_turning_left_is_positive(action: str, turn_deg: float, tmp_path: Path) -> None:
    truth = render_take(tmp_path / "turn.npy", action, turn_deg=turn_deg, heading_deg=30.0)
    headings = heading_deg(truth.joints)
    assert headings[0] == pytest.approx(30, abs=1)
    assert headings[-1] - headings[0] == pytest.approx(turn_deg, abs=1)


def test_jumps_rise_as_high_and_as_often_as_asked(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "jump.npy", "jump", count=3, seconds=6, height_m=0.4)
    airborne = (~truth.contacts).all(axis=1)
    assert (airborne[1:] & ~airborne[:-1]).sum() == truth.count == 3
    root = truth.joints[:, 0, 1]
    assert root.max() - root[0] == pytest.approx(0.4, abs=0.02)
    assert truth.height_m == pytest.approx(root.max() - root[0], abs=1e-9)
    toes = truth.joints[:, [LEFT_TOE, RIGHT_TOE], 1]
    assert toes[airborne].max() > 0.35


def test_squats_sink_as_often_as_asked(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "squat.npy", "squat", count=3, seconds=6)
    low = truth.joints[:, 0, 1] < 0.75
    assert (low[1:] & ~low[:-1]).sum() == truth.count == 3


@pytest.mark.parametrize(("side", "joint", "other"), [("left", 20, 21), ("right", 21, 20)])
def test_arms_obey_their_side(side: str, joint: int, other: int, tmp_path: Path) -> None:
    for action in ("wave", "raise_arm"):
        truth = render_take(tmp_path / "arm.npy", action, side=side)
        middle = truth.joints[60]
        assert truth.side == side
        assert middle[joint, 1] > middle[12, 1] > middle[other, 1]
    waving = render_take(tmp_path / "wave.npy", "wave", side=side, count=4, seconds=6)
    hand = waving.joints[30:-30, joint, 0]
    swings = np.diff(np.sign(hand - hand.mean()))
    assert (swings != 0).sum() in (7, 8, 9)


@pytest.mark.parametrize(("side", "toe"), [("left", LEFT_TOE), ("right", RIGHT_TOE)])
def test_kicks_obey_their_side(side: str, toe: int, tmp_path: Path) -> None:
    truth = render_take(tmp_path / "kick.npy", "kick", side=side, count=2)
    heights = truth.joints[:, [LEFT_TOE, RIGHT_TOE], 1].max(axis=0)
    assert heights[toe - LEFT_TOE] > 0.7
    assert heights[LEFT_TOE + 1 - toe] < 0.03
    assert landings(truth) == truth.count == 2


def test_bowing_and_sitting_change_posture(tmp_path: Path) -> None:
    bow = render_take(tmp_path / "bow.npy", "bow").joints
    assert bow[60, 15, 1] < bow[0, 15, 1] - 0.25
    assert bow[60, 15, 2] > bow[60, 0, 2] + 0.3
    sit = render_take(tmp_path / "sit.npy", "sit").joints
    assert sit[-1, 0, 1] < 0.6
    assert abs(sit[-1, 1, 1] - sit[-1, 4, 1]) < 0.12, "thighs are level"


def test_joint_arrays_hold_the_truth(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "walk.npy", "walk")
    stored = np.load(truth.path)
    assert stored.dtype == np.float32
    assert np.abs(stored - truth.joints).max() < 1e-5
    assert (truth.unit, truth.up_axis, truth.joint_names[0]) == ("m", "y", "pelvis")


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_in_the_file_and_only_in_their_span(defect: str, tmp_path: Path) -> None:
    clean = render_take(tmp_path / "clean.bvh", "walk")
    truth = render_take(tmp_path / "spoilt.bvh", "walk", defect=defect)
    joints = joints_of(truth)
    assert np.allclose(joints, truth.joints, atol=1e-4, equal_nan=True)
    start, end = truth.defect_span
    moved = np.abs(np.diff(joints, axis=0)).max(axis=(1, 2))
    toes = joints[:, [LEFT_TOE, RIGHT_TOE]]
    sliding = np.linalg.norm(np.diff(toes, axis=0), axis=-1)
    sliding[~(truth.contacts[1:] & truth.contacts[:-1])] = 0
    if defect == "nan":
        assert np.flatnonzero(np.isnan(joints).any(axis=(1, 2))).tolist() == [*range(start, end)]
    elif defect == "foot_skate":
        assert sliding[start : end - 1].max() == pytest.approx(0.5 / 30, rel=0.02)
        assert np.delete(sliding, range(start - 1, end), axis=0).max() < 1e-4
    elif defect == "left_right_swap":
        swapped = joints[start:end]
        assert np.allclose(swapped[:, 7], clean.joints[start:end, 8], atol=1e-4)
        assert np.allclose(joints[:start], clean.joints[:start], atol=1e-4)
    elif defect == "scale_2x":
        assert np.allclose(joints, 2 * clean.joints, atol=1e-3)
    elif defect == "jump_cut":
        assert np.flatnonzero(moved > 0.5).tolist() == [start - 1]
    elif defect == "frozen":
        assert moved[start - 1 : end - 1].max() < 1e-4
        assert np.delete(moved, range(start - 1, end)).min() > 1e-3
    elif defect == "bone_drift":
        shin = bone_lengths(joints)[:, 2]
        assert shin[-1] / shin[0] == pytest.approx(1.3, abs=1e-3)
        assert np.ptp(bone_lengths(joints)[:, 3]) < 1e-4
    else:
        assert truth.frames == clean.frames + 30
        wrists = joints[:30, [20, 21]]
        assert np.ptp(wrists[..., 1]) < 1e-4
        assert wrists[0, 0, 0] - wrists[0, 1, 0] > 1.2
        assert truth.span == (30, 150)


def test_takes_are_deterministic_by_seed(tmp_path: Path) -> None:
    written = [
        render_take(tmp_path / name, "wave", seed=seed).path.read_bytes()
        for name, seed in (("a.bvh", 1), ("b.bvh", 1), ("c.bvh", 2))
    ]
    assert written[0] == written[1] != written[2]


def test_take_truth_survives_json(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "take.bvh", "walk", defect="nan", seconds=2)
    text = truth.to_json()
    assert "NaN" not in text
    again = TakeTruth.from_json(text)
    assert np.allclose(again.joints, truth.joints, atol=1e-6, equal_nan=True)
    assert (again.contacts == truth.contacts).all()
    assert (again.path, again.fps, again.defect_span) == (
        truth.path,
        truth.fps,
        truth.defect_span,
    )


def test_impossible_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"wlak.*unknown"):
        render_take(tmp_path / "a.bvh", "wlak")
    with pytest.raises(UsageError, match=r"cannot write a take as a\.fbx"):
        render_take(tmp_path / "a.fbx", "walk")
    with pytest.raises(UsageError, match="do not fit"):
        render_take(tmp_path / "a.bvh", "jump", count=9)
    with pytest.raises(UsageError, match="leave no time"):
        render_take(tmp_path / "a.bvh", "walk", rest_s=2)
    with pytest.raises(UsageError, match="channel order"):
        write_bvh(tmp_path / "a.bvh", ["a"], [-1], np.zeros((1, 3)), np.zeros((1, 1, 3)),
                  np.zeros((1, 3)), 30, channel_order="XXY")  # fmt: skip


# ---------------------------------------------------------------- the corpus


def test_the_corpus_is_what_its_truth_lists(corpus: CorpusTruth) -> None:
    on_disk = sorted(path.name for path in corpus.folder.iterdir())
    assert on_disk == sorted(file.name for file in corpus.files)
    assert {file.license for file in corpus.files} == {
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "proprietary",
    }
    assert [file.name for file in corpus.files if file.duplicate_of] == ["cuts_copy.mp4"]
    with pytest.raises(NotFoundError, match=r"no file 'cust\.mp4'"):
        corpus["cust.mp4"]


def test_corpus_files_are_readable_unless_they_belong_in_quarantine(corpus: CorpusTruth) -> None:
    for file in corpus.files:
        if file.take:
            assert len(joints_of(file.take)) == file.take.frames
        elif file.outcome == "quarantine":
            with pytest.raises(av.error.InvalidDataError):
                av.open(str(corpus.path(file.name)))
        else:
            with av.open(str(corpus.path(file.name))) as container:
                packets = [packet for packet in container.demux(video=0) if packet.size]
            assert sorted(packet.pts for packet in packets) == file.video.pts


def test_corpus_truth_survives_json(corpus: CorpusTruth) -> None:
    text = corpus.to_json()
    again = CorpusTruth.from_json(text)
    assert again.to_json() == text
    assert again["cuts.mp4"].video == corpus["cuts.mp4"].video
    assert json.loads(text)["files"][0]["name"] == "cuts.mp4"
