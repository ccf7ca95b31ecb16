"""The difference of two versions equals the difference of two dictionaries."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import Catalog, Column
from catalogs.diff import diff_versions
from catalogs.errors import NotFoundError

states = st.lists(
    st.dictionaries(st.sampled_from("abcdefghij"), st.none() | st.integers(0, 3)),
    min_size=2,
    max_size=4,
)


def become(catalog: Catalog, old: dict[str, int | None], new: dict[str, int | None]) -> None:
    """One commit that turns one state of `sources` into another."""
    gone = [name for name in old if name not in new]
    wanted = [{"source_id": n, "bytes": size} for n, size in new.items() if old.get(n, -1) != size]
    with catalog.transaction() as txn:
        txn.delete("sources", pa.table({"source_id": pa.array(gone, pa.string())}))
        txn.upsert("sources", wanted)


@settings(max_examples=12)
@given(states=states, compacted=st.booleans())
def test_diff_equals_the_difference_of_dictionaries(
    tmp_path_factory: pytest.TempPathFactory,
    states: list[dict[str, int | None]],
    compacted: bool,
) -> None:
    catalog = Catalog.create(tmp_path_factory.mktemp("diff") / "corpus")
    catalog.append("sources", [])
    versions: list[tuple[int, dict[str, int | None]]] = [(catalog.version, {})]
    for state in states:
        become(catalog, versions[-1][1], state)
        versions.append((catalog.version, state))
    if compacted:
        catalog.compact()
        versions.append((catalog.version, versions[-1][1]))
    (a, old), (b, new) = versions[1], versions[-1]
    for (x, before), (y, after) in (((a, old), (b, new)), ((b, new), (a, old))):
        diff = diff_versions(catalog, x, y, "sources")
        both = before.keys() & after.keys()
        changed = sorted(name for name in both if before[name] != after[name])
        assert diff.gained.column("source_id").to_pylist() == sorted(after.keys() - before.keys())
        assert diff.lost.column("source_id").to_pylist() == sorted(before.keys() - after.keys())
        assert set(changed) <= set(diff.changed.column("source_id").to_pylist())
        values = {row["source_id"]: row["bytes"] for row in diff.changed.to_pylist()}
        assert {name: values[name] for name in changed} == {name: after[name] for name in changed}
        assert diff.columns.get("bytes", 0) == len(changed)
        assert diff.before.column("source_id") == diff.changed.column("source_id")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog.create(tmp_path / "corpus")
    catalog.append("sources", [{"source_id": name, "uri": name} for name in "abc"])
    return catalog


def test_a_change_shows_the_row_before_and_after(catalog: Catalog) -> None:
    created = catalog.sql("select created from sources limit 1").value()
    catalog.upsert("sources", [{"source_id": "b", "uri": "new", "created": created}])
    diff = catalog.diff(1, 2, "sources")
    assert diff.counts == {"gained": 0, "lost": 0, "changed": 1}
    assert diff.columns == {"uri": 1}
    assert diff.before.column("uri").to_pylist() == ["b"]
    assert diff.changed.column("uri").to_pylist() == ["new"]
    assert bool(diff)


def test_equal_versions_have_no_difference(catalog: Catalog) -> None:
    assert not catalog.diff(1, 1, "sources")
    catalog.append("sources", [{"source_id": "d"}])
    catalog.compact()
    assert not catalog.diff(2, 3, "sources")


def test_only_files_that_the_versions_do_not_share_are_read(catalog: Catalog) -> None:
    """The shared file is gone from the disk, and the difference is still there."""
    catalog.append("sources", [{"source_id": "d"}])
    shared = catalog.at(1).files("sources")[0]
    catalog.storage.delete(f"sources/{shared.path}")
    assert catalog.diff(1, 2, "sources").gained.column("source_id").to_pylist() == ["d"]


def test_a_table_that_one_version_lacks(catalog: Catalog) -> None:
    blur = Column("blur", pa.float64(), "how blurred the clip is")
    catalog.append("scores/blur", [{"clip_id": "c", "op_version": 1, "blur": 0.5}], [blur])
    assert catalog.diff(1, 2, "scores/blur").counts == {"gained": 1, "lost": 0, "changed": 0}
    assert catalog.diff(2, 1, "scores/blur").counts == {"gained": 0, "lost": 1, "changed": 0}
    with pytest.raises(NotFoundError, match="no table is called"):
        catalog.diff(1, 2, "sauces")


def test_a_new_column_changes_only_rows_that_have_it(catalog: Catalog) -> None:
    blur = Column("blur", pa.float64(), "how blurred the clip is")
    shake = Column("shake", pa.float64(), "how much the camera shakes")
    rows = [{"clip_id": c, "op_version": 1, "blur": 0.5} for c in "ab"]
    catalog.append("scores/blur", rows, [blur])
    catalog.append("scores/blur", [{"clip_id": "c", "op_version": 1, "shake": 1.0}], [blur, shake])
    diff = catalog.diff(2, 3, "scores/blur")
    assert diff.counts == {"gained": 1, "lost": 0, "changed": 0}
