"""Arguments and options that several verbs share, and the way to open a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from catalogs import Catalog

__all__ = [
    "AsJson",
    "AtVersion",
    "CatalogPath",
    "Setting",
    "Strict",
    "known_operators",
    "leave_if_quarantined",
    "open_catalog",
    "parse_pairs",
]

QUARANTINED = 3

CatalogPath = Annotated[
    str, typer.Argument(metavar="CATALOG", help="Folder or s3:// prefix of a catalog.")
]
AtVersion = Annotated[
    str | None,
    typer.Option("--at", metavar="VERSION|TIME", help="Read the catalog as it was then."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 if anything is quarantined.")]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar='GATE="SQL"',
        help="Change or add a gate; an empty predicate removes it. Repeatable.",
    ),
]


def open_catalog(path: str, at: str | None = None) -> Catalog:
    """A catalog at its newest version, or as it was at a version or time."""
    from catalogs import Catalog

    catalog = Catalog.open(path)
    return catalog.at(at) if at else catalog


def parse_pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """A repeatable option: `--set motion="motion_px > 1"` as {"motion": "motion_px > 1"}."""
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        pairs[name.strip()] = value.strip()
    return pairs


def known_operators() -> dict[str, list[str]]:
    """Every operator and its columns: tells a score that is missing from one that nobody knows.

    This only serves better errors, so an operator that cannot be loaded here counts as one without
    columns.
    """
    from catalogs.errors import ClipmillError
    from curation.operators import names, operator_class

    columns: dict[str, list[str]] = {}
    for name in names():
        try:
            columns[name] = [column.name for column in operator_class(name).columns]
        except ClipmillError:
            columns[name] = []
    return columns


def leave_if_quarantined(strict: bool, quarantined: int) -> None:
    """End a verb that was given `--strict` when something could not be used."""
    if strict and quarantined:
        raise typer.Exit(QUARANTINED)
