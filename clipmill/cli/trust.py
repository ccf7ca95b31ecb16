"""The verb that finds duplicates and shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import AsJson, AtVersion, CatalogPath, open_catalog
from clipmill.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from catalogs import Catalog
    from catalogs.duplicates import DuplicateGroup, Member, Pair
    from catalogs.recipe import Dedup, NearDuplicates, Recipe

app = typer.Typer()


@app.command()
def dups(
    catalog: CatalogPath,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="What counts as a duplicate, by a recipe's `dedup`."),
    ] = None,
    cutting: Annotated[
        str | None, typer.Option("--cutting", help="Whose clips to group; default: the newest.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="CATALOG",
            help="Search another catalog's footage, too. Repeatable.",
        ),
    ] = None,
    semantic: Annotated[
        str | None,
        typer.Option("--semantic", metavar="MODEL", help="Compare a model's embeddings of clips."),
    ] = None,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Find what shows the same, and list it: groups, members, kind, score and spans.

    Sources that were not searched yet are compared with all there are, from stored hashes; nothing
    is decoded. A pair's score is the share of the shorter clip that the other shows, or the cosine
    of two embeddings. With --at nothing is searched.

    \b
    Examples:
      clipmill dups corpus
      clipmill dups corpus --recipe web-video --json
      clipmill dups corpus --against benchmark     so that a recipe can `exclude` it
      clipmill dups corpus --semantic siglip       and what each threshold would remove
    """
    from catalogs.duplicates import duplicate_groups
    from catalogs.recipe import load_recipe

    source = open_catalog(catalog, at)
    chosen = load_recipe(recipe) if recipe else None
    rules = _rules(chosen)
    if at is None:
        search(source, rules.near, [*_excluded(chosen), *(against or ())])
    curve = _compare(source, semantic) if semantic else None
    found = duplicate_groups(source, rules, cutting=cutting)
    if as_json:
        print_json({"groups": [group.to_dict() for group in found], "curve": curve})
        return
    _print_groups(found)
    if curve:
        print_table(["min_cosine", "clips removed"], curve)
    note(f"{len(found)} groups, {sum(len(g.members) - 1 for g in found)} clips that others show")


def _rules(recipe: Recipe | None) -> Dedup:
    """A recipe's rules, or near-duplicates by the usual ones."""
    from catalogs.recipe import Dedup, NearDuplicates

    given = recipe.dedup if recipe else None
    return given if given and (given.near or given.semantic) else Dedup(near=NearDuplicates())


def search_for(catalog: Catalog, recipe: Recipe) -> None:
    """Search what a recipe's duplicates and exclusions need, as far as it was not searched yet."""
    near = recipe.dedup.near if recipe.dedup else None
    if near or recipe.exclude:
        search(catalog, near, _excluded(recipe))


def search(catalog: Catalog, near: NearDuplicates | None, against: Sequence[str]) -> None:
    """Search a catalog, and what it has in common with others; says what was done."""
    from catalogs.recipe import NearDuplicates
    from curation.dedup import find_near

    for other in (None, *(open_catalog(path) for path in against)):
        done = find_near(catalog, near or NearDuplicates(), against=other)
        if done.sources:
            where = f" against {other.storage.root}" if other else ""
            note(f"searched {done.sources:,} sources{where}: {done.matches:,} stretches in common")
        if done.outdated:
            note(
                f"not searched: {done.outdated:,} videos that an older clipmill measured; "
                "clipmill curate measures them again"
            )


def _excluded(recipe: Recipe | None) -> list[str]:
    return [item.catalog for item in (recipe.exclude if recipe else ()) if item.catalog]


def _compare(catalog: Catalog, model: str) -> list[tuple[float, int]]:
    from curation.dedup import compare_embeddings

    done = compare_embeddings(catalog, model)
    note(f"compared {done.clips:,} embeddings of {model}")
    return done.curve()


def _print_groups(found: Sequence[DuplicateGroup]) -> None:
    rows: list[list[Any]] = []
    for group in found:
        names = {member.clip_id: member for member in group.members}
        for pair in group.pairs:
            one, other = names[pair.clip_id], names[pair.other_clip]
            rows.append(
                [
                    group.name[:12],
                    pair.kind,
                    round(pair.score, 3),
                    *_place(one, pair.start_s, pair.end_s),
                    *_place(other, pair.other_start_s, pair.other_end_s),
                    _look(pair),
                ]
            )
    columns = ["group", "kind", "score", "clip", "of", "span", "other", "of", "span", "look"]
    print_table(columns, rows)


def _place(member: Member, start_s: float | None, end_s: float | None) -> list[str]:
    """A clip, its file, and the seconds of the file that the other shows."""
    first = member.start_s if start_s is None else start_s
    last = member.end_s if end_s is None else end_s
    return [member.clip_id[:12], Path(member.uri or "").name, f"{first:.3f}-{last:.3f}"]


def _look(pair: Pair) -> str:
    turned = f"turned {pair.turned_deg}" if pair.turned_deg else ""
    return " ".join(part for part in ("mirrored" if pair.mirrored else "", turned) if part)
