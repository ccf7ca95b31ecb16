"""The program `clipmill`: all groups of verbs, and what becomes of their errors.

To add verbs, write a module with a `typer.Typer()` called `app` and name it in `GROUPS`. Modules of
verbs import heavy packages inside their commands.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something was quarantined and `--strict` was given,
130 interrupted.
"""

from __future__ import annotations

import atexit
import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

__all__ = ["GROUPS", "app", "main"]

GROUPS = (
    ("Start here", "clipmill.cli.start"),
    ("Mill", "clipmill.cli.mill"),
    ("Look", "clipmill.cli.look"),
    ("Look", "clipmill.cli.browse"),
    ("Caption", "clipmill.cli.captions"),
    ("Ask", "clipmill.cli.ask"),
    ("Find", "clipmill.cli.search"),
    ("Decide", "clipmill.cli.decide"),
    ("Trust", "clipmill.cli.trust"),
    ("Trust", "clipmill.cli.label"),
    ("Trust", "clipmill.cli.coverage"),
    ("Trust", "clipmill.cli.report"),
    ("Share", "clipmill.cli.share"),
    ("Model", "clipmill.cli.models"),
    ("Tokens", "clipmill.cli.tokens"),
    ("Generate", "clipmill.cli.generate"),
    ("Generate", "clipmill.cli.evaluate"),
    ("Look after", "clipmill.cli.upkeep"),
)
"""The heading that a group of verbs gets in the help, and the module with its `app`."""

FAILED, BROKEN_PIPE, INTERRUPTED = 1, 141, 130


class Verbs(TyperGroup):
    """The verbs below their headings; errors as messages; `--debug` before or after the verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--debug" in args:
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            line = command.get_short_help_str(limit=200)
            sections.setdefault(heading, []).append((name, line))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except KeyboardInterrupt:
            _say("interrupted; what was committed stays")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our output has left. What is still buffered must not fail again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            raise typer.Exit(_explain(error)) from None
        return result


def _explain(error: Exception) -> int:
    """Print an error for people; returns the exit code."""
    from catalogs.errors import ClipmillError

    if isinstance(error, ClipmillError) or _is_of_the_zoo(error):
        _say(f"error: {error}")
        return int(getattr(error, "exit_code", FAILED))
    _say(f"unexpected {type(error).__name__}: {error}")
    _say("Next: run it again with --debug and report the traceback")
    return FAILED


def _is_of_the_zoo(error: Exception) -> bool:
    """The zoo stands alone and has errors of its own; they print the same way."""
    from zoo.errors import ZooError

    return isinstance(error, ZooError)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


app = typer.Typer(
    name="clipmill",
    cls=Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("clipmill"))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def clipmill(
    ctx: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of errors; also after the verb.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """From raw video and mocap to a corpus you can query, explain, re-cut, tokenize and train on.

    \b
    Examples:
      clipmill demo                  the whole way on rendered footage, checked against its truth
      clipmill doctor                what this machine can do
      clipmill sql corpus "select count(*), sum(duration_s) from clips"
      clipmill VERB --help           what a verb does, with examples
    """
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def _add_groups() -> None:
    for heading, module in GROUPS:
        group: typer.Typer = import_module(module).app
        for command in group.registered_commands:
            command.rich_help_panel = heading
        for verbs in group.registered_groups:
            verbs.rich_help_panel = heading
        app.add_typer(group)


_add_groups()


def main() -> NoReturn:
    """Run the program and leave for good.

    DuckDB and Delta keep native threads. Tearing them down at the interpreter's end can abort a
    process whose work is done, so Python's own clean-up runs here and the process ends after it.
    """
    try:
        app(prog_name="clipmill")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILED
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
