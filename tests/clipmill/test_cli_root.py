"""The program itself: help, exit codes, errors, interruption, pipes, a clean end."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from clipmill.cli import app

VERBS = dict(get_command(app).commands.items())

ENDLESS = "select count(*) from range(10000000) a, range(10000000) b where a.range <> b.range"


def test_every_group_is_in_the_help(clipmill: Any) -> None:
    alone, asked = clipmill(), clipmill("--help")

    assert alone.exit_code == asked.exit_code == 0
    assert alone.stdout == asked.stdout
    for verb in VERBS:
        assert f"\n  {verb} " in asked.stdout
    assert asked.stdout.index("Start here:") < asked.stdout.index("Ask:")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_with_an_example(clipmill: Any, verb: str) -> None:
    shown = clipmill(verb, "--help")

    assert shown.exit_code == 0
    description, _, examples = shown.stdout.partition("Examples:")
    assert f"\n    clipmill {verb}" in examples, "the help shows no example of the verb"
    assert len(description.split("\n\n")[1].strip()) > 20, "the help says nothing"
    for param in VERBS[verb].params:
        assert param.help, f"{verb}: {param.name} is not explained"


def test_version(clipmill: Any) -> None:
    assert clipmill("--version").stdout.strip()[0].isdigit()


@pytest.mark.parametrize(
    "args", [("selct",), ("sql",), ("sql", "corpus", "select 1", "--nothing"), ("--nothing",)]
)
def test_wrong_usage_is_two(clipmill: Any, args: tuple[str, ...]) -> None:
    result = clipmill(*args)

    assert result.exit_code == 2
    assert "Error:" in result.stderr
    assert not result.stdout


def test_a_mistyped_verb_names_the_nearest(clipmill: Any) -> None:
    assert "Did you mean 'select'" in clipmill("selct").stderr


def test_an_error_says_what_was_wrong_and_what_to_do(clipmill: Any, tmp_path: Path) -> None:
    result = clipmill("sql", tmp_path / "nowhere", "select 1")

    assert result.exit_code == 2
    wrong, after = result.stderr.strip().splitlines()
    assert wrong.startswith(f"error: {tmp_path / 'nowhere'} is not a catalog")
    assert after.startswith("Next: ")


def test_a_failure_is_one(clipmill: Any, corpus_path: Path) -> None:
    result = clipmill("sql", corpus_path, "select nothing from clips")

    assert result.exit_code == 1
    assert "nothing" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_wherever_it_stands(program: Any, before: bool) -> None:
    args = ["sql", "nowhere", "select 1"]
    result = program(*(["--debug", *args] if before else [*args, "--debug"]))

    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "NotFoundError" in result.stderr


def test_something_unforeseen_is_no_traceback_either(clipmill: Any, corpus_path: Path) -> None:
    (corpus_path / "commits" / "_delta_log" / "00000000000000000000.json").write_text("{")

    result = clipmill("sql", corpus_path, "select 1")

    assert result.exit_code == 1
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_exit_codes_of_the_real_program(program: Any, corpus_path: Path) -> None:
    assert program("sql", corpus_path, "select 1").returncode == 0
    assert program("sql", corpus_path, "select nothing").returncode == 1
    assert program("sql", corpus_path).returncode == 2
    assert program("quarantine", corpus_path, "--strict").returncode == 3


LISTENS = ("env", "--default-signal=INT")
"""Shells let what they start in the background ignore Ctrl-C, and so would its children."""


def test_an_interruption_is_polite(corpus_path: Path) -> None:
    query = "select 1 as started union all (" + ENDLESS + ")"
    command = [sys.executable, "-m", "clipmill", "sql", str(corpus_path), query]
    hook = "import clipmill.cli.ask as ask, sys; p = ask.print_result"
    announce = f"{hook}; ask.print_result = lambda *a: (print('go', flush=True), p(*a))"
    command[1:3] = ["-c", f"{announce}; from clipmill.cli import main; main()"]
    command[:0] = LISTENS
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        words = process.communicate()[1]

    assert process.returncode == 130
    assert words.startswith("interrupted")
    assert "Traceback" not in words


def test_a_reader_that_leaves_is_no_error(corpus_path: Path) -> None:
    query = "from clips a, clips b, clips c, clips d, clips e"
    command = [sys.executable, "-m", "clipmill", "sql", str(corpus_path), query]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("clip_id\t")
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


FIFTY_RUNS = """
import contextlib, json, os, sys
import catalogs.query, catalogs.tables, pyarrow.parquet
from clipmill.cli import main
with contextlib.suppress(ImportError):
    import pandas  # an extra that Arrow would otherwise load fifty times

ends = {}
for start in range(0, 50, 2):
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            main()
        children.append(child)
    for child in children:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ends[code] = ends.get(code, 0) + 1
print(json.dumps(ends))
"""
"""Forks of a process that has imported and done nothing: each ends as a command does."""


def test_fifty_runs_end_cleanly(corpus_path: Path) -> None:
    """DuckDB and Delta in one process were seen to abort at its end, once in some thirty runs."""
    query = "select count(*) from clips where luma_mean_255 > 3"
    result = subprocess.run(
        [sys.executable, "-c", FIFTY_RUNS, "sql", str(corpus_path), query],
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert json.loads(result.stdout) == {"0": 50}
    assert result.stderr == ""
