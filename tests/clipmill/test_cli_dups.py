"""`clipmill dups`, and what leaks look like on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalogs import Catalog
from catalogs.testing.duplicates import record_matches

ONE, OTHER, THIRD = (f"{number:032x}" for number in range(3))


@pytest.fixture
def searched(corpus_path: Path) -> Path:
    """Sources 0 and 1 share the clips 3 (from 120 s) and 4 (from 160 s), four seconds each."""
    record_matches(Catalog.open(corpus_path), [(ONE, OTHER, (120.0, 124.0), (160.0, 164.0))])
    return corpus_path


def test_groups_are_listed_with_kind_score_and_spans(clipmill: Any, searched: Path) -> None:
    done = clipmill("dups", searched)
    assert done.exit_code == 0, done.stderr
    head, row = (line.split("\t") for line in done.stdout.splitlines())
    found = dict(zip(head, row, strict=False))
    assert (found["group"], found["kind"], found["score"]) == ("3" * 12, "near", "1.0")
    assert row[3:9] == [
        "3" * 12, "0.mp4", "120.000-124.000", "4" * 12, "1.mp4", "160.000-164.000",
    ]  # fmt: skip
    assert "1 groups, 1 clips that others show" in done.stderr


def test_json_holds_members_and_pairs(clipmill: Any, searched: Path) -> None:
    done = clipmill("dups", searched, "--json")
    (group,) = json.loads(done.stdout)["groups"]
    assert [member["clip_id"] for member in group["members"]] == ["3" * 32, "4" * 32]
    assert group["pairs"][0]["other_start_s"] == 160.0
    assert group["name"] == "3" * 32


def test_embeddings_are_compared_and_the_curve_is_shown(clipmill: Any, corpus_path: Path) -> None:
    rows = [
        {"clip_id": digit * 32, "model_version": "1", "vector": vector}
        for digit, vector in (("3", [1.0, 0.0]), ("4", [0.98, 0.2]), ("5", [0.0, 1.0]))
    ]
    Catalog.open(corpus_path).append("embeddings/tiny", rows)
    done = clipmill("dups", corpus_path, "--semantic", "tiny", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["curve"] == [[0.97, 1]]


def test_without_footage_nothing_is_searched(clipmill: Any, corpus_path: Path) -> None:
    version = Catalog.open(corpus_path).version
    done = clipmill("dups", corpus_path)
    assert done.exit_code == 0
    assert "0 groups" in done.stderr
    assert Catalog.open(corpus_path).version == version


def test_why_shows_the_twin_and_the_spans(clipmill: Any, searched: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "near.yaml"
    recipe.write_text("name: near\ndedup: {near: {min_overlap: 0.7}, keep: clip_id}\n")
    made = clipmill("select", searched, "--recipe", recipe, "--name", "near")
    assert made.exit_code == 0, made.stderr
    why = clipmill("why", searched, "4444")
    assert "not kept by near" in why.stdout
    reason = f"near duplicate of {'3' * 32} (score 1.00): 160.000-164.000 s is 120.000-124.000 s"
    assert reason in why.stdout


def test_a_leaking_export_is_refused_until_it_is_allowed(
    clipmill: Any, searched: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "split.yaml"
    recipe.write_text("name: split\nsplits: {train: 0.17, test: 0.83, group_by: clip_id}\n")
    clipmill("select", searched, "--recipe", recipe, "--name", "split")
    splits = dict(Catalog.open(searched).sql("select clip_id, split from selections").rows())
    assert splits["3" * 32] != splits["4" * 32]
    export = ("export", searched, tmp_path / "out", "--selection", "split", "--for-myself")
    refused = clipmill(*export)
    assert refused.exit_code == 1
    assert "1 pairs of clips show the same in different splits" in refused.stderr
    assert "3" * 32 in refused.stderr
    assert not (tmp_path / "out").exists()
    allowed = clipmill(*export, "--allow-leaks", "--json")
    assert allowed.exit_code == 0, allowed.stderr
    assert json.loads(allowed.stdout)["leaks"]["pairs"] == [["3" * 32, "4" * 32]]


def test_unknown_embeddings_name_what_is_there(clipmill: Any, corpus_path: Path) -> None:
    done = clipmill("dups", corpus_path, "--semantic", "siglip")
    assert done.exit_code == 2
    assert "no embeddings of 'siglip'" in done.stderr
