"""SQL over a snapshot: the views, the wide view, what is refused, and streaming."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from catalogs import Catalog, Column, Session, query, schema
from catalogs.errors import NotFoundError, QueryError
from catalogs.query import resolve_cutting

REAL = pa.float64()


def clip(name: str, cutting: str = "first", **values: Any) -> dict[str, Any]:
    return {"clip_id": name, "cutting": cutting, "source_id": name[0], **values}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Two sources; clips a1 a2 b1; a score with two versions and one with an awkward column."""
    catalog = Catalog.create(tmp_path / "corpus")
    with catalog.transaction() as txn:
        txn.append(
            "sources", [{"source_id": name, "uri": f"{name}.mp4", "fps": 25.0} for name in "ab"]
        )
        txn.append("clips", [clip("a1", fps=24.0), clip("a2"), clip("b1", duration_s=4.0)])
        blur = Column("blur", REAL, "how blurred the clip is")
        txn.append(
            "scores/blur",
            [{"clip_id": c, "op_version": 1, "blur": n} for c, n in (("a1", 0.1), ("a2", 0.2))],
            [blur],
        )
        columns = [
            Column("Mean Value", REAL, "a name that needs quotes"),
            Column("frames", REAL, "a name that a clip has too"),
        ]
        rows = [{"clip_id": "a1", "op_version": 1, "Mean Value": 7.0, "frames": 8.0}]
        txn.append("scores/odd", rows, columns)
    rows = [{"clip_id": c, "op_version": 2, "blur": n} for c, n in (("a2", 2.2), ("b1", 2.3))]
    catalog.append("scores/blur", rows)
    return catalog


def recut(catalog: Catalog) -> None:
    catalog.append("clips", [clip("a1", "second"), clip("a9", "second")])


# -- the wide view -----------------------------------------------------------------------------


def test_the_wide_view_picks_the_newest_version_of_every_operator(catalog: Catalog) -> None:
    found = catalog.sql("select clip_id, blur from clips order by 1").rows()
    assert found == [("a1", 0.1), ("a2", 2.2), ("b1", 2.3)]


def test_files_that_mix_versions_of_an_operator(catalog: Catalog) -> None:
    rows = [{"clip_id": c, "op_version": n, "blur": n / 2} for c, n in (("a1", 3), ("a2", 1))]
    catalog.append("scores/blur", rows)
    found = catalog.sql("select clip_id, blur from clips order by 1").rows()
    assert found == [("a1", 1.5), ("a2", 2.2), ("b1", 2.3)]
    catalog.compact()
    assert catalog.sql("select clip_id, blur from clips order by 1").rows() == found


def test_the_wide_view_has_the_sources_columns(catalog: Catalog) -> None:
    query = "select clip_id, uri, fps, source_fps from clips order by 1"
    assert catalog.sql(query).rows()[0] == ("a1", "a.mp4", 24.0, 25.0)


def test_the_wide_view_shows_the_newest_cutting(catalog: Catalog) -> None:
    recut(catalog)
    assert catalog.sql("select clip_id from clips order by 1").rows() == [("a1",), ("a9",)]
    assert catalog.sql("select count(*) from clips_all").value() == 5
    with Session(catalog, cutting="first") as session:
        assert session.sql("select count(*) from clips").value() == 3
    catalog.compact()
    assert catalog.sql("select count(*), count(blur) from clips").one() == (2, 1)


def test_a_cutting_is_named_by_the_beginning_of_its_hash(catalog: Catalog) -> None:
    recut(catalog)
    assert resolve_cutting(catalog, "fi") == "first"
    with pytest.raises(NotFoundError, match="no cutting begins with 'x'"):
        resolve_cutting(catalog, "x")
    with pytest.raises(NotFoundError, match="several cuttings begin"):
        resolve_cutting(catalog, "")


def test_names_that_need_quotes_or_collide(catalog: Catalog) -> None:
    query = """select "Mean Value", odd_frames, frames from clips where clip_id = 'a1'"""
    assert catalog.sql(query).one() == (7.0, 8.0, None)


@pytest.mark.parametrize(
    "query",
    [
        "select * from clips",
        "from clips",
        "select c.* from clips c",
        "select * exclude (uri) from clips",
        "select columns('.*') from clips",
        "with x as (select * from clips) select blur from x",
        "describe clips",
        "summarize clips",
    ],
)
def test_a_query_that_asks_for_everything_gets_it(catalog: Catalog, query: str) -> None:
    result = catalog.sql(query)
    text = str(result.columns) + str(result.rows())
    assert "blur" in text
    assert query.startswith("with") or "source_fps" in text


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("select count(*) from clips where duration_s > 1", 1),
        ("select clip_id, frames from clips", 1),
        ("select count(*) from clips where odd_frames > 1", 2),
        ("select count(*), max(odd_frames) from clips where uri like '%m%'", 3),
    ],
)
def test_the_wide_view_joins_only_what_is_mentioned(
    catalog: Catalog, query: str, tables: int
) -> None:
    plan = catalog.sql("explain " + query).rows()[0][1]
    assert plan.count("READ_PARQUET") == tables
    assert plan.count("Hash Join") == tables - 1


def test_an_answer_can_be_read_again_after_another_question(catalog: Catalog) -> None:
    with Session(catalog) as session:
        blurred = session.sql("select clip_id from clips where blur > 2 order by 1")
        assert session.sql("select count(*) from clips").value() == 3
        assert blurred.rows() == blurred.rows() == [("a2",), ("b1",)]


