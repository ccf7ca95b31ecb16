"""Verbs that ask: SQL, columns and their meanings, what could not be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.cli.options import (
    AsJson,
    AtVersion,
    CatalogPath,
    Strict,
    leave_if_quarantined,
    open_catalog,
)
from clipmill.cli.output import note, print_json, print_rows, print_table
from clipmill.cli.results import ResultFormat, print_result, save_result

if TYPE_CHECKING:
    from catalogs import Catalog

app = typer.Typer()


@app.command()
def sql(
    catalog: CatalogPath,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SQL statement that reads.")],
    at: AtVersion = None,
    cutting: Annotated[
        str | None, typer.Option(help="Cutting of the view clips: its hash, or how it begins.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Rows at most; 0 is all. A terminal shows 100.")
    ] = None,
    fmt: Annotated[
        ResultFormat | None,
        typer.Option("--format", help="Default: a table on a terminal, tsv in a pipe."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Write to a file: .parquet .csv .tsv .json .jsonl")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a catalog in SQL (DuckDB's).

    Every table is a view: sources, captions, scores_motion and so on. The view clips has one wide
    row per clip of the newest cutting, with its source and all scores; clips_all has the spans of
    every cutting. Large results are streamed.

    \b
    Examples:
      clipmill sql corpus "select kind, sum(duration_s) / 3600 as hours from clips group by 1"
      clipmill sql corpus "from clips where luma_mean_255 > 40" --limit 5 --json
      clipmill sql corpus "from clips" --at 12 --to clips.parquet
      clipmill sql corpus "summarize clips" --format csv | less
    """
    from catalogs.errors import UsageError
    from catalogs.query import Session, resolve_cutting

    fmt = ResultFormat.json if as_json else fmt
    if fmt is ResultFormat.parquet and to is None:
        raise UsageError("parquet is not for printing", hint="add --to FILE.parquet")
    if fmt is ResultFormat.table and to is not None:
        raise UsageError("a table is for printing", allowed="parquet, csv, tsv, json, jsonl")
    source = open_catalog(catalog, at)
    with Session(source, cutting=resolve_cutting(source, cutting) if cutting else None) as session:
        result = session.sql(query)
        if to is None:
            print_result(result, fmt, limit)
        else:
            note(f"{save_result(result, to, fmt, limit):,} rows in {to}")


@app.command()
def schema(
    catalog: CatalogPath,
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="A table such as clips or scores/motion.")
    ] = None,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show tables, and what each column means, in which unit.

    Without a table: every table with its rows. `clips` is the wide view, `clips_all` the stored
    table; both names of a table work, scores/motion and scores_motion.

    \b
    Examples:
      clipmill schema corpus
      clipmill schema corpus clips
      clipmill schema corpus scores/motion --json
    """
    from clipmill.columns import columns_of

    source = open_catalog(catalog, at)
    rows = _tables(source) if table is None else columns_of(source, table)
    if as_json:
        print_json(rows)
    elif table is None:
        print_rows(rows, ["table", "view", "rows", "meaning"])
    else:
        print_rows(rows, ["column", "type", "unit", "meaning", "table"])


def _tables(catalog: Catalog) -> list[dict[str, Any]]:
    from catalogs.schema import view_name

    return [
        {
            "table": name,
            "view": "clips_all" if name == "clips" else view_name(name),
            "rows": catalog.rows(name),
            "meaning": catalog.spec(name).meaning,
        }
        for name in catalog.tables()
    ]


@app.command()
def quarantine(
    catalog: CatalogPath,
    stage: Annotated[
        str | None, typer.Option(help="Only failures of one stage: read, probe, decode, ...")
    ] = None,
    by_reason: Annotated[
        bool, typer.Option("--by-reason", help="Count files by stage and class of failure.")
    ] = False,
    at: AtVersion = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """List the files that could not be used, with the reason.

    \b
    Examples:
      clipmill quarantine corpus
      clipmill quarantine corpus --by-reason
      clipmill quarantine corpus --stage decode --json
      clipmill quarantine corpus --strict && echo clean
    """
    source = open_catalog(catalog, at)
    where = "where stage = $stage or $stage is null"
    query = (
        f"select stage, error_class, count(*) as files from quarantine {where} "
        "group by all order by files desc, stage, error_class"
        if by_reason
        else f"from quarantine {where} order by uri, stage"
    )
    rows = _quarantined(source, query, stage)
    if as_json:
        print_json(rows)
    elif not rows:
        note("nothing is quarantined")
    elif by_reason:
        print_rows(rows, ["stage", "error_class", "files"])
    else:
        print_table(
            ["file", "stage", "error", "detail"],
            [[row["uri"], row["stage"], row["error_class"], row["detail"]] for row in rows],
        )
    leave_if_quarantined(strict, len(rows))


def _quarantined(catalog: Catalog, query: str, stage: str | None) -> list[dict[str, Any]]:
    from catalogs.query import Session

    if "quarantine" not in catalog.tables():
        return []
    with Session(catalog, cutting="-") as session:
        return session.sql(query, {"stage": stage}).arrow().to_pylist()
