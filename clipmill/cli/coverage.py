"""The verb that shows what a selection covers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipmill.cli.options import AsJson, AtVersion, CatalogPath, open_catalog
from clipmill.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from catalogs.coverage import Coverage, Group, Groups

app = typer.Typer()


@app.command()
def coverage(
    catalog: CatalogPath,
    selection: Annotated[
        str | None,
        typer.Argument(
            metavar="SELECTION", help="Name or id of a selection; default: the one made last."
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only the groups of this column or SQL.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each numeric column.")
    ] = None,
    at: AtVersion = None,
    as_json: AsJson = False,
) -> None:
    """Compare a selection with all clips that were judged: spread, balance, who is missing.

    Numeric columns show 5%, median and 95% before and after. Columns of few values show how many
    equally large groups would be as even (2 to the power of the entropy), and the groups with more
    and less than their share beyond chance: the ratio of shares, clips after / before.

    \b
    Examples:
      clipmill coverage corpus train-1
      clipmill coverage corpus train-1 --by collection
      clipmill coverage corpus train-1 --by "floor(duration_s)" --json
      clipmill coverage corpus train-1 --to pictures
    """
    from catalogs.coverage import coverage as compare

    found = compare(open_catalog(catalog, at), selection, by=by)
    if to is not None:
        _draw(found, to)
    if as_json:
        print_json(found.to_dict())
        return
    if by is None:
        _print_spreads(found)
        _print_columns(found)
    else:
        _print_groups(found.groups[0])
    note(
        f"{found.selection}: {found.clips_after:,} of {found.clips_before:,} clips, "
        f"{found.hours_after:.4g} of {found.hours_before:.4g} hours"
    )


def _print_spreads(found: Coverage) -> None:
    def values(quantiles: Sequence[float] | None) -> list[str]:
        return [f"{value:.4g}" for value in quantiles or ()] or [""] * 3

    rows = [
        [s.column.name, s.column.unit, *values(s.quantiles_before), *values(s.quantiles_after)]
        for s in found.spreads
    ]
    print_table(
        ["column", "unit", "5%", "median", "95%", "5% kept", "median kept", "95% kept"], rows
    )
    print()


def _print_columns(found: Coverage) -> None:
    def first(groups: Sequence[Group]) -> str | None:
        return _told(groups[0]) if groups else None

    rows = [
        [
            item.by,
            len(item.groups),
            f"{item.effective_before:.2f} -> {item.effective_after:.2f}",
            first(item.over),
            first(item.under),
        ]
        for item in found.groups
    ]
    print_table(["column", "groups", "effective", "most over", "most under"], rows)


def _told(group: Group) -> str:
    name = "NULL" if group.name is None else group.name
    return f"{name}: x{group.ratio:.2f}, {group.after:,} / {group.before:,}"


def _print_groups(found: Groups) -> None:
    rows = [
        [
            group.name,
            group.before,
            group.after,
            None if group.ratio is None else round(group.ratio, 3),
            ("over" if (group.ratio or 0) > 1 else "under") if group.beyond else "",
        ]
        for group in found.groups
    ]
    print_table([found.by, "before", "after", "ratio", "beyond chance"], rows)
    note(
        f"entropy {found.entropy_before:.3f} -> {found.entropy_after:.3f} bits: as even as "
        f"{found.effective_before:.2f} -> {found.effective_after:.2f} groups of one size"
    )


def _draw(found: Coverage, folder: Path) -> None:
    from catalogs.charts import histogram_chart

    folder.mkdir(parents=True, exist_ok=True)
    for spread in found.spreads:
        column = spread.column
        path = folder / f"{column.name}.png"
        path.write_bytes(
            histogram_chart(
                column.name,
                spread.before,
                unit=column.unit,
                subtitle=f"{column.meaning}; dark: kept",
                inner=spread.after,
            )
        )
    note(f"{len(found.spreads)} histograms are in {folder}")