def test_columns_that_are_newer_than_the_catalog_are_null(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = schema.TABLES["clips"]
    newer = replace(spec, columns=(*spec.columns, Column("mood", pa.string(), "of the clip")))
    monkeypatch.setitem(schema.TABLES, "clips", newer)
    monkeypatch.setattr(query, "_CLIP_COLUMNS", tuple(column.name for column in newer.columns))
    assert catalog.sql("select mood from clips where clip_id = 'a1'").one() == (None,)
    catalog.append("clips", [clip("a3", mood="calm")])
    found = catalog.sql("select clip_id, mood from clips where clip_id > 'a1' and clip_id < 'b'")
    assert sorted(found.rows()) == [("a2", None), ("a3", "calm")]


# -- results -----------------------------------------------------------------------------------


def test_results_as_rows_dicts_arrow_and_pandas(catalog: Catalog) -> None:
    result = catalog.sql("select clip_id, blur from clips order by 1 limit 2")
    assert result.columns == ["clip_id", "blur"]
    assert result.types == ["VARCHAR", "DOUBLE"]
    assert result.dicts() == [{"clip_id": "a1", "blur": 0.1}, {"clip_id": "a2", "blur": 2.2}]
    assert result.arrow().to_pylist() == result.dicts()
    pandas = pytest.importorskip("pandas")
    assert result.pandas().equals(pandas.DataFrame(result.dicts()))


def test_parameters_by_position_and_by_name(catalog: Catalog) -> None:
    assert catalog.sql("select clip_id from clips where clip_id = ?", ["a1"]).value() == "a1"
    query = "select $x || clip_id from clips where clip_id = $name"
    assert catalog.sql(query, {"x": "'; --", "name": "b1"}).value() == "'; --b1"


def test_one_row_means_one(catalog: Catalog) -> None:
    with pytest.raises(QueryError, match="several rows"):
        catalog.sql("select clip_id from clips").one()
    with pytest.raises(QueryError, match="no row"):
        catalog.sql("select clip_id from clips where false").value()


def test_a_large_result_streams(catalog: Catalog) -> None:
    query = "select a.range as x, repeat('z', 100) as y from range(10000000) a, range(100) b"
    batches = catalog.sql(query).batches(50_000)
    first = next(batches)
    assert 0 < first.num_rows <= 50_000
    batches.close()


def test_a_stream_half_read_blocks_no_other_query(catalog: Catalog) -> None:
    with Session(catalog) as session:
        stream = session.sql("select a.range, b.clip_id from range(100000) a, clips b").batches(
            1_000
        )
        assert next(stream).num_rows > 0
        assert session.sql("select count(*), max(blur) from clips").one() == (3, 2.3)
        assert next(stream).num_rows > 0
        assert session.sql("select count(*) from captions").value() == 0


def test_an_error_in_the_middle_of_a_stream_is_a_query_error(catalog: Catalog) -> None:
    query = "select if(range > 500000, error('too late'), range) from range(1000000)"
    with pytest.raises(QueryError, match="too late"):
        list(catalog.sql(query).batches(1_000))


STREAM = """
import sys
from catalogs import Catalog, Session
with Session(Catalog.open(sys.argv[1]), memory="200MB", threads=1) as session:
    rows = 0
    for batch in session.sql("select range, repeat('z', 200) from range(4000000)").batches():
        rows += batch.num_rows
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, int(peak.split()[1]) // 1024)  # getrusage would count what this process was forked from
"""


def test_streaming_needs_little_memory(catalog: Catalog) -> None:
    """800 MB of text pass through; the process never holds them all."""
    done = subprocess.run(
        [sys.executable, "-c", STREAM, catalog.storage.root],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    rows, megabytes = map(int, done.stdout.split())
    assert rows == 4_000_000
    assert megabytes < 750


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "create table t (a int)",
        "insert into clips values (1)",
        "delete from clips",
        "drop view clips",
        "update clips set cutting = 'x'",
        "copy clips to 'stolen.csv'",
        "attach 'other.db'",
        "install httpfs",
        "load httpfs",
        "pragma database_list",
        "set threads = 1",
        "set allowed_directories = ['/']",
        "call pragma_version()",
        "begin transaction",
        "vacuum",
        "export database 'folder'",
    ],
)
def test_sql_runs_only_statements_that_read(
    catalog: Catalog, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError):
        catalog.sql(query).rows()
    assert {path.name for path in tmp_path.iterdir()} == {"corpus"}


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('{secret}')",
        "select * from read_text('{secret}')",
        "select * from '{secret}'",
        "select * from glob('{folder}/*')",
        "select * from read_parquet('{inside}/../../secret.csv')",
        "select * from read_text('http://127.0.0.1:9/x')",
        "select getenv('HOME')",
        "select * from query('copy (select 1) to ''{secret}''')",
    ],
)
def test_sql_reads_nothing_outside_the_catalog(
    catalog: Catalog, query: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    text = query.format(secret=secret, folder=tmp_path, inside=f"{catalog.storage.root}/clips")
    with pytest.raises(QueryError):
        catalog.sql(text).rows()
    assert secret.read_text() == "a,b\n1,2\n"


def test_several_statements_are_refused(catalog: Catalog) -> None:
    with pytest.raises(QueryError, match="2 statements"):
        catalog.sql("select 1; select 2")


def test_errors_help(catalog: Catalog) -> None:
    with pytest.raises(QueryError, match="did you mean 'clips'"):
        catalog.sql("select * from clip")
    with pytest.raises(QueryError, match="clipmill schema"):
        catalog.sql("select durration_s from clips")
    with pytest.raises(QueryError, match="Parser Error"):
        catalog.sql("selec 1")
