"""Transactions, snapshots and time travel."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogs import Catalog, Column, Transaction
from catalogs.errors import FormatError, NotFoundError, SchemaError, UsageError
from catalogs.schema import FORMAT_VERSION

BLUR = Column("blur", pa.float64(), "how blurred the clip is", "px")
SHAKE = Column("shake", pa.float64(), "how much the camera shakes", "px")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.create(tmp_path / "corpus")


def source(name: str, uri: str | None = None) -> dict[str, Any]:
    return {"source_id": name, "uri": uri or f"{name}.mp4"}


def score(clip: str, **values: float) -> dict[str, Any]:
    return {"clip_id": clip, "op_version": 1, **values}


def uris(catalog: Catalog) -> dict[str, str]:
    return dict(catalog.sql("select source_id, uri from sources").rows())


# -- opening -----------------------------------------------------------------------------------


def test_a_new_catalog_is_empty_and_answers_anyway(catalog: Catalog) -> None:
    assert (catalog.version, catalog.tables(), catalog.rows("clips")) == (0, [], 0)
    assert catalog.sql("select count(*) from clips").value() == 0
    assert catalog.sql("select count(*) from sources").value() == 0
    assert catalog.history().num_rows == 0
    about = json.loads(catalog.storage.read("catalog.json"))
    assert about["format_version"] == FORMAT_VERSION


def test_a_catalog_is_created_once(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="already is a catalog"):
        Catalog.create(catalog.storage.root)
    again = Catalog.create(catalog.storage.root, exist_ok=True)
    assert again.about["id"] == catalog.about["id"]


def test_a_folder_that_is_no_catalog_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no catalog\.json"):
        Catalog.open(tmp_path)
    with pytest.raises(NotFoundError, match=r"no catalog\.json"):
        Catalog.open(tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": "new"}'])
def test_a_damaged_catalog_json_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(FormatError, match="is damaged"):
        Catalog.open(tmp_path)


def test_an_unknown_scheme_names_those_that_work() -> None:
    with pytest.raises(UsageError, match="s3://"):
        Catalog.open("ftp://host/corpus")


# -- writing -----------------------------------------------------------------------------------


def test_append_insert_upsert_and_delete(catalog: Catalog) -> None:
    catalog.append("sources", [source("a"), source("b")])
    with catalog.transaction() as txn:
        txn.insert("sources", [source("b", "other"), source("c"), source("c", "last wins")])
    assert uris(catalog) == {"a": "a.mp4", "b": "b.mp4", "c": "last wins"}
    catalog.upsert("sources", [source("a", "new"), source("d"), source("d", "last wins")])
    assert uris(catalog) == {"a": "new", "b": "b.mp4", "c": "last wins", "d": "last wins"}
    with catalog.transaction() as txn:
        txn.delete("sources", pa.table({"source_id": ["a", "c", "nobody"]}))
    assert uris(catalog) == {"b": "b.mp4", "d": "last wins"}
    assert catalog.rows("sources") == 2


def test_writes_of_one_transaction_act_in_their_order(catalog: Catalog) -> None:
    catalog.append("sources", [source("a"), source("b"), source("c")])
    with catalog.transaction() as txn:
        txn.upsert("sources", [source("a", "1")])
        txn.upsert("sources", [source("b", "2")])
        txn.append("sources", [source("d")])
        txn.delete("sources", pa.table({"source_id": ["d", "c"]}))
        txn.insert("sources", [source("c", "again"), source("a", "kept out")])
    assert uris(catalog) == {"a": "1", "b": "2", "c": "again"}
    assert catalog.rows("sources") == 3


def test_delete_by_part_of_the_key(catalog: Catalog) -> None:
    rows = [{"clip_id": c, "cutting": k} for c in "ab" for k in "xy"]
    catalog.append("clips", rows)
    with catalog.transaction() as txn:
        txn.delete("clips", pa.table({"cutting": ["x"]}))
    left = catalog.sql("select clip_id, cutting from clips_all order by all").rows()
    assert left == [("a", "y"), ("b", "y")]
    for keys in ({"source_id": ["s"]}, {}):
        with pytest.raises(UsageError, match="cannot delete"), catalog.transaction() as txn:
            txn.delete("clips", pa.table(keys))


def test_insert_searches_only_what_came_after_the_version_it_looked_at(catalog: Catalog) -> None:
    catalog.append("sources", [source("a")])
    looked = catalog.version
    Catalog.open(catalog.storage.root).append("sources", [source("b", "faster")])
    with catalog.transaction() as txn:
        txn.insert("sources", [source("b", "slower"), source("c")], since=looked)
    assert uris(catalog) == {"a": "a.mp4", "b": "faster", "c": "c.mp4"}


class BoomError(Exception):
    pass


def test_a_transaction_that_fails_writes_nothing_and_leaves_nothing(catalog: Catalog) -> None:
    def fail(catalog: Catalog) -> None:
        with catalog.transaction() as txn:
            txn.append("sources", [source("a")])
            txn.upsert("clips", [{"clip_id": "c", "cutting": "k"}])
            raise BoomError

    with pytest.raises(BoomError):
        fail(catalog)
    assert Catalog.open(catalog.storage.root).version == 0
    files = [file.name for file in Path(catalog.storage.root).rglob("*") if file.is_file()]
    assert files == ["catalog.json"]


def test_an_empty_transaction_makes_no_version(catalog: Catalog) -> None:
    with catalog.transaction() as txn:
        txn.append("sources", [])
    assert catalog.version == 1
    assert catalog.tables() == ["sources"]
    with catalog.transaction() as txn:
        txn.append("sources", [])
    assert catalog.version == 1


def test_rows_that_do_not_fit_are_refused(catalog: Catalog) -> None:
    with pytest.raises(SchemaError, match="no column 'urj'") as caught:
        catalog.append("sources", [{"source_id": "a", "urj": "x"}])
    assert "uri" in str(caught.value)
    with pytest.raises(SchemaError, match="lack the key column"):
        catalog.append("sources", [{"uri": "x"}])
    with pytest.raises(SchemaError, match="holds NULL"):
        catalog.append("sources", [{"source_id": None}])
    with pytest.raises(SchemaError, match="cannot hold"):
        catalog.append("sources", pa.table({"source_id": ["a"], "width": ["wide"]}))
    with pytest.raises(NotFoundError, match="no table is called 'clip'"):
        catalog.append("clip", [{}])
    assert catalog.version == 0


def test_what_was_written_comes_back_as_it_was(catalog: Catalog) -> None:
    row = {
        "source_id": "a",
        "uri": "ä/b'c.mp4",
        "bytes": 2**62,
        "fps": 23.976023976023978,
        "is_vfr": None,
        "has_alpha": True,
        "license_terms": {"redistribute": "yes", "commercial": "no", "derive": None},
        "created": datetime(2026, 5, 1, 12, 30, 0, 123456, tzinfo=UTC),
    }
    catalog.append("sources", [row])
    (back,) = catalog.sql("select * from sources").arrow().to_pylist()
    assert {name: back[name] for name in row} == row
    assert {name for name, value in back.items() if value is not None} == {*row} - {"is_vfr"}


rows = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 9), min_size=1)
steps = st.lists(st.tuples(st.sampled_from(["upsert", "insert", "delete"]), rows), max_size=6)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions=st.lists(steps, min_size=1, max_size=4))
def test_any_sequence_of_writes_equals_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, transactions: list[list[tuple[str, dict[str, int]]]]
) -> None:
    catalog = Catalog.create(tmp_path_factory.mktemp("any") / "corpus")
    catalog.append("sources", [])
    model: dict[str, int] = {}
    for changes in transactions:
        with catalog.transaction() as txn:
            for kind, values in changes:
                data = [{"source_id": name, "bytes": size} for name, size in values.items()]
                if kind == "upsert":
                    txn.upsert("sources", data)
                    model |= values
                elif kind == "insert":
                    txn.insert("sources", data)
                    model = values | model
                else:
                    txn.delete("sources", pa.table({"source_id": list(values)}))
                    model = {name: n for name, n in model.items() if name not in values}
        assert catalog.rows("sources") == len(model)
    assert dict(catalog.sql("select source_id, bytes from sources").rows()) == model


# -- versions ----------------------------------------------------------------------------------


def test_a_snapshot_stays_while_others_write(catalog: Catalog) -> None:
    catalog.append("sources", [source("a")])
    pinned = Catalog.open(catalog.storage.root)
    assert pinned.version == 1
    catalog.upsert("sources", [source("a", "new"), source("b")])
    assert uris(pinned) == {"a": "a.mp4"}
    assert uris(pinned.refresh()) == {"a": "new", "b": "b.mp4"}


def test_time_travel_by_version_and_by_time(catalog: Catalog) -> None:
    born = datetime.now(UTC) - timedelta(seconds=1)
    for name in "abc":
        catalog.append("sources", [source(name)])
    for version in (1, 2, 3):
        assert catalog.at(version).rows("sources") == version
    second = catalog.at(2).snapshot.created
    assert catalog.at(second).version == 2
    assert catalog.at(second - timedelta(microseconds=1)).version == 1
    assert catalog.at(second.isoformat()).version == 2
    assert catalog.at("2").version == 2
    assert Catalog.open(catalog.storage.root, version=1).rows("sources") == 1
    with pytest.raises(NotFoundError, match="versions 0 to 3"):
        catalog.at(4)
    with pytest.raises(NotFoundError, match="no version as old"):
        catalog.at(born)
    with pytest.raises(UsageError, match="ISO time"):
        catalog.at("yesterday")


def test_the_state_before_the_first_commit_can_be_read(catalog: Catalog) -> None:
    catalog.append("sources", [source("a")])
    assert catalog.at(0).tables() == []
    assert catalog.at(0).sql("select count(*) from sources").value() == 0


def test_history_tells_what_every_commit_did(catalog: Catalog) -> None:
    with catalog.transaction("first import") as txn:
        txn.append("sources", [source("a"), source("b")])
        txn.append("clips", [{"clip_id": "c", "cutting": "k"}])
    (row,) = catalog.history().to_pylist()
    assert (row["version"], row["message"]) == (1, "first import")
    assert dict(row["rows_added"]) == {"sources": 2, "clips": 1}
    assert set(dict(row["tables"])) == {"sources", "clips"}


def test_a_hundred_commits_fold_and_stay_in_order(catalog: Catalog) -> None:
    for number in range(100):
        with catalog.transaction(str(number)) as txn:
            txn.append("sources", [{"source_id": str(number)}])
    reopened = Catalog.open(catalog.storage.root)
    history = reopened.history()
    assert history.column("version").to_pylist() == list(range(1, 101))
    assert history.column("message").to_pylist() == [str(number) for number in range(100)]
    assert reopened.rows("sources") == 100
    log = reopened.log("commits")
    assert len(log.files(log.latest() or 0)) < 40
    assert [reopened.at(version).rows("sources") for version in (1, 77, 99)] == [1, 77, 99]


# -- stray versions ----------------------------------------------------------------------------


def leave_stray(catalog: Catalog, *columns: Column) -> None:
    """Commit to a table's log as a writer does that dies before its row in `commits`."""
    txn = Transaction(catalog)
    txn.append("scores/blur", [score("stray", blur=9.0)], [BLUR, *columns])
    spec, _ = txn._changes[0]
    txn._commit_table(catalog.newest(), spec.name, txn._changes)


