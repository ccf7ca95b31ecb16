"""Verbs that turn files into clips and scores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, CatalogPath, Strict, leave_if_quarantined

if TYPE_CHECKING:
    from catalogs.recipe import Recipe
    from curation.jobs.run import Report
    from curation.jobs.settings import MillSettings

app = typer.Typer()

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-w",
        min=0,
        help="Processes; 0 works without Ray. Default: one per CPU, 0 for a few MB.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Join this Ray cluster (e.g. auto) instead of a local one."),
]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", "-r", help="A recipe file, or a name that ships.")
]
Detector = Annotated[
    str | None, typer.Option("--detector", help="How to find boundaries, instead of the recipe's.")
]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="The detector's threshold, on its own scale.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@app.command()
def curate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Folders, files, globs, .list files, Parquet tables with a uri column, s3:// ...",
        ),
    ],
    catalog: Annotated[
        str, typer.Option("--catalog", "-c", help="Where the corpus is or shall be.")
    ],
    recipe: RecipeName = None,
    detector: Detector = None,
    threshold: Threshold = None,
    workers: Workers = None,
    address: Address = None,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Name of the collection the files are from.")
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="Their licence: SPDX id or text.")
    ] = None,
    chunk_s: Annotated[
        float | None, typer.Option("--chunk", min=1, help="Seconds per chunk of long videos.")
    ] = None,
    wall_s: Annotated[
        float | None, typer.Option("--limit", min=1, help="Seconds that one chunk may take.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again what is in quarantine.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    strict: Strict = False,
) -> None:
    """Bring files into a catalog: decode once, measure, cut, score. Rerun to go on.

    Files are known by their content: what was measured before is not opened again, wherever it
    lies now. What cannot be read ends in quarantine with the reason.

    \b
    Examples:
      clipmill curate footage/ --catalog corpus --recipe web-video
      clipmill curate takes/*.bvh -c corpus --license CC-BY-4.0
      clipmill curate urls.parquet -c s3://bucket/corpus --address auto
    """
    from curation.jobs.run import curate as run

    chosen = _recipe(recipe)
    report = run(
        paths,
        catalog,
        settings=_settings(chosen, detector, threshold, chunk_s=chunk_s, wall_s=wall_s),
        recipe=chosen,
        workers=workers,
        address=address,
        collection=collection,
        license=license_name,
        retry=retry,
        progress=None if quiet else sys.stderr,
    )
    _finish(report, as_json, strict)


@app.command()
def recut(
    catalog: CatalogPath,
    recipe: RecipeName = None,
    detector: Detector = None,
    threshold: Threshold = None,
    workers: Workers = None,
    address: Address = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cut everything again from stored signals, beside the cuttings that exist. Opens no video.

    \b
    Examples:
      clipmill recut corpus --detector adaptive --threshold 3.5
      clipmill recut corpus --recipe high-quality
    """
    from curation.jobs.run import recut as run

    chosen = _recipe(recipe)
    report = run(
        catalog,
        settings=_settings(chosen, detector, threshold),
        recipe=chosen,
        workers=workers,
        address=address,
        progress=None if quiet else sys.stderr,
    )
    _finish(report, as_json, strict=False)


@app.command()
def score(
    catalog: CatalogPath,
    names: Annotated[list[str], typer.Argument(metavar="OPERATOR...", help="What to measure.")],
    recipe: RecipeName = None,
    workers: Workers = None,
    address: Address = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run operators on clips that they have not scored. Opens no video.

    The clips are those of the recipe's cutting, else of the newest one.

    \b
    Examples:
      clipmill score corpus ocr
      clipmill score corpus motion text --recipe web-video
    """
    from dataclasses import replace

    from catalogs import Catalog
    from curation import operators
    from curation.jobs.run import newest_segment
    from curation.jobs.run import recut as run

    for name in names:
        operators.operator_class(name)
    chosen = _recipe(recipe)
    settings = replace(_settings(chosen, None, None), operators=tuple(sorted(set(names))))
    if chosen is None:
        settings = replace(settings, segment=newest_segment(Catalog.open(catalog)))
    report = run(
        catalog,
        settings=settings,
        recipe=chosen,
        workers=workers,
        address=address,
        progress=None if quiet else sys.stderr,
    )
    _finish(report, as_json, strict=False)


@app.command()
def cuts(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Videos.")],
    detector: Detector = None,
    threshold: Threshold = None,
    as_json: AsJson = False,
) -> None:
    """Find the changes of shot in files, without a catalog.

    `frame` is the first frame of the new shot; of a dissolve or fade its first mixed frame, and
    `end_frame` its last.

    \b
    Examples:
      clipmill cuts film.mp4
      clipmill cuts *.mp4 --detector adaptive --json
    """
    from clipmill.cli.output import note, print_json, print_table
    from curation.cuts import find_cuts

    settings = _settings(None, detector, threshold).segment
    found, failed = [], 0
    for file in files:
        result = find_cuts(file, settings)
        failed += "error" in result
        if "error" in result and not as_json:
            note(f"error: {result['error']}")
        found.append(result)
    if as_json:
        print_json(found)
    else:
        columns = ("file", "kind", "frame", "end_frame", "pts", "seconds")
        rows = [
            [result["file"], *(boundary[name] for name in columns[1:])]
            for result in found
            for boundary in result.get("boundaries", ())
        ]
        print_table(columns, rows)
    if failed:
        raise typer.Exit(1)


@app.command()
def probe(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Videos.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare sampled frames of both decoding backends.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what files are: container, codec, size as displayed, exact rate, frames, damage.

    With `--verify`, a sample of frames is read with PyAV and with decord, and times and pixels are
    compared. Exits with 1 when a file cannot be used or the backends disagree.

    \b
    Examples:
      clipmill probe film.mp4
      clipmill probe *.mp4 --verify --json
    """
    from clipmill.cli.output import note, print_json, print_rows
    from curation.inspect_media import inspect

    rows = [inspect(file, verify=verify) for file in files]
    if as_json:
        print_json(rows)
    else:
        good = [row for row in rows if "error" not in row]
        for row in rows:
            if "error" in row:
                note(f"error: {row['error']}")
        if good:
            print_rows(good, list(good[0]))
    if any("error" in row or row.get("agrees") is False for row in rows):
        raise typer.Exit(1)


def _recipe(name: str | None) -> Recipe | None:
    from catalogs.recipe import load_recipe

    return load_recipe(name) if name else None


def _settings(
    recipe: Recipe | None,
    detector: str | None,
    threshold: float | None,
    **limits: float | None,
) -> MillSettings:
    """The recipe's settings with what the command line says instead."""
    from dataclasses import replace

    from curation.jobs.settings import MillSettings

    settings = MillSettings.of(recipe)
    if detector is not None:
        settings = replace(
            settings,
            segment=replace(settings.segment, detector=detector, threshold=threshold, options={}),
        )
    elif threshold is not None:
        settings = replace(settings, segment=replace(settings.segment, threshold=threshold))
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    return replace(settings, limits=replace(settings.limits, **given)) if given else settings


def _finish(report: Report, as_json: bool, strict: bool) -> None:
    from clipmill.cli.output import print_json

    if as_json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            print(line)
    if report.status == "interrupted":
        raise typer.Exit(130)
    leave_if_quarantined(strict, report.quarantined + report.still_quarantined)
