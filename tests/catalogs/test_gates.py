"""Gates are one expression over known columns. Everything else is refused, whatever it tries."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pytest

from catalogs.catalog import Catalog
from catalogs.errors import ClipmillError, GateError
from catalogs.funnel import funnel
from catalogs.gates import MAX_LENGTH, Grammar
from catalogs.judge import Judgement, Limits, time_limit
from catalogs.recipe import Recipe
from catalogs.select import select
from catalogs.testing.records import record_clips

COLUMNS = ["clip_id", "duration_s", "motion_px", "uri", "meta", "license_terms", "Loud_db"]


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar(COLUMNS, {"text": ["text_area"]})


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("duration_s between 3 and 15", ("duration_s",)),
        ("DURATION_S > 3 and loud_db < 1", ("duration_s", "Loud_db")),
        ("clips.motion_px > 1 or clips.duration_s > 1", ("motion_px", "duration_s")),
        ("license_terms.redistribute = 'yes'", ("license_terms",)),
        ("motion_px is null or motion_px not in (1, 2)", ("motion_px",)),
        ("uri like '%.mp4' and not contains(lower(uri), 'draft')", ("uri",)),
        ("regexp_matches(uri, '^s3://')", ("uri",)),
        ("meta->>'camera' = 'a' or json_extract_string(meta, 'x') = 'b'", ("meta",)),
        ("case when duration_s > 3 then true else false end", ("duration_s",)),
        ("try_cast(uri as double) > 3 or duration_s::integer = 4", ("uri", "duration_s")),
        ("abs(motion_px - 3) ** 2 % 5 < greatest(duration_s, 1)", ("motion_px", "duration_s")),
        ("coalesce(motion_px, 0) >= 0 -- a remark", ("motion_px",)),
        ("uri = 'a;b) or (c'", ("uri",)),
        ("true", ()),
    ],
)
def test_expressions_over_columns_are_fine(
    grammar: Grammar, text: str, columns: tuple[str, ...]
) -> None:
    assert grammar.expression(text, "gate 'g'").columns == columns


HOSTILE = {
    "a file": "(select count(*) from read_csv('/etc/passwd')) > 0",
    "a file as a function": "read_csv('/etc/passwd')",
    "a file's text": "read_text('/etc/passwd') is not null",
    "a file by name": "exists (from '/etc/passwd')",
    "a listing": "glob('/etc/*') is not null",
    "an environment variable": "getenv('HOME') = 'x'",
    "a setting": "current_setting('memory_limit') = 'x'",
    "copy": "copy clips to '/tmp/x'",
    "a second statement": "true; copy clips to '/tmp/x'",
    "attach": "true; attach '/tmp/x.db'",
    "install": "install httpfs",
    "load": "true; load httpfs",
    "pragma": "pragma database_list",
    "set": "true; set memory_limit = '100GB'",
    "drop": "true; drop view clips",
    "endless recursion": "(with recursive r as (select 1 union all from r) from r) > 0",
    "a long string": "length(repeat('x', 100000000)) > 1",
    "a padded string": "length(lpad('x', 100000000, 'y')) > 1",
    "a growing string": "length(replace(uri, 'a', uri)) > 1",
    "a huge list": "len(range(1000000000)) > 1",
    "a huge series": "len(generate_series(1, 1000000000)) > 1",
    "a loop over a list": "len(list_transform([1, 2], lambda x: x + 1)) > 1",
    "a loop in Python's way": "[x for x in [1, 2]] is not null",
    "a huge array type": "cast(null as integer[100000]) is null",
    "a list type": "cast(null as integer[]) is null",
    "an aggregate": "sum(duration_s) > 1",
    "a window": "row_number() over () = 1",
    "a window over an aggregate": "avg(duration_s) over (partition by uri) > 1",
    "a subquery": "duration_s > (select 3)",
    "a quantified subquery": "duration_s > all (select 3)",
    "another table": "duration_s > 3 from sources",
    "a second column": "duration_s > 3, duration_s < 4",
    "an early end": "duration_s > 3) or (true",
    "an early end with a table": "duration_s > 3) from sources where (true",
    "a union": "true union select 1",
    "a limit": "true limit 1",
    "a sample": "true using sample 1",
    "a name": "true as x",
    "a star": "columns(*) > 1",
    "a position": "#1 > 1",
    "a parameter": "duration_s > ?",
    "a named parameter": "duration_s > $x",
    "an open comment": "true /*",
    "chance": "random() < 0.5",
    "the clock": "now() > timestamp '2020-01-01'",
    "an error": "error('x')",
    "sleep": "sleep_ms(100000) is null",
    "deep parentheses": "(" * 4000 + "true" + ")" * 4000,
    "deep negation": "not " * 2400 + "true",
    "a long sum": "1" + "+1" * 4900 + " > 0",
    "length": "uri = '" + "x" * MAX_LENGTH + "'",
    "a schema's function": "main.sqrt(duration_s) > 1",
    "a distinct function": "sqrt(distinct duration_s) > 1",
    "nothing": "",
    "only a comment": "-- nothing",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_gates_are_refused(grammar: Grammar, text: str) -> None:
    with pytest.raises(GateError) as caught:
        grammar.expression(text, "gate 'g'")
    assert str(caught.value).startswith("gate 'g'")
    assert caught.value.allowed or caught.value.hint
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "text", ["duration_s limit 1", "all", "(select 1)", "1 union select 2", "a) , (b", "random()"]
)
def test_orders_are_checked_too(grammar: Grammar, text: str) -> None:
    with pytest.raises(GateError):
        grammar.order(text, "keep")


def test_an_order_may_have_several_parts(grammar: Grammar) -> None:
    order = grammar.order("motion_px desc nulls first, abs(duration_s)", "keep")
    assert order.columns == ("motion_px", "duration_s")


def test_unknown_columns_name_the_gate_and_the_nearest(grammar: Grammar) -> None:
    with pytest.raises(GateError, match=r"gate 'speed' .*'motion_pix'[\s\S]*'motion_px'"):
        grammar.gates({"speed": "motion_pix > 1"})
    with pytest.raises(GateError, match="'current_date'"):
        grammar.expression("current_date > '2020-01-01'", "gate 'g'")


def test_a_column_of_an_operator_that_has_not_run_is_told_apart(grammar: Grammar) -> None:
    with pytest.raises(GateError, match="operator 'text' that measures it has not run"):
        grammar.expression("text_area < 0.1", "gate 'text'")


def test_unknown_functions_name_the_nearest(grammar: Grammar) -> None:
    with pytest.raises(GateError, match="did you mean 'lower'"):
        grammar.expression("lowr(uri) = 'a'", "gate 'g'")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    rows = [
        {"clip_id": f"{n:032x}", "duration_s": float(n % 7), "uri": "a" * 200 + str(n)}
        for n in range(5_000)
    ]
    return record_clips(tmp_path_factory.mktemp("gates") / "corpus", rows)


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        ("duration_s", "gives DOUBLE, not a yes or no"),
        ("uri + 1 > 2", "gate 'g' does not work"),
        ("uri.x = 1", "gate 'g' does not work"),
    ],
)
def test_types_are_checked_before_anything_runs(clips: Catalog, predicate: str, words: str) -> None:
    with pytest.raises(GateError, match=words):
        Judgement(clips, Recipe("r", {"g": predicate}))


@pytest.mark.parametrize("predicate", ["uri::integer > 3", "duration_s > 'tall'"])
def test_a_gate_that_fails_on_a_value_is_named(clips: Catalog, predicate: str) -> None:
    recipe = Recipe("r", {"fine": "duration_s > 3", "bad": predicate})
    with pytest.raises(GateError, match=r"gate 'bad' fails on some clip: Conversion Error"):
        funnel(clips, recipe)
    with pytest.raises(GateError, match="gate 'bad'"):
        select(clips, recipe, "x")


def test_slow_gates_are_stopped(clips: Catalog) -> None:
    slow = " or ".join(f"regexp_matches(uri, '(a?){{{900 - n}}}[x-z]')" for n in range(8))
    limits = Limits(seconds=0.2, threads=1)
    with Judgement(clips, Recipe("r", {"g": slow}), limits=limits) as judgement:
        with pytest.raises(GateError, match=r"stopped after 0\.2 s"):
            judgement.materialise()
        # The connection lives on, and the next question has its own time.
        assert judgement.row("select 1") == (1,)


def test_the_time_limit_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with duckdb.connect() as connection:
        with time_limit(connection, 60):
            connection.execute("select 1")
        assert threading.active_count() == before
        with pytest.raises(GateError, match="stopped"), time_limit(connection, 0.05):
            connection.execute("select count(*) from range(1000000000000)").fetchall()
    assert threading.active_count() == before


def test_gates_cannot_reach_files_even_past_the_parser(clips: Catalog, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with Judgement(clips, Recipe("r", {"g": "true"})) as judgement:
        for sql in (
            f"select * from read_csv('{secret}')",
            f"copy (select 1) to '{tmp_path}/out.csv'",
            f"attach '{tmp_path}/out.db'",
            "set enable_external_access = true",
            "install httpfs",
        ):
            with pytest.raises(ClipmillError):
                judgement.rows(sql)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv"]
