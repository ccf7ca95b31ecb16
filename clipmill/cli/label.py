"""Verbs for what a person says about clips: drawing clips to label, and gates against labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, AtVersion, CatalogPath, known_operators, open_catalog
from clipmill.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from catalogs import Catalog
    from catalogs.calibrate import Calibration, GateReport
    from catalogs.labels import Labels
    from catalogs.recipe import Recipe
    from catalogs.sampling import Drawn

app = typer.Typer()

RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="A YAML file, or a recipe that ships; default: that of the selection made last.",
    ),
]
CuttingOption = Annotated[
    str | None, typer.Option("--cutting", help="Whose clips; default: the recipe's, else newest.")
]
Seed = Annotated[int, typer.Option(help="The same seed draws the same.")]


def draw_clips(
    catalog: str,
    *,
    gate: str | None,
    near: int,
    anywhere: int,
    recipe: str | None,
    to: Path | None,
    sheets: bool,
    seed: int,
    cutting: str | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Clips for a person to label: what `clipmill sample CATALOG` does."""
    from catalogs.errors import UsageError
    from catalogs.sampling import sample as draw
    from catalogs.sampling import write_labels

    if sheets and to is None:
        raise UsageError("--sheets needs a folder", hint="--to DIR")
    source = open_catalog(catalog, at)
    drawn = draw(
        source,
        _recipe(source, recipe),
        gate=gate,
        near=near,
        anywhere=anywhere,
        seed=seed,
        cutting=cutting,
        operators=known_operators(),
    )
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        pictures = _draw_sheets(source, drawn, to) if sheets else None
        write_labels(to / "labels.csv", drawn, pictures)
        note(f"{len(drawn)} clips wait for a label in {to / 'labels.csv'}")
    if as_json:
        print_json([item.to_dict() for item in drawn])
    elif to is None:
        rows = [item.to_dict() for item in drawn]
        print_table(list(rows[0]) if rows else ["clip_id"], [list(row.values()) for row in rows])


def _draw_sheets(catalog: Catalog, drawn: Sequence[Drawn], folder: Path) -> dict[str, str]:
    """A contact sheet for each clip that has pictures; their names by clip."""
    from catalogs.errors import NotFoundError
    from curation.look import draw_clip

    (folder / "sheets").mkdir(exist_ok=True)
    found = {}
    for number, item in enumerate(drawn, 1):
        name = f"sheets/{number:03}-{item.clip_id[:12]}.png"
        try:
            draw_clip(catalog, item.row, folder / name)
            found[item.clip_id] = name
        except NotFoundError as error:
            note(error.problem)
    return found


@app.command()
def calibrate(
    catalog: CatalogPath,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with clip_id, label (keep or drop) and, if wanted, gate."),
    ] = None,
    reviewer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose labels of clipmill browse to take instead."),
    ] = None,
    recipe: RecipeOption = None,
    slip_cost: Annotated[
        float, typer.Option(help="How many lost clips are as bad as one that slips in.")
    ] = 1.0,
    to: Annotated[Path | None, typer.Option(help="Folder for a picture of each gate.")] = None,
    seed: Seed = 0,
    cutting: CuttingOption = None,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Compare every gate of a recipe with labels, and suggest limits with their cost.

    `precision` is the share of kept clips that should stay, `recall` the share of clips to stay
    that are kept; brackets hold 95% intervals. `lost` should stay and is dropped, `slipped` should
    go and is kept. A row whose column `gate` is empty labels the clip as a whole and counts for
    every gate. Where labels cannot tell, no limit is suggested, and the reason is told.

    \b
    Examples:
      clipmill calibrate corpus --labels motion/labels.csv
      clipmill calibrate corpus --labels all/labels.csv --recipe web-video --to calibration
      clipmill calibrate corpus --labels labels.csv --slip-cost 3 --json
      clipmill calibrate corpus --reviewer ada
    """
    from catalogs.calibrate import calibrate as compare

    source = open_catalog(catalog, at)
    found = compare(
        source,
        _labels(source, labels, reviewer),
        _recipe(source, recipe),
        cutting=cutting,
        slip_cost=slip_cost,
        seed=seed,
        operators=known_operators(),
    )
    if to is not None:
        from catalogs.calibration_charts import write_charts

        for path in write_charts(found, to):
            note(f"drawn in {path}")
    if as_json:
        print_json(found.to_dict())
        return
    _print_gates(found)
    _print_limits(found)
    note(
        f"{found.labelled} of {found.clips:,} clips are labelled, {found.empty} rows are empty, "
        f"{len(found.unknown)} ids are no clips of this cutting"
    )
    for gate in found.gates:
        if gate.suggested:
            note(f'--set {gate.gate}="{gate.suggested}"')


def _labels(catalog: Catalog, path: Path | None, reviewer: str | None) -> Labels:
    """The labels of a file, or those that a reviewer stored."""
    from catalogs.errors import UsageError
    from catalogs.labels import read_labels
    from catalogs.reviews import stored_labels

    if path is not None and reviewer is None:
        return read_labels(path)
    if path is None and reviewer is not None:
        return stored_labels(catalog, reviewer)
    raise UsageError(
        "labels come from one place",
        allowed="--labels FILE, or --reviewer NAME",
        hint="clipmill sample CATALOG --gate GATE --to DIR writes a file to fill in",
    )


def _recipe(catalog: Catalog, recipe: str | None) -> Recipe:
    from catalogs.ledger import find_selection
    from catalogs.recipe import load_recipe

    return load_recipe(recipe) if recipe else find_selection(catalog).recipe


def _print_gates(found: Calibration) -> None:
    def line(report: GateReport) -> list[Any]:
        counts = report.agreement
        return [
            report.gate,
            counts.keeps,
            counts.drops,
            *(str(part) if part else None for part in (counts.precision, counts.recall, counts.f1)),
            counts.lost,
            counts.slipped,
            report.unmeasured,
        ]

    columns = ["gate", "keep", "drop", "precision", "recall", "F1", "lost", "slipped", "null"]
    reports = [*found.gates, *([found.whole] if found.whole else [])]
    print_table(columns, [line(report) for report in reports])


def _print_limits(found: Calibration) -> None:
    rows: list[list[Any]] = []
    for gate in found.gates:
        for item in gate.limits:
            new = item.suggestion
            rows.append(
                [
                    gate.gate,
                    str(item.bound),
                    str(item.auc) if item.auc else None,
                    f"{new.limit:g} ({new.low:.3g} to {new.high:.3g})" if new else None,
                    f"{new.lost_now} -> {new.lost}" if new else None,
                    f"{new.slipped_now} -> {new.slipped}" if new else None,
                    f"{item.yield_now} -> {item.yield_then}" if new else item.yield_now,
                    item.reason,
                ]
            )
    print()
    columns = ["gate", "limit", "AUC", "suggested", "lost", "slipped", "yield", "remark"]
    print_table(columns, rows)
