"""Labels that reviewers store: columns of the wide view, and what `calibrate` reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.calibrate import calibrate
from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError
from catalogs.recipe import Recipe
from catalogs.reviews import remove_label, reviewers, store_label, stored_labels
from catalogs.testing.records import record_clips


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Twelve clips; number n moves n px."""
    rows = [{"clip_id": f"{n:032x}", "duration_s": 4.0, "motion_px": float(n)} for n in range(12)]
    return record_clips(tmp_path / "corpus", rows, {"motion": ["motion_px"]})


def test_labels_are_columns_and_feed_calibrate(catalog: Catalog) -> None:
    for n in range(12):
        store_label(catalog, "ada", f"{n:032x}", "keep" if n >= 5 else "drop")
    store_label(catalog, "ben", f"{3:032x}", "keep")
    catalog.refresh()
    assert reviewers(catalog) == ["ada", "ben"]
    assert catalog.sql("select count(*) from clips where label_ada = 'keep'").value() == 7
    found = calibrate(catalog, stored_labels(catalog, "ada"), Recipe("r", {"m": "motion_px >= 3"}))
    (gate,) = found.gates
    assert (gate.agreement.kept_right, gate.agreement.slipped) == (7, 2)


def test_a_label_is_replaced_and_taken_back(catalog: Catalog) -> None:
    clip = f"{1:032x}"
    store_label(catalog, "ada", clip, "keep")
    store_label(catalog, "ada", clip, "drop")
    assert stored_labels(catalog.refresh(), "ada").by_gate == {None: {clip: False}}
    remove_label(catalog, "ada", clip)
    remove_label(catalog, "nobody", clip)
    assert stored_labels(catalog.refresh(), "ada").by_gate == {None: {}}


@pytest.mark.parametrize(
    ("reviewer", "clip", "label"),
    [("ada", f"{99:032x}", "keep"), ("ada", f"{1:032x}", "maybe"), ("../x", f"{1:032x}", "keep")],
)
def test_what_is_refused(catalog: Catalog, reviewer: str, clip: str, label: str) -> None:
    with pytest.raises(UsageError):
        store_label(catalog, reviewer, clip, label)
    assert reviewers(catalog.refresh()) == []


def test_labels_of_nobody(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no labels of 'eve'"):
        stored_labels(catalog, "eve")