@pytest.mark.parametrize("columns", [(), (SHAKE,)])
def test_what_a_dead_writer_left_is_invisible_and_undone(
    catalog: Catalog, columns: tuple[Column, ...]
) -> None:
    catalog.append("scores/blur", [score("a", blur=1.0)], [BLUR])
    leave_stray(Catalog.open(catalog.storage.root), *columns)
    assert catalog.refresh().rows("scores/blur") == 1
    catalog.append("scores/blur", [score("b", blur=2.0)])
    fresh = Catalog.open(catalog.storage.root)
    assert fresh.sql("select clip_id, blur from scores_blur order by 1").rows() == [
        ("a", 1.0),
        ("b", 2.0),
    ]
    assert "shake" not in [column.name for column in fresh.columns("scores/blur")]


def test_a_table_that_a_dead_writer_created_can_be_used(catalog: Catalog) -> None:
    leave_stray(catalog, SHAKE)
    assert catalog.refresh().tables() == []
    catalog.append("scores/blur", [score("b", blur=2.0)], [BLUR])
    assert catalog.sql("select blur from scores_blur").rows() == [(2.0,)]
    assert "shake" not in [column.name for column in catalog.columns("scores/blur")]


def test_other_tools_can_read_the_delta_tables(catalog: Catalog) -> None:
    catalog.append("sources", [source("a"), source("b")])
    catalog.upsert("sources", [source("a", "new")])
    table = DeltaTable(catalog.storage.uri("sources"))
    files = {Path(uri).name for uri in table.file_uris()}
    assert files == {item.path for item in catalog.files("sources")}
    assert table.version() == catalog.snapshot.tables["sources"]


