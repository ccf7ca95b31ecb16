"""Verbs that decide what is kept, and explain it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import (
    AsJson,
    AtVersion,
    CatalogPath,
    Setting,
    known_operators,
    open_catalog,
    parse_pairs,
)
from clipmill.cli.output import note, print_json, print_table
from clipmill.cli.trust import search_for

if TYPE_CHECKING:
    from catalogs import Catalog
    from catalogs.compare import Changed, Outcome
    from catalogs.diff import TableDiff
    from catalogs.explain import Diff
    from catalogs.funnel import Funnel
    from catalogs.recipe import Recipe

app = typer.Typer()

RecipeOption = Annotated[
    str | None, typer.Option("--recipe", help="A YAML file, or the name of a recipe that ships.")
]
CuttingOption = Annotated[
    str | None,
    typer.Option(
        "--cutting", help="The cutting to judge; default: the recipe's own, else the newest."
    ),
]


@app.command()
def select(
    catalog: CatalogPath,
    recipe: Annotated[str, typer.Option(help="A YAML file, or the name of a recipe that ships.")],
    name: Annotated[str, typer.Option(help="What to call the selection.")],
    set_: Setting = None,
    cutting: CuttingOption = None,
    as_json: AsJson = False,
) -> None:
    """Judge every clip by a recipe and record the outcome under a name.

    Every gate is evaluated for every clip and written to the ledger with the value that decided;
    then come exclusion, dedup, balance and splits. What the recipe needs to know of duplicates is
    searched first, from stored hashes. Making the same selection again changes nothing.

    \b
    Examples:
      clipmill select corpus --recipe web-video --name train-1
      clipmill select corpus --recipe my.yaml --name calm --set motion="motion_px < 2"
      clipmill select corpus --recipe web-video --name train-1 --json
    """
    from catalogs.recipe import load_recipe
    from catalogs.select import select as select_clips

    source, chosen = open_catalog(catalog), load_recipe(recipe)
    search_for(source, chosen)
    result = select_clips(
        source,
        chosen,
        name,
        set_gates=parse_pairs(set_, "--set"),
        cutting=cutting,
        operators=known_operators(),
    )
    if as_json:
        print_json(result.to_dict())
        return
    _print_funnel(result.funnel)
    print_table(
        ["split", "clips", "hours"],
        [[split.split or "-", split.clips, round(split.hours, 4)] for split in result.splits],
    )
    made = "recorded" if result.is_new else "was already recorded"
    note(f"selection {result.name} ({result.selection_id[:12]}) {made}")


@app.command()
def why(
    catalog: CatalogPath,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="A clip id, or how it begins.")],
    selection: Annotated[
        str | None,
        typer.Option(help="Name or id of a selection; default: the one made last."),
    ] = None,
    recipe: RecipeOption = None,
    as_json: AsJson = False,
) -> None:
    """Tell why a clip was kept or not: every gate, the value it saw, its verdict.

    \b
    Examples:
      clipmill why corpus 9f3a2c
      clipmill why corpus 9f3a2c --selection train-1
      clipmill why corpus 9f3a2c --recipe my.yaml      as that recipe would judge it now
    """
    from catalogs.explain import why as explain_clip

    found = explain_clip(
        open_catalog(catalog),
        clip,
        _recipe_or_selection(recipe, selection),
        operators=known_operators() if recipe else None,
    )
    if as_json:
        print_json(found.to_dict())
        return
    span = f" from {found.start_s:.3f} s to {found.end_s:.3f} s" if found.end_s is not None else ""
    print(f"clip {found.clip_id} of {found.uri or found.source_id}{span}")
    verdict = f"kept, split {found.split or '-'}" if found.kept else "not kept"
    print(f"{verdict} by {found.judged_by} (catalog version {found.catalog_version})")
    print_table(
        ["stage", "gate", "verdict", "value", "predicate", "reason"],
        [
            [v.stage, v.gate, "pass" if v.passed else "FAIL", v.value, v.predicate, v.reason]
            for v in found.verdicts
        ],
    )


@app.command()
def funnel(
    catalog: CatalogPath,
    selection: Annotated[
        str | None,
        typer.Argument(
            metavar="SELECTION", help="Name or id of a selection; default: the one made last."
        ),
    ] = None,
    recipe: RecipeOption = None,
    set_: Setting = None,
    cutting: CuttingOption = None,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show where clips get lost: clips and hours into and out of every gate. Writes nothing.

    `alone` are the clips that a gate refuses whatever the others say; `only` those that no other
    gate refuses, which would come back without it; `null` those where nothing was measured.

    \b
    Examples:
      clipmill funnel corpus train-1
      clipmill funnel corpus --recipe web-video
      clipmill funnel corpus train-1 --set motion="motion_px > 1"    what if
      clipmill funnel corpus train-1 --set text=                     without the gate text
    """
    from catalogs.explain import funnel as count
    from catalogs.ledger import find_selection

    source = open_catalog(catalog, at)
    asked = _recipe_or_selection(recipe, selection) or find_selection(source).name
    flow = count(
        source, asked, parse_pairs(set_, "--set"), cutting=cutting, operators=known_operators()
    )
    if as_json:
        print_json(flow.to_dict())
    else:
        _print_funnel(flow)


