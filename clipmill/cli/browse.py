"""The verb that opens the viewer."""

from __future__ import annotations

from typing import Annotated

import typer

from clipmill.cli.options import CatalogPath

app = typer.Typer()


@app.command()
def browse(
    catalog: CatalogPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Only print the address; open no browser.")
    ] = False,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A recipe to put on the bench.")
    ] = None,
    label: Annotated[
        bool, typer.Option("--label", help="Let a person store keep and drop labels.")
    ] = False,
    reviewer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose labels these are; with --label.")
    ] = None,
) -> None:
    """Look at a catalog in the browser: clips, scores, captions, recipes, sources, runs, tokens.

    The page is served to this machine alone, and only to who knows the printed address. It reads;
    with --label it also stores the labels of the named reviewer. A commit of another process shows
    up in it. Ctrl-C ends it.

    \b
    Examples:
      clipmill browse corpus
      clipmill browse corpus --port 8800 --no-open
      clipmill browse corpus --recipe my-recipe.yaml
      clipmill browse corpus --label --reviewer ada
    """
    from catalogs.errors import UsageError
    from catalogs.recipe import load_recipe
    from catalogs.reviews import checked_reviewer
    from clipmill.web.server import serve

    if label != bool(reviewer):
        raise UsageError(
            "--label and --reviewer belong together", hint="add --label --reviewer NAME"
        )
    if reviewer:
        checked_reviewer(reviewer)
    given = load_recipe(recipe) if recipe else None
    serve(catalog, port, open_browser=not no_open, reviewer=reviewer, recipe=given, tell=_tell)


def _tell(address: str) -> None:
    print(address, flush=True)
