"""The page `docs/cli.md`, made from the help of every verb.

python -m clipmill.cli.reference > docs/cli.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from clipmill.cli.root import app

__all__ = ["reference"]

WIDTH = 88

HEAD = """\
# The command line

Every verb of `clipmill`, as its `--help` tells it. This page is made from the program:
`python -m clipmill.cli.reference > docs/cli.md`.

Results go to stdout: tables on a terminal, tab-separated text in a pipe, JSON with `--json`.
Remarks go to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something is quarantined and
`--strict` was given, 130 interrupted.
"""


def reference() -> str:
    """The whole page."""
    program: Any = get_command(app)
    root = typer.Context(program, info_name="clipmill", terminal_width=WIDTH)
    parts = [HEAD, _block(program.get_help(root))]
    heading = None
    for name, verb in program.commands.items():
        if verb.rich_help_panel != heading:
            heading = verb.rich_help_panel
            parts.append(f"## {heading}\n")
        parts += _of_verb(name, verb, root)
    return "\n".join(parts)


def _of_verb(name: str, verb: Any, parent: typer.Context) -> Iterator[str]:
    """The help of a verb, and of the verbs below it."""
    context = typer.Context(verb, info_name=name, parent=parent, terminal_width=WIDTH)
    yield f"### {context.command_path}\n"
    yield _block(verb.get_help(context))
    for below, command in getattr(verb, "commands", {}).items():
        yield from _of_verb(below, command, context)


def _block(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"```text\n{lines}\n```\n"


if __name__ == "__main__":
    print(reference(), end="")