@app.command()
def diff(
    catalog: CatalogPath,
    a: Annotated[
        str, typer.Argument(metavar="A", help="A selection, a recipe, or a catalog version.")
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="What to compare it with, of the same kind.")
    ],
    table: Annotated[str, typer.Option(help="The table to compare between versions.")] = "clips",
    examples: Annotated[int, typer.Option(min=0, help="How many clips to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what was gained and lost from A to B, and which gate did it.

    Numbers are versions of the catalog, whose rows are compared. Other names are selections or,
    when no selection has that name, recipes. `train-1@12` is judged anew on version 12.

    \b
    Examples:
      clipmill diff corpus train-1 train-2
      clipmill diff corpus train-1 my.yaml --json
      clipmill diff corpus web-video@12 web-video@15    what new data and scores changed
      clipmill diff corpus 12 15 --table captions       rows gained, lost and changed
    """
    source = open_catalog(catalog)
    if a.isdigit() and b.isdigit():
        rows = source.diff(int(a), int(b), table)
        _print_rows_diff(rows, examples, as_json)
        return
    from catalogs.explain import diff as compare

    (what_a, version_a), (what_b, version_b) = _side(source, a), _side(source, b)
    found = compare(
        source,
        what_a,
        what_b,
        a_version=version_a,
        b_version=version_b,
        examples=examples,
        operators=known_operators(),
    )
    if as_json:
        print_json(found.to_dict())
    else:
        _print_diff(found)


def _recipe_or_selection(recipe: str | None, selection: str | None) -> Recipe | str | None:
    from catalogs.errors import UsageError
    from catalogs.recipe import load_recipe

    if recipe and selection:
        raise UsageError("both a recipe and a selection were given", allowed="one of the two")
    return load_recipe(recipe) if recipe else selection


def _side(catalog: Catalog, text: str) -> tuple[Recipe | str, int | None]:
    """A selection or recipe, and the version in `name@version`."""
    from catalogs.errors import NotFoundError, RecipeError
    from catalogs.ledger import find_selection
    from catalogs.recipe import load_recipe

    name, at, version = text.rpartition("@")
    if not (at and version.isdigit()):
        name, version = text, ""
    moment = int(version) if version else None
    try:
        return find_selection(catalog, name).name, moment
    except NotFoundError as no_selection:
        try:
            return load_recipe(name), moment
        except RecipeError as no_recipe:
            raise NotFoundError(
                f"{name!r} is neither a selection nor a recipe",
                allowed=f"{no_selection.allowed or 'no selection yet'}; {no_recipe.allowed}",
                hint=no_selection.hint or no_recipe.hint,
            ) from None


def _print_funnel(flow: Funnel) -> None:
    print_table(
        ["gate", "clips in", "clips out", "hours out", "alone", "only", "null", "predicate"],
        [
            [
                step.gate,
                step.clips_in,
                step.clips_out,
                round(step.hours_out, 4),
                step.alone_failed_clips,
                step.only_failed_clips,
                step.null_clips,
                step.predicate,
            ]
            for step in flow.steps
        ],
    )
    note(
        f"{flow.recipe}: {flow.kept_clips:,} of {flow.clips:,} clips, {flow.kept_hours:.4g} of "
        f"{flow.hours:.4g} hours (catalog version {flow.catalog_version}, cutting {flow.cutting})"
    )


def _print_diff(found: Diff) -> None:
    def side(outcome: Outcome) -> list[Any]:
        return [
            outcome.name,
            f"version {outcome.catalog_version}",
            outcome.clips,
            round(outcome.hours, 4),
        ]

    def change(name: str, changed: Changed) -> list[Any]:
        gates = ", ".join(f"{gate} {count}" for gate, count in changed.by_gate.items())
        return [name, gates, changed.clips, round(changed.hours, 4)]

    print_table(
        ["what", "where or why", "clips", "hours"],
        [side(found.a), side(found.b), change("gained", found.gained), change("lost", found.lost)],
    )
    clips = [
        [name, clip.clip_id, clip.source_id, clip.duration_s, ", ".join(clip.gates)]
        for name, changed in (("gained", found.gained), ("lost", found.lost))
        for clip in changed.examples
    ]
    if clips:
        print()
        print_table(["change", "clip_id", "source_id", "duration_s", "gates"], clips)


def _print_rows_diff(found: TableDiff, examples: int, as_json: bool) -> None:
    sides = {"gained": found.gained, "lost": found.lost, "changed": found.changed}
    if as_json:
        listed = {name: rows.slice(0, examples).to_pylist() for name, rows in sides.items()}
        about = {"table": found.table, "a": found.a, "b": found.b, "counts": found.counts}
        print_json({**about, "changed_columns": found.columns, "examples": listed})
        return
    print_table(["change", "rows"], list(found.counts.items()))
    if found.columns:
        counts = ", ".join(f"{name} ({count})" for name, count in found.columns.items())
        note(f"changed columns: {counts}")
