"""The examples in `docs/` run and print what the page says.

A page that promises it (`PROMISE`) is run: its blocks in order, in one empty folder:

- `python` blocks share one namespace. A `text` block right after one is what it prints.
- `console` blocks are shell commands after `$ `; the lines below a command are what it prints to
  stdout. A command without lines below may print anything; it must succeed.
- `...` in expected output stands for anything.
- A fence that says `skip` is left out, because it needs an account or hours.

Of the other pages, which show how things look on footage that is not here, the `python` blocks must
parse and import names that exist.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PROMISE = "Every example on this page is run by the tests"
PACKAGES = {"catalogs", "curation", "tokenize_jobs", "zoo", "clipmill"}
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        kind = "skip" if "skip" in match[2] else match[1]
        yield Block(page, line, kind, match[3])


def check(place: str, got: str, expected: str) -> None:
    checker = doctest.OutputChecker()
    if not checker.check_output(expected, got, doctest.ELLIPSIS):
        pytest.fail(f"{place} prints\n{got}\ninstead of\n{expected}", pytrace=False)


def run_python(block: Block, namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)  # noqa: S102 - our own pages
    return printed.getvalue()


def run_console(block: Block) -> None:
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
        assert done.returncode == 0, f"{block.place}: {command}\n{done.stderr}"
        if expected.strip():
            check(f"{block.place}: {command}", done.stdout, expected)


def run_page(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    printed: str | None = None
    for block in blocks(page):
        if block.kind == "text" and printed is not None:
            check(block.place, printed, block.text)
        elif block.kind == "console":
            run_console(block)
        printed = run_python(block, namespace) if block.kind == "python" else None


def check_names(block: Block) -> None:
    """An illustration must parse, and what it imports from us must exist."""
    for node in ast.walk(ast.parse(block.text, block.place)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            module = importlib.import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name), f"{block.place}: no {name.name} in {node.module}"


PAGES = {page.name: page for page in sorted(DOCS.glob("*.md"))}
RUN = [name for name, page in PAGES.items() if PROMISE in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", RUN)
def test_the_examples_run(
    name: str, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGES[name])


@pytest.mark.parametrize("name", sorted(set(PAGES) - set(RUN)))
def test_the_illustrations_name_what_exists(name: str) -> None:
    for block in blocks(PAGES[name]):
        if block.kind == "python":
            check_names(block)


def test_the_catalog_is_explained_by_examples_that_run() -> None:
    assert "catalog.md" in RUN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "instead of"),
        ("```console\n$ echo one\ntwo\n```\n", "instead of"),
        ("```console\n$ false | cat\n```\n", "false"),
    ],
)
def test_a_page_that_is_wrong_is_noticed(text: str, words: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=words):
        run_page(page)
