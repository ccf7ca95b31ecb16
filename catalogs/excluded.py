"""Decontamination: clips that show what must not be shown.

A recipe's `exclude` names selections of this catalog or of another one, such as a benchmark. A clip
goes when it is one of theirs, overlaps one of theirs in the same source, or shows what one of
theirs shows, by the recipe's own settings for near-duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.duplicates import catalog_version, check_searched, pairs_between
from catalogs.ledger import find_selection, ledger_files
from catalogs.query import Session, sql_text
from catalogs.recipe import Exclude, NearDuplicates, Recipe

__all__ = ["Excluded", "excluded_clips", "excluded_versions"]

_OTHERS = "__others"


@dataclass(frozen=True, slots=True)
class Excluded:
    """What excludes a clip, and how it shows."""

    name: str
    reason: str


def excluded_clips(session: Session, recipe: Recipe, clips: str) -> dict[str, Excluded]:
    """Clips of a relation that the recipe excludes, by the first of its excludes that does."""
    near = (recipe.dedup and recipe.dedup.near) or NearDuplicates()
    found: dict[str, Excluded] = {}
    for item in recipe.exclude:
        against = ""
        if item.catalog is None:
            spans = _spans(session, item)
        else:
            other = Catalog.open(item.catalog)
            against = catalog_version(other)
            with Session(other) as theirs:
                spans = _spans(theirs, item)
        check_searched(session, near, against)
        session.keep(_OTHERS, spans)
        for pair in pairs_between(session, near, clips, f"from {_OTHERS}", against):
            if item.catalog is None and pair.clip_id == pair.other_clip:
                reason = f"is in {item}"
            else:
                reason = f"{pair.reason()}, which is in {item}"
            found.setdefault(pair.clip_id, Excluded(str(item), reason))
    return found


def excluded_versions(excludes: Iterable[Exclude]) -> list[str]:
    """Names of the other catalogs with their versions: the outcome depends on them."""
    others = [item.catalog for item in excludes if item.catalog is not None]
    return [catalog_version(Catalog.open(other)) for other in others]


def _spans(session: Session, item: Exclude) -> pa.Table:
    """Clips of a selection, or of the newest cutting, with their spans."""
    columns = "clip_id, source_id, start_s, end_s"
    if item.selection is None:
        return session.sql(f"select {columns} from clips").arrow()
    made = find_selection(session.catalog, item.selection)
    files = ledger_files(session.catalog, "selections", made.selection_id)
    chosen = (
        f"select clip_id from ({session.scan('selections', files)}) "
        f"where selection_id = {sql_text(made.selection_id)}"
    )
    return session.connection.sql(
        f"select distinct {columns} from ({session.scan('clips')}) semi join ({chosen}) "
        "using (clip_id)"
    ).to_arrow_table()
