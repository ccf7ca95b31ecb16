"""Takes become features at the asked rate; windows keep the clip's heading and floor."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError
from catalogs.testing import render_take
from clipmill.cli import app
from curation.jobs.run import curate
from tokenize_jobs.clips import chosen_sources
from tokenize_jobs.takes import FEATURES, take_windows
from tokenize_jobs.training.evaluator import pairs_of, train_evaluator
from tokenize_jobs.transform import Transform
from zoo.evaluators.text_motion import load_evaluator


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Catalog:
    folder = tmp_path_factory.mktemp("takes")
    render_take(folder / "walk.bvh", "walk", seconds=6)
    render_take(folder / "turn.bvh", "turn", seconds=3)
    curate([folder], folder / "corpus", address=cluster, progress=None)
    return Catalog.open(folder / "corpus")


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_windows_are_cut_from_the_features_of_the_clip(takes: Catalog, name: str) -> None:
    whole = Transform(features=name)
    cut = Transform(features=name, window=40, stride=20)
    for session, source in chosen_sources(takes, kind="mocap"):
        for clip in source.clips:
            (everything,) = take_windows(session, clip, whole)
            assert everything.values.shape[1:] == FEATURES[name].shape
            assert everything.window.fps == 20.0
            seconds = float(clip.span.duration)
            assert abs(len(everything.values) - 20 * seconds) <= 1
            parts = take_windows(session, clip, cut)
            for number, part in enumerate(parts):
                start = 20 * number
                end = start + part.window.frames
                assert np.array_equal(part.values, everything.values[start:end])
            assert parts[-1].window.span.end_pts == clip.span.end_pts


def test_features_give_the_joints_back(takes: Catalog) -> None:
    for session, source in chosen_sources(takes, kind="mocap"):
        (joints,) = take_windows(session, source.clips[0], Transform(features="joints22"))
        (vectors,) = take_windows(session, source.clips[0], Transform(features="humanml263"))
        back = FEATURES["humanml263"].joints(vectors.values.astype(np.float64))
        error = np.linalg.norm(back - joints.values, axis=-1)
        assert error.mean() < 0.02


def test_another_rate_is_another_transform(takes: Catalog) -> None:
    slow = Transform(features="joints22", fps=Fraction(10))
    for session, source in chosen_sources(takes, kind="mocap"):
        (window,) = take_windows(session, source.clips[0], slow)
        assert window.window.fps == 10.0
        assert window.window.transform_hash != Transform(features="joints22").hash


def test_unknown_features_are_named(takes: Catalog) -> None:
    for session, source in chosen_sources(takes, kind="mocap"):
        with pytest.raises(UsageError, match="humanml264") as error:
            take_windows(session, source.clips[0], Transform(features="humanml264"))
        assert "humanml263" in str(error.value)


def test_a_choice_without_clips_says_so(takes: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no video clip"):
        list(chosen_sources(takes, kind="video"))


def test_captioned_takes_train_an_evaluator(takes: Catalog, tmp_path: Path) -> None:
    root = takes.storage.root
    with pytest.raises(NotFoundError, match="0 clips of takes"):
        train_evaluator(root, tmp_path / "none", split="nowhere", progress=False)
    clips = [clip for (clip,) in takes.sql("select clip_id from clips order by 1").rows()]
    motions, texts = pairs_of(takes)
    assert len(motions) == len(clips) >= 2
    assert all(motion.shape[1] == 263 for motion in motions)
    assert all(texts)
    words = ["evaluator", root, "--to", str(tmp_path / "judge"), "--steps", "2", "--quiet"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    judge = load_evaluator(tmp_path / "judge" / "model")
    assert judge.motions(motions).shape == (len(clips), judge.config.space)
