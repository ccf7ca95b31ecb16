"""The verb that writes a report of a corpus and a selection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, AtVersion, CatalogPath, open_catalog
from clipmill.cli.output import human_bytes, note, print_json

if TYPE_CHECKING:
    from PIL import Image

    from catalogs import Session

app = typer.Typer()

TAKE_PX = 176


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

    done = write_report(open_catalog(catalog, at), to, selection, draw_take=_draw_take)
    if as_json:
        print_json({"path": str(done.path), "bytes": done.bytes, "selection": done.selection})
        return
    print(done.path)
    note(f"{human_bytes(done.bytes)}, of {done.selection or 'all clips'}")


def _draw_take(session: Session, clip: Mapping[str, Any], count: int) -> list[Image.Image]:
    """Postures evenly spread over a take; none where no body is stored."""
    from catalogs.errors import NotFoundError
    from curation.mocap.figure import Figure
    from curation.mocap.stored import stored_motion

    try:
        motion = stored_motion(session, clip)
    except NotFoundError:
        return []
    figure = Figure(motion, TAKE_PX)
    last = len(motion) - 1
    return [figure.draw(round((number + 0.5) * last / count)) for number in range(count)]
