"""Verbs to start with: what this machine can do, and the whole way in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipmill.cli.options import AsJson
from clipmill.cli.output import print_json, print_table

app = typer.Typer()


@app.command()
def demo(
    to: Annotated[Path, typer.Argument(help="Folder for the footage and the catalog.")] = Path(
        "demo-corpus"
    ),
) -> None:
    """Render footage with known truth, run the whole way, and check the result against the truth.

    \b
    Examples:
      clipmill demo
      clipmill demo /tmp/try
    """
    from clipmill.demo import run

    run(to)


@app.command()
def doctor(
    catalog: Annotated[
        str | None, typer.Argument(help="Also check that this catalog can be read.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not try to reach the Hub and object stores.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Report what works here: versions, decoders, GPU, Hub, object stores, disk, extras.

    Exits with 1 only when something is broken that clipmill cannot do without.

    \b
    Examples:
      clipmill doctor
      clipmill doctor s3://bucket/corpus
      clipmill doctor --offline --json
    """
    from clipmill.doctor import examine, is_broken

    checks = examine(catalog, offline=offline)
    if as_json:
        print_json({"ok": not is_broken(checks), "checks": [check.to_dict() for check in checks]})
    else:
        print_table(
            ["area", "what", "state", "detail", "next"],
            [[c.area, c.name, c.state.value, c.detail, c.hint] for c in checks],
        )
    if is_broken(checks):
        raise typer.Exit(1)
