"""The verb that writes a report of a corpus and a selection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipmill.cli.options import AsJson, AtVersion, CatalogPath, open_catalog
from clipmill.cli.output import human_bytes, note, print_json

app = typer.Typer()


@app.command()
def report(
    catalog: CatalogPath,
    selection: Annotated[
        str | None,
        typer.Argument(
            metavar="SELECTION", help="Name or id of a selection; default: the one made last."
        ),
    ] = None,
    to: Annotated[
        Path, typer.Option("--to", "-o", metavar="FILE", help="The HTML file to write.")
    ] = Path("report.html"),
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML file that tells what a corpus is and what a recipe made of it.

    It holds the funnel, each gate with the clips just in and just out, histograms before and after,
    duplicates side by side, splits and leaks, captions with their faults, licences, quarantine,
    runs with their rates, and versions. The file needs nothing else: no network, no script. It can
    be printed. Local folders are not named in it.

    \b
    Examples:
      clipmill report corpus
      clipmill report corpus train-1 -o train-1.html
    """
    from catalogs.report import write_report
    from clipmill.pictures import postures

    done = write_report(open_catalog(catalog, at), to, selection, draw_take=postures)
    if as_json:
        print_json({"path": str(done.path), "bytes": done.bytes, "selection": done.selection})
        return
    print(done.path)
    note(f"{human_bytes(done.bytes)}, of {done.selection or 'all clips'}")
