"""`sql`, `schema` and `quarantine`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from catalogs import Catalog

COLUMNS = "clip_id, duration_s, luma_mean_255"


def test_a_pipe_gets_tab_separated_text(clipmill: Any, corpus_path: Path) -> None:
    query = f"select {COLUMNS} from clips where duration_s in (4, 5) order by 2"

    result = clipmill("sql", corpus_path, query)

    assert result.stdout.splitlines() == [
        "clip_id\tduration_s\tluma_mean_255",
        "3" * 32 + "\t4.0\t30.0",
        "4" * 32 + "\t5.0\t",
    ]


def test_values_cannot_break_the_lines(clipmill: Any, corpus_path: Path) -> None:
    result = clipmill("sql", corpus_path, "select 'a\tb\nc\\' as t, [1, 2] as l, true as b")

    assert result.stdout.splitlines()[1:] == ["a\\tb\\nc\\\\\t[1, 2]\ttrue"]


def test_a_terminal_gets_a_table(corpus_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipmill.cli.results import print_result

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, remarks = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", remarks)
    print_result(Catalog.open(corpus_path).sql("select range as n from range(1000)"), None, None)

    lines = [line.split() for line in terminal.getvalue().splitlines()]
    assert "n" in terminal.getvalue()
    assert ["99"] in lines
    assert ["100"] not in lines
    assert "the first 100 rows" in remarks.getvalue()


def test_json_is_one_document(clipmill: Any, corpus_path: Path) -> None:
    query = "select clip_id, luma_mean_255, created, 'nan'::double as n from clips order by 1"

    rows = json.loads(clipmill("sql", corpus_path, query, "--json").stdout)

    assert len(rows) == 10
    assert rows[3]["luma_mean_255"] == 30.0
    assert rows[4]["luma_mean_255"] is None
    assert rows[0]["created"].startswith("2026-05-01T")
    assert rows[0]["n"] is None


def test_no_rows_are_an_empty_json_list(clipmill: Any, corpus_path: Path) -> None:
    result = clipmill("sql", corpus_path, "from clips where false", "--json")

    assert json.loads(result.stdout) == []


@pytest.mark.parametrize(("limit", "rows"), [("3", 3), ("0", 10), ("99", 10)])
def test_limit(clipmill: Any, corpus_path: Path, limit: str, rows: int) -> None:
    result = clipmill("sql", corpus_path, "from clips", "--limit", limit, "--format", "jsonl")

    assert len([json.loads(line) for line in result.stdout.splitlines()]) == rows


def test_every_format_holds_the_same(clipmill: Any, corpus_path: Path, tmp_path: Path) -> None:
    query = f"select {COLUMNS}, [duration_s] as list from clips order by clip_id"
    expected = Catalog.open(corpus_path).sql(query).dicts()
    files = {}
    for name in ("parquet", "csv", "tsv", "json", "jsonl"):
        files[name] = tmp_path / "new" / f"out.{name}"
        result = clipmill("sql", corpus_path, query, "--to", files[name])
        assert result.exit_code == 0, result.stderr
        assert "10 rows" in result.stderr

    assert pq.read_table(files["parquet"]).to_pylist() == expected
    assert json.loads(files["json"].read_text()) == expected
    assert [json.loads(line) for line in files["jsonl"].read_text().splitlines()] == expected
    for name, delimiter in (("csv", ","), ("tsv", "\t")):
        text = io.StringIO(files[name].read_text(), newline="")
        rows = list(csv.DictReader(text, delimiter=delimiter))
        assert [row["clip_id"] for row in rows] == [row["clip_id"] for row in expected]
        assert [json.loads(row["list"]) for row in rows] == [row["list"] for row in expected]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in files.values()
    ), "staged files were left behind"


def test_an_empty_result_keeps_its_columns(
    clipmill: Any, corpus_path: Path, tmp_path: Path
) -> None:
    clipmill("sql", corpus_path, "from clips where false", "--to", tmp_path / "none.parquet")

    table = pq.read_table(tmp_path / "none.parquet")
    assert table.num_rows == 0
    assert "luma_mean_255" in table.column_names


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--to", "out.xyz"], "does not say in which format"),
        (["--format", "parquet"], "not for printing"),
        (["--format", "table", "--to", "x.csv"], "for printing"),
        (["--at", "77"], "no version 77"),
        (["--cutting", "zzz"], "no cutting begins"),
    ],
)
def test_wrong_options_of_sql(
    clipmill: Any, corpus_path: Path, options: list[str], problem: str
) -> None:
    result = clipmill("sql", corpus_path, "from clips", *options)

    assert result.exit_code == 2
    assert problem in result.stderr


def test_sql_reads_an_older_version(clipmill: Any, corpus_path: Path) -> None:
    query = "select count(*) as n from quarantine"

    assert clipmill("sql", corpus_path, query).stdout == "n\n1\n"
    assert clipmill("sql", corpus_path, query, "--at", "1").stdout == "n\n0\n"


def test_sql_does_not_write(clipmill: Any, corpus_path: Path) -> None:
    result = clipmill("sql", corpus_path, "create table t as select 1")

    assert result.exit_code == 1
    assert "not a statement that reads" in result.stderr


def test_schema_lists_tables(clipmill: Any, corpus_path: Path) -> None:
    rows = json.loads(clipmill("schema", corpus_path, "--json").stdout)

    assert {row["view"]: row["rows"] for row in rows} == {
        "clips_all": 10,
        "quarantine": 1,
        "scores_exposure": 10,
        "sources": 3,
    }


def test_schema_explains_the_wide_view(clipmill: Any, corpus_path: Path) -> None:
    rows = json.loads(clipmill("schema", corpus_path, "clips", "--json").stdout)

    assert [row["column"] for row in rows] == Catalog.open(corpus_path).clips.columns
    owners = {row["column"]: (row["table"], row["unit"]) for row in rows}
    assert owners["luma_mean_255"] == ("scores/exposure", "0 to 255")
    assert owners["source_fps"] == ("sources", "1/s")
    assert all(row["meaning"] for row in rows)


@pytest.mark.parametrize("name", ["scores/exposure", "scores_exposure"])
def test_schema_takes_either_name(clipmill: Any, corpus_path: Path, name: str) -> None:
    result = clipmill("schema", corpus_path, name)

    assert result.stdout.splitlines()[-1].split("\t") == [
        "luma_mean_255",
        "double",
        "0 to 255",
        "mean luma",
        "scores/exposure",
    ]


def test_schema_of_an_unknown_table(clipmill: Any, corpus_path: Path) -> None:
    result = clipmill("schema", corpus_path, "clipz")

    assert result.exit_code == 2
    assert "'clips'" in result.stderr


def test_quarantine(clipmill: Any, corpus_path: Path) -> None:
    listed = clipmill("quarantine", corpus_path)
    counted = clipmill("quarantine", corpus_path, "--by-reason", "--json")
    other = clipmill("quarantine", corpus_path, "--stage", "decode", "--strict")

    assert listed.stdout.splitlines()[1] == "bad.mp4\tprobe\tEmpty\tno\\tbytes\\n"
    assert json.loads(counted.stdout) == [{"stage": "probe", "error_class": "Empty", "files": 1}]
    assert other.exit_code == 0
    assert "nothing is quarantined" in other.stderr


def test_quarantine_strict_is_three(clipmill: Any, corpus_path: Path) -> None:
    assert clipmill("quarantine", corpus_path, "--strict").exit_code == 3
    assert clipmill("quarantine", corpus_path, "--strict", "--at", "1").exit_code == 0
