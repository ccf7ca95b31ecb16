"""Clips with like embeddings: the forest ties what all pairs tie, at every threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import curation.dedup.semantic as module
from catalogs.catalog import Catalog
from catalogs.duplicates import Groups, duplicate_groups
from catalogs.errors import NotFoundError, RecipeError
from catalogs.recipe import Dedup, SemanticDuplicates
from catalogs.testing.records import record_clips
from curation.dedup import compare_embeddings


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """Twelve topics of 25 clips, some of them much alike."""
    random = np.random.default_rng(4)
    topics = np.repeat(random.normal(size=(12, 48)), 25, axis=0)
    spread = np.repeat(random.uniform(0.1, 0.9, 12), 25)[:, None]
    return (topics + spread * random.normal(size=topics.shape)).astype(np.float32)


def corpus(path: Path, vectors: NDArray[np.float32]) -> Catalog:
    names = [f"c{number:03}" for number in range(len(vectors))]
    rows = [
        {"clip_id": name, "start_s": 0.0, "end_s": 1.0, "duration_s": 1.0, "uri": name}
        for name in names
    ]
    catalog = record_clips(path, rows)
    catalog.append(
        "embeddings/tiny",
        [
            {"clip_id": name, "model_version": "1", "vector": vector.tolist()}
            for name, vector in zip(names, vectors, strict=True)
        ],
    )
    return catalog


def groups_of_all_pairs(vectors: NDArray[np.float32], threshold: float) -> list[list[str]]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = np.argwhere(np.triu(unit @ unit.T >= threshold, 1))
    groups: dict[str, list[str]] = {}
    for member, name in Groups((f"c{a:03}", f"c{b:03}") for a, b in near).members():
        groups.setdefault(name, []).append(member)
    return sorted(groups.values())


@pytest.mark.parametrize("exact", [20_000, 50], ids=["all pairs", "regions"])
def test_groups_are_those_of_all_pairs(
    vectors, exact: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXACT", exact)
    catalog = corpus(tmp_path / "corpus", vectors)
    done = compare_embeddings(catalog, "tiny")
    curve = dict(done.curve())
    for threshold in (0.6, 0.8, 0.9, 0.95):
        dedup = Dedup(semantic=SemanticDuplicates("tiny", threshold))
        found = duplicate_groups(catalog.refresh(), dedup)
        members = sorted([m.clip_id for m in group.members] for group in found)
        expected = groups_of_all_pairs(vectors, threshold)
        removed = sum(len(group) - 1 for group in expected)
        if exact == 20_000:
            assert members == expected
            assert removed == max(n for t, n in curve.items() if t >= threshold - 1e-9)
        else:
            assert abs(sum(len(group) - 1 for group in members) - removed) <= 0.02 * len(vectors)


def test_comparing_again_replaces(vectors, tmp_path: Path) -> None:
    catalog = corpus(tmp_path / "corpus", vectors[:50])
    compare_embeddings(catalog, "tiny")
    rows = catalog.refresh().rows("neighbours")
    compare_embeddings(catalog.refresh(), "tiny")
    assert catalog.refresh().rows("neighbours") == rows > 0


def test_what_is_missing_is_said(vectors, tmp_path: Path) -> None:
    catalog = corpus(tmp_path / "corpus", vectors[:5])
    with pytest.raises(NotFoundError, match="no embeddings of 'tinny'"):
        compare_embeddings(catalog, "tinny")
    with pytest.raises(RecipeError, match="were not compared"):
        duplicate_groups(catalog, Dedup(semantic=SemanticDuplicates("tiny", 0.9)))
