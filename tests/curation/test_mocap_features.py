"""Feature layouts forward and back, statistics, mapping, retargeting and resampling."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import NotFoundError, RecipeError, UsageError
from catalogs.testing import render_take
from curation.mocap import features, features272
from curation.mocap import rotations as rot
from curation.mocap.ik import smpl_rotations
from curation.mocap.layouts import HUMANML22, KIT21, LAYOUTS, SMPL24, layout_of
from curation.mocap.mapping import find_mapping, to_layout
from curation.mocap.read import read_motion
from curation.mocap.resample import legacy_stride, resample
from curation.mocap.retarget import bone_lengths, retarget
from curation.mocap.rigs import RIGS, read_rigs
from curation.mocap.skeleton import Motion, Skeleton
from curation.mocap.stats import FeatureStats, feature_stats, groups
from curation.mocap.vectors import REPRESENTATIONS, decode, encode


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("takes") / "walk.npy"
    truth = render_take(path, "walk", seconds=4, fps=20, turn_deg=60, heading_deg=30)
    return truth.joints


def test_263_columns_mean_what_they_say(walk: np.ndarray) -> None:
    joints = features.canonical(walk)
    vectors = features.extract(joints)
    parts = features.columns(HUMANML22)
    assert vectors.shape == (len(walk) - 1, 263)
    assert joints[..., 1].min() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(vectors[:, 3], joints[:-1, 0, 1])
    speed = np.linalg.norm(np.diff(joints[:, 0], axis=0)[:, [0, 2]], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, 1:3], axis=-1), speed, atol=1e-12)
    # walking ahead is +z in the heading frame
    assert np.median(vectors[:, 2]) > 5 * abs(np.median(vectors[:, 1]))
    step = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    mine = np.linalg.norm(vectors[:, parts.velocities].reshape(-1, 22, 3), axis=-1)
    np.testing.assert_allclose(mine, step, atol=1e-12)
    moving = step[:, [7, 10, 8, 11]] ** 2 >= 0.002
    np.testing.assert_array_equal(vectors[:, parts.contacts] == 0, moving)


@pytest.mark.parametrize("layout", [HUMANML22, KIT21])
def test_vectors_and_joints_give_each_other_back(walk: np.ndarray, layout) -> None:
    joints = walk
    if layout is KIT21:
        motion = Motion(_body(), Fraction(20), measured=walk)
        joints = to_layout(motion, KIT21).joints
    joints = features.canonical(joints, layout)
    vectors = features.extract(joints, layout)
    recovered = features.recover_joints(vectors, layout)
    heading, path = features.recover_root(vectors, layout)
    # recovery starts in the heading of frame 0, as the published one does
    np.testing.assert_allclose(recovered, joints[:-1], atol=1e-9)
    np.testing.assert_allclose(path, joints[:-1, 0], atol=1e-9)
    assert heading[0] == pytest.approx(rot.IDENTITY)
    again = features.extract(recovered, layout)
    parts = features.columns(layout)
    for part in (parts.positions, parts.rotations, parts.velocities, parts.contacts):
        # the smoothed heading of the last frames sees an end that is one frame nearer
        np.testing.assert_allclose(again[:1, part], vectors[:1, part], atol=2e-2)
    stable = features.recover_joints(again, layout)
    np.testing.assert_allclose(stable, recovered[:-1], atol=1e-9)


def test_rotations_carry_the_joints_too(walk: np.ndarray) -> None:
    uniform = features.canonical(retarget(walk))
    np.testing.assert_allclose(
        bone_lengths(uniform)[:, 1:],
        np.broadcast_to(features.HUMANML_LENGTHS[1:], (len(walk), 21)),
        atol=1e-9,
    )
    vectors = features.extract(uniform)
    np.testing.assert_allclose(features.recover_from_rotations(vectors), uniform[:-1], atol=1e-6)


def test_272_columns_give_joints_and_pose_back(walk: np.ndarray) -> None:
    turns = smpl_rotations(walk)
    vectors = features272.extract(walk, turns)
    joints = features272.recover_joints(vectors)
    path, pose = features272.recover_pose(vectors)
    assert vectors.shape == (len(walk), 272)
    np.testing.assert_allclose(vectors[0, :8], [0, 0, 1, 0, 0, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(joints[:, 0], path, atol=1e-9)
    steps = np.linalg.norm(np.diff(walk, axis=0), axis=-1)
    np.testing.assert_allclose(np.linalg.norm(np.diff(joints, axis=0), axis=-1), steps, atol=1e-9)
    np.testing.assert_allclose(features272.extract(joints, pose), vectors, atol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(pose[:, 1:] * turns[:, 1:], -1)), 1, atol=1e-9)


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("rig", ["mixamo", "cmu", "smpl"])
def test_any_rig_becomes_vectors_and_comes_back(tmp_path: Path, name: str, rig: str) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=3, fps=60, rig=rig, heading_deg=40)
    motion = read_motion(truth.path).motion
    vectors = encode(motion, name)
    back = decode(vectors, name, motion.fps)
    chosen = REPRESENTATIONS[name]
    assert vectors.shape == (len(back), chosen.width)
    assert float(back.duration_s) == pytest.approx(3, abs=0.1)
    walked = np.linalg.norm(back.joints[-1, 0, [0, 2]] - back.joints[0, 0, [0, 2]])
    # the uniform skeleton's legs are a little longer than the rendered ones
    assert walked == pytest.approx(truth.distance_m, rel=0.08)
    again = decode(encode(back, name), name, motion.fps)
    np.testing.assert_allclose(again.joints, back.joints[: len(again)], atol=1e-4)
    stats = feature_stats([vectors])
    np.testing.assert_allclose(
        stats.denormalise(stats.normalise(vectors)), vectors, atol=1e-3, rtol=1e-4
    )


def test_an_unknown_representation_names_the_nearest(walk: np.ndarray) -> None:
    motion = Motion(_body(), Fraction(20), measured=walk)
    with pytest.raises(NotFoundError, match="humanml264"):
        encode(motion, "humanml264")
    with pytest.raises(UsageError, match="263"):
        decode(np.zeros((3, 251)), "humanml263")
    with pytest.raises(UsageError, match="no rate"):
        decode(np.zeros((3, 72)), "smpl24")


def test_features_refuse_gaps_and_other_layouts(walk: np.ndarray) -> None:
    with pytest.raises(UsageError, match="kit21"):
        features.extract(walk, KIT21)
    gap = walk.copy()
    gap[5, 3] = np.nan
    with pytest.raises(UsageError, match="NaN"):
        features.extract(gap)
    with pytest.raises(UsageError, match="263"):
        features.recover_joints(np.zeros((4, 251)))


def test_published_normalisation_shares_one_spread_per_part(
    walk: np.ndarray, tmp_path: Path
) -> None:
    vectors = features.extract(walk)
    stats = feature_stats([vectors[:40], vectors[40:]])
    np.testing.assert_allclose(stats.mean, vectors.mean(axis=0), atol=1e-6)
    for part in groups(263):
        spread = vectors[:, part].std(axis=0).mean()
        np.testing.assert_allclose(stats.std[part], max(spread, 1e-8), rtol=1e-5)
    biased = stats.biased()
    np.testing.assert_allclose(biased.std[[0, 1, 3, 262]] * 5, stats.std[[0, 1, 3, 262]])
    np.testing.assert_array_equal(biased.std[4:259], stats.std[4:259])
    biased.save(tmp_path / "stats.npz")
    loaded = FeatureStats.load(tmp_path / "stats.npz")
    assert (loaded.frames, loaded.feature_bias) == (len(vectors), 5.0)
    np.testing.assert_allclose(loaded.denormalise(loaded.normalise(vectors)), vectors, atol=1e-6)
    with pytest.raises(UsageError, match="bias"):
        loaded.biased()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_layouts_are_whole(layout) -> None:
    assert len(layout.directions) == len(layout)
    assert sorted(j for chain in layout.chains for j in chain[1:]) == list(range(1, len(layout)))
    mirrored = layout.mirrored
    np.testing.assert_array_equal(mirrored[mirrored], np.arange(len(layout)))
    sides = [name for name in layout.joints if name.startswith(("left_", "right_", "L", "R"))]
    assert sum(mirrored != np.arange(len(layout))) == len(sides)


@pytest.mark.parametrize("rig", RIGS)
def test_every_rig_finds_all_joints_under_its_own_names(rig: str) -> None:
    names, ends = [], []
    for specs in RIGS[rig].values():
        spec = specs[0]
        if spec.startswith("end of "):
            ends.append(spec.removeprefix("end of "))
        elif spec.startswith("between "):
            names += spec.removeprefix("between ").split(" and ")
        else:
            names.append(spec)
    names = list(dict.fromkeys([*names, *ends]))
    skeleton = Skeleton(
        tuple(f"subject:{name.upper()}" for name in names),
        np.array([-1] * len(names)),
        np.zeros((len(names), 3)),
        np.array([names.index(end) for end in ends], np.intp),
        np.zeros((len(ends), 3)),
    )
    assert len(find_mapping(skeleton, rig).sources) == 22


def test_a_missing_joint_is_named() -> None:
    body = _body()
    keep = [i for i, name in enumerate(body.names) if name != "left_wrist"]
    partial = Skeleton(
        tuple(body.names[i] for i in keep), np.array([-1] * len(keep)), body.offsets[keep]
    )
    with pytest.raises(NotFoundError, match="left_wrist"):
        find_mapping(partial)


def test_users_add_rigs_in_yaml(tmp_path: Path) -> None:
    body = _body()
    renamed = Skeleton(
        tuple(f"bone_{i}" for i in range(22)), body.parents, body.offsets, rig="unknown"
    )
    table = "".join(f"  {name}: bone_{i}\n" for i, name in enumerate(body.names))
    (tmp_path / "rigs.yaml").write_text(f"mine:\n{table}")
    assert find_mapping(renamed, extra=read_rigs(tmp_path / "rigs.yaml")).rig == "mine"
    (tmp_path / "bad.yaml").write_text("mine:\n  left_hop: bone_1\n")
    with pytest.raises(RecipeError, match="left_hop"):
        read_rigs(tmp_path / "bad.yaml")
    with pytest.raises(NotFoundError, match="mixano"):
        find_mapping(renamed, "mixano")


def test_smpl24_hands_carry_the_forearm_on(walk: np.ndarray) -> None:
    joints = to_layout(Motion(_body(), Fraction(20), measured=walk), SMPL24).joints
    np.testing.assert_array_equal(joints[:, :22], walk)
    forearm, hand = walk[:, 20] - walk[:, 18], joints[:, 22] - walk[:, 20]
    np.testing.assert_allclose(hand, forearm / 3)
    with pytest.raises(NotFoundError, match="smpl25"):
        layout_of("smpl25")


def test_resampling_keeps_the_path_in_time(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "w.bvh", "walk", seconds=4, fps=120)
    motion = read_motion(truth.path).motion
    slow = resample(motion, Fraction(20))
    assert slow.fps == 20
    assert len(slow) == (len(motion) - 1) // 6 + 1
    np.testing.assert_allclose(slow.joints, motion.joints[::6], atol=0.02)
    back = resample(slow, Fraction(120))
    assert np.abs(back.joints - motion.joints[: len(back)]).max() < 0.06
    assert resample(motion, motion.fps) is motion


def test_resampling_down_removes_what_the_new_rate_cannot_hold() -> None:
    times = np.arange(600) / 120
    shake = 0.1 * np.sin(2 * np.pi * 19 * times)  # at 20 fps this would look like 1 Hz
    measured = np.zeros((600, 1, 3))
    measured[:, 0, 0] = shake
    motion = Motion(
        Skeleton(("m",), np.array([-1]), np.zeros((1, 3))), Fraction(120), measured=measured
    )
    good = resample(motion, Fraction(20)).joints[5:-5, 0, 0]
    assert np.abs(good).max() < 0.002
    assert np.abs(legacy_stride(motion, Fraction(20)).joints[5:-5, 0, 0]).max() > 0.09


def test_a_gap_stays_a_gap_when_resampled() -> None:
    measured = np.linspace(0, 1, 240)[:, None, None] * np.ones((1, 2, 3))
    measured[100:120, 0] = np.nan
    skeleton = Skeleton(("a", "b"), np.array([-1, -1]), np.zeros((2, 3)))
    out = resample(Motion(skeleton, Fraction(120), measured=measured), Fraction(30)).joints
    assert np.isnan(out[26:29, 0]).all()
    assert np.isfinite(out[:, 1]).all()
    assert np.isfinite(out[:24, 0]).all()


def test_the_legacy_stride_is_the_published_one() -> None:
    measured = np.arange(59.0)[:, None, None] * np.ones((1, 1, 3))
    skeleton = Skeleton(("a",), np.array([-1]), np.zeros((1, 3)))
    out = legacy_stride(Motion(skeleton, Fraction(59), measured=measured), Fraction(20))
    np.testing.assert_array_equal(out.joints[:4, 0, 0], [0, 2, 4, 6])
    assert out.fps == 20


def _body() -> Skeleton:
    return Skeleton(
        HUMANML22.joints, HUMANML22.parents, np.array(HUMANML22.directions, float), rig="smpl"
    )
