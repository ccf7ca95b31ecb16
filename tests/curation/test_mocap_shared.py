"""The readers and features on real files with references (twins on rendered takes elsewhere)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from curation.mocap import features
from curation.mocap import rotations as rot
from curation.mocap.layouts import HUMANML22
from curation.mocap.problems import MocapFileError
from curation.mocap.read import is_mocap, read_motion
from curation.mocap.stats import groups

# name: frames per second, frames, joints, unit, up axis
FILES = {
    "ad_cmu1_jumping_jacks.bvh": (30, 125, 31, "cmu", "y"),
    "ad_fair1_dab.bvh": (30, 339, 27, None, "z"),
    "ad_fair1_wave_hello.bvh": (Fraction(120000, 1001), 839, 27, None, "z"),
    "bandai/dataset-1_walk_normal_001.bvh": (30, 195, 22, "cm", "y"),
    "bandai/dataset-2_wave-both-hands_youthful_001.bvh": (30, 257, 22, "cm", "y"),
    "cmu_11_01.amc": (120, 597, 31, "m", "y"),
    "cmu_12_01_walk.bvh": (120, 524, 31, "cmu", "y"),
    "deepmimic_humanoid3d_cartwheel.txt": (60, 164, 15, "m", "y"),
    "deepmimic_humanoid3d_walk.txt": (30, 39, 15, "m", "y"),
    "dme_demo_3d_1_raw.bvh": (30, 48, 31, "cmu", "y"),
    "freebvh.bvh": (30, 69, 55, "cm", "y"),
    "humanml3d/new_joint_vecs/012314.npy": (20, 170, 22, "m", "y"),
    "humanml3d/raw_joints52_000021.npy": (20, 180, 52, "m", "y"),
    "markers_analogs.c3d": (100, 580, 51, "mm", "z"),
    "ntu_skeleton_example.npy": (30, 72, 25, "m", "y"),
    "walk01.bvh": (24, 101, 19, "cm", "y"),
    "xia_angry_13_000.bvh": (120, 140, 31, "cmu", "y"),
}


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_read_as_what_they_are(shared_data: Path, name: str) -> None:
    fps, frames, joints, unit, up_axis = FILES[name]
    take = read_motion(shared_data / "mocap" / name)
    assert (take.motion.fps, len(take.motion), len(take.motion.skeleton)) == (fps, frames, joints)
    assert take.conventions.up_axis.value == up_axis
    assert unit is None or take.conventions.unit.value == unit
    if take.is_body:
        assert 1.2 <= take.conventions.stature_m <= 2.2
        assert take.conventions.handedness.value == "right"


def test_real_damage_is_told_with_its_line(shared_data: Path) -> None:
    with pytest.raises(MocapFileError, match="line 1: a pointer"):
        read_motion(shared_data / "broken" / "lfs_pointer.npy")
    with pytest.raises(MocapFileError, match="line 143: a skeleton and one frame"):
        read_motion(shared_data / "broken" / "bvh_skeleton_no_motion.bvh")
    take = read_motion(shared_data / "broken" / "bvh_full_precision_frame_time.bvh")
    assert float(take.motion.fps) == pytest.approx(23.976)


def test_every_motion_in_the_folder_is_read_and_no_label_is_tried(shared_data: Path) -> None:
    folder = shared_data / "mocap"
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_mocap(path)]
    assert not any("label" in path.name or path.suffix == ".json" for path in found)
    failed = [path.name for path in found if not _reads(path)]
    assert failed == ["Mean.npy", "Std.npy"]


def test_bandai_takes_travel_with_their_hips(shared_data: Path) -> None:
    take = read_motion(shared_data / "mocap/bandai/dataset-1_walk_normal_001.bvh")
    assert take.conventions.travel_joint.value == "Hips"
    assert take.conventions.travel_joint.confidence > 0.9
    hips = take.motion.joints[:, take.motion.skeleton.index("Hips")]
    assert np.linalg.norm(np.ptp(hips[:, [0, 2]], axis=0)) > 3


@pytest.mark.parametrize("name", ["007005", "012314", "M010655"])
def test_vectors_equal_the_published_ones(shared_data: Path, name: str) -> None:
    folder = shared_data / "mocap" / "humanml3d"
    joints = np.load(folder / "new_joints" / f"{name}.npy").astype(np.float64)
    vectors = np.load(folder / "new_joint_vecs" / f"{name}.npy").astype(np.float64)
    recovered = features.recover_joints(vectors)
    np.testing.assert_allclose(recovered, joints, atol=1e-6)
    parts = features.columns(HUMANML22)
    heading, _ = features.recover_root(vectors)
    step = vectors[-1, parts.velocities].reshape(22, 3)
    after = recovered[-1] + rot.rotate(rot.conjugate(heading[-1])[None], step)
    made = features.extract(np.concatenate([recovered, after[None]]))
    for part in (parts.root, parts.positions, parts.velocities, parts.contacts):
        np.testing.assert_allclose(made[:, part], vectors[:, part], atol=1e-4)
    np.testing.assert_allclose(made[:, parts.rotations], vectors[:, parts.rotations], atol=1e-3)


def test_published_spread_is_shared_in_the_groups_that_we_share(shared_data: Path) -> None:
    std = np.load(shared_data / "mocap" / "humanml3d" / "Std.npy")
    for part in groups(263):
        assert np.ptp(std[part]) < 1e-6


def _reads(path: Path) -> bool:
    try:
        read_motion(path)
    except MocapFileError:
        return False
    return True