# -- tables of operators -----------------------------------------------------------------------


def test_an_operator_may_measure_something_more(catalog: Catalog) -> None:
    catalog.append("scores/blur", [score("a", blur=1.0)], [BLUR])
    catalog.append("scores/blur", [score("b", blur=2.0, shake=3.0)], [BLUR, SHAKE])
    catalog.append("scores/blur", [score("c", blur=4.0)], [BLUR])
    found = catalog.sql("select clip_id, blur, shake from scores_blur order by 1").rows()
    assert found == [("a", 1.0, None), ("b", 2.0, 3.0), ("c", 4.0, None)]
    assert catalog.spec("scores/blur").column("shake") == SHAKE
    assert "shake" not in catalog.at(1).sql("select * from scores_blur").columns


def test_two_writers_may_each_add_a_column(catalog: Catalog) -> None:
    catalog.append("scores/blur", [score("a", blur=1.0)], [BLUR])
    slow, fast = catalog, Catalog.open(catalog.storage.root)
    with slow.transaction() as txn:
        tilt = Column("tilt", pa.float64(), "slope of the horizon", "degrees")
        txn.append("scores/blur", [score("b", tilt=5.0)], [BLUR, tilt])
        txn.append("scores/blur", [score("d", blur=0.5)])
        fast.append("scores/blur", [score("c", shake=3.0)], [BLUR, SHAKE])
    found = slow.sql("select clip_id, blur, shake, tilt from scores_blur order by 1").rows()
    assert found == [
        ("a", 1.0, None, None),
        ("b", None, None, 5.0),
        ("c", None, 3.0, None),
        ("d", 0.5, None, None),
    ]


def test_a_column_never_changes_its_type(catalog: Catalog) -> None:
    catalog.append("scores/blur", [score("a", blur=1.0)], [BLUR])
    other = Column("blur", pa.string(), "in words")
    with pytest.raises(SchemaError, match="cannot become string"):
        catalog.append("scores/blur", [{"clip_id": "b", "op_version": 1, "blur": "very"}], [other])
    with pytest.raises(UsageError, match="fixed columns"):
        catalog.append("clips", [], [BLUR])
