"""Signals against rendered truth, defects found where planted, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import UsageError
from catalogs.testing import ACTIONS, render_take
from curation.mocap.body import body_of
from curation.mocap.layouts import HUMANML22
from curation.mocap.mapping import to_layout
from curation.mocap.quality import LIMITS, SCORES, motion_diversity, motion_scores, suspects
from curation.mocap.read import is_mocap, read_motion
from curation.mocap.signals import SIGNALS, motion_signals
from curation.mocap.skeleton import Motion

FOUND_BY = {
    "nan": "body_gap_share",
    "foot_skate": "foot_slide_h_s",
    "left_right_swap": "mirrored_share",
    "scale_2x": "stature_m",
    "jump_cut": "jump_max_m",
    "frozen": "frozen_s",
    "bone_drift": "bone_drift",
}


def scores_of(motion: Motion) -> dict[str, float]:
    return motion_scores(motion_signals(motion), float(motion.fps))


def test_every_signal_is_declared_and_has_one_value_per_frame(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=2)
    signals = motion_signals(read_motion(truth.path).motion)
    assert set(signals) == set(SIGNALS)
    assert {values.shape for values in signals.values()} == {(truth.frames,)}
    assert {values.dtype for values in signals.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(values).any() for values in signals.values())


def test_a_walk_measures_as_it_was_rendered(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=5, turn_deg=120, fps=60)
    signals = motion_signals(read_motion(truth.path).motion)
    assert signals["root_path_m"][-1] == pytest.approx(truth.distance_m, rel=0.01)
    turned = signals["heading_deg"][-1] - signals["heading_deg"][0]
    assert turned == pytest.approx(120, abs=12)
    assert np.trapezoid(signals["turn_deg_s"]) / 60 == pytest.approx(turned, abs=2)
    steps = [
        int(np.count_nonzero(np.diff(signals[f"contact_{side}"]) > 0)) for side in ("left", "right")
    ]
    assert sum(steps) == pytest.approx(truth.count, abs=1)
    planted = truth.contacts.any(axis=1)
    seen = (signals["contact_left"] + signals["contact_right"]) > 0
    assert np.mean(planted == seen) > 0.95


def test_signals_do_not_depend_on_the_rate(tmp_path: Path) -> None:
    slow, fast = (
        scores_of(read_motion(render_take(tmp_path / "t.bvh", "run", fps=fps).path).motion)
        for fps in (30, 120)
    )
    for name in ("speed_mean_m_s", "path_m", "energy_j_kg", "pose_change_m_s", "stature_m"):
        assert slow[name] == pytest.approx(fast[name], rel=0.15)


def test_a_jump_leaves_the_floor(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "jump", count=1, height_m=0.35)
    signals = motion_signals(read_motion(truth.path).motion)
    gap = float(signals["ground_gap_m"].max())
    assert gap == pytest.approx(truth.height_m, abs=0.1)
    assert signals["ground_gap_m"][0] < 0.02


@pytest.mark.parametrize("action", ACTIONS)
def test_a_clean_take_is_not_suspect(tmp_path: Path, action: str) -> None:
    truth = render_take(tmp_path / "t.bvh", action, seconds=3)
    assert suspects(scores_of(read_motion(truth.path).motion)) == []


@pytest.mark.parametrize("defect", FOUND_BY)
@pytest.mark.parametrize("action", ["walk", "wave"])
def test_a_planted_defect_is_found(tmp_path: Path, defect: str, action: str) -> None:
    truth = render_take(tmp_path / "t.bvh", action, seconds=4, defect=defect)
    assert FOUND_BY[defect] in suspects(scores_of(read_motion(truth.path).motion))


def test_a_defect_is_found_in_its_span_only(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=6, defect="frozen")
    take = read_motion(truth.path)
    signals = motion_signals(take.motion)
    start, end = truth.defect_span
    np.testing.assert_array_equal(np.flatnonzero(signals["frozen"]), np.arange(start, end))
    before = motion_scores(signals, 30, 0, start - 2)
    assert suspects(before) == []


def test_scores_are_declared_and_limits_are_on_scores(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "stand", seconds=2)
    signals = motion_signals(read_motion(truth.path).motion)
    assert set(motion_scores(signals, 30)) == set(SCORES)
    assert set(LIMITS) <= set(SCORES)
    with pytest.raises(UsageError, match="outside"):
        motion_scores(signals, 30, 10, 5)


def test_diversity_tells_a_still_clip_from_a_lively_one(tmp_path: Path) -> None:
    still, lively = (
        motion_diversity(body_of(read_motion(render_take(tmp_path / "t.bvh", a).path).motion))
        for a in ("stand", "jump")
    )
    assert still < 0.02 < lively


def test_things_that_are_no_bodies_still_have_general_signals(tmp_path: Path) -> None:
    truth = render_take(tmp_path / "t.bvh", "walk", seconds=2)
    motion = read_motion(truth.path).motion
    names = tuple(f"part{i}" for i in range(len(motion.skeleton)))
    signals = motion_signals(replace(motion, skeleton=replace(motion.skeleton, names=names)))
    assert np.isfinite(signals["root_speed_m_s"]).all()
    assert np.isnan(signals["contact_left"]).all()
    assert suspects(motion_scores(signals, 30)) == []


def test_the_documented_skate_values_come_out(shared_data: Path) -> None:
    raw, fixed = (
        scores_of(read_motion(shared_data / "mocap" / f"dme_demo_3d_1_{kind}.bvh").motion)
        for kind in ("raw", "fixed")
    )
    assert raw["foot_skate_h_s"] == pytest.approx(0.92, abs=0.02)
    assert fixed["foot_skate_h_s"] == pytest.approx(0.56, abs=0.02)
    assert "foot_skate_h_s" in suspects(raw)
    assert suspects(fixed) == []


def test_no_clean_real_file_is_suspect(shared_data: Path) -> None:
    alarms = {}
    for path in sorted((shared_data / "mocap").rglob("*")):
        known = path.name in {"Mean.npy", "Std.npy", "dme_demo_3d_1_raw.bvh"}
        if path.is_file() and not known and is_mocap(path):
            found = suspects(scores_of(read_motion(path).motion))
            if found:
                alarms[path.name] = found
    assert alarms == {}


@pytest.mark.parametrize(
    "name",
    [
        "bandai/dataset-1_walk_normal_001.bvh",
        "cmu_11_01.amc",
        "xia_old_13_000.bvh",
        "humanml3d/new_joints/012314.npy",
        "walk01.bvh",
    ],
)
def test_defects_planted_in_real_files_are_found(shared_data: Path, name: str) -> None:
    clean = to_layout(read_motion(shared_data / "mocap" / name).motion)
    frames = len(clean)
    start, end = frames // 3, frames // 3 + max(round(0.4 * float(clean.fps)), frames // 4)

    def planted(change) -> list[str]:
        joints = clean.joints.copy()
        change(joints)
        return suspects(scores_of(replace(clean, measured=joints)))

    def gap(joints: np.ndarray) -> None:
        joints[start:end, 5] = np.nan

    def swap(joints: np.ndarray) -> None:
        joints[start:end] = joints[start:end][:, HUMANML22.mirrored]

    def double(joints: np.ndarray) -> None:
        joints *= 2

    def jump(joints: np.ndarray) -> None:
        joints[start:] += [0.6, 0, 0.4]

    def freeze(joints: np.ndarray) -> None:
        joints[start:end] = joints[start]

    def drift(joints: np.ndarray) -> None:
        shin = joints[:, 7] - joints[:, 4]
        longer = shin * 0.3 * np.linspace(0, 1, frames)[:, None]
        joints[:, [7, 10]] += longer[:, None]

    assert "body_gap_share" in planted(gap)
    assert "mirrored_share" in planted(swap)
    assert "stature_m" in planted(double)
    assert "jump_max_m" in planted(jump)
    assert "frozen_s" in planted(freeze)
    assert "bone_drift" in planted(drift)
