"""Verbs that look after a catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from clipmill.cli.options import AsJson, CatalogPath, open_catalog
from clipmill.cli.output import human_bytes, note, print_json, print_table

app = typer.Typer()


@app.command()
def compact(
    catalog: CatalogPath,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Give up earlier versions and delete their files.")
    ] = False,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="First bring an older catalog to this format.")
    ] = False,
    memory: Annotated[str, typer.Option(help="Memory limit; more is spilled to disk.")] = "1GB",
    as_json: AsJson = False,
) -> None:
    """Merge small files into few large ones.

    Every version stays readable, unless --vacuum gives up all but the newest. After that the
    Parquet files of a table are exactly its rows, so that any tool may read corpus/clips/*.parquet.

    \b
    Examples:
      clipmill compact corpus
      clipmill compact corpus --vacuum
      clipmill compact corpus --migrate
    """
    from catalogs.maintenance import compact as merge
    from catalogs.migrate import migrate as raise_format

    formats = raise_format(catalog) if migrate else []
    done = merge(open_catalog(catalog), vacuum=vacuum, memory=memory)
    if as_json:
        print_json({"migrated_to": formats[-1] if formats else None, **asdict(done)})
        return
    if migrate:
        note(f"now in format {formats[-1]}" if formats else "the format is the newest already")
    print_table(
        ["table", "files before", "files after"],
        [
            [name, done.files_before.get(name, 0), done.files_after[name]]
            for name in done.files_after
        ],
    )
    if vacuum:
        note(f"deleted {done.deleted_files:,} files, {human_bytes(done.deleted_bytes)}")
