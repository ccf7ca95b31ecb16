"""Every example in `docs/` runs and prints what the page says.

The blocks of a page run in order, in one empty folder:

- `python` blocks share one namespace. A `text` block right after one is what it prints.
- `console` blocks are shell commands after `$ `; the lines below a command are what it prints to
  stdout. A command without lines below may print anything; it must succeed.
- `...` in expected output stands for anything.
- A fence that says `skip` is only looked at, because it needs an account or hours.
"""

from __future__ import annotations

import contextlib
import doctest
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


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_the_examples_of(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    printed: str | None = None
    for block in blocks(page):
        if block.kind == "text" and printed is not None:
            check(block.place, printed, block.text)
        elif block.kind == "console":
            run_console(block)
        printed = run_python(block, namespace) if block.kind == "python" else None


def test_a_page_that_is_wrong_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    for text in (
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
    ):
        page.write_text(text)
        with pytest.raises(pytest.fail.Exception, match="instead of"):
            test_the_examples_of(page, tmp_path, monkeypatch)
    page.write_text("```console\n$ false | cat\n```\n")
    with pytest.raises(AssertionError, match="false"):
        test_the_examples_of(page, tmp_path, monkeypatch)
