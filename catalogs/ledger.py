"""What was selected before: finding selections, and the verdicts that were recorded with them.

`runs` holds one row for each time that a selection was made; `selections` holds the clips it kept
and `decisions` every verdict. All rows of one selection carry its `selection_id`, and their files
are sorted by clip, so that the verdicts on one clip are found without reading the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from catalogs.errors import NotFoundError, nearest
from catalogs.files import DataFile
from catalogs.query import Session
from catalogs.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Selection", "find_selection", "ledger_files", "selections"]

_SHORTEST_ID = 6


@dataclass(frozen=True)
class Selection:
    """A recorded selection. `counts` is JSON: clips, hours, splits and the funnel."""

    name: str
    selection_id: str
    run_id: str
    catalog_version: int
    cutting: str
    made: datetime
    recipe_text: str
    counts: str

    @cached_property
    def recipe(self) -> Recipe:
        return parse_recipe(self.recipe_text, f"recipe of selection {self.name}")


def selections(catalog: Catalog) -> list[Selection]:
    """All selections of a catalog, the one made last first; each once."""
    if "runs" not in catalog.tables():
        return []
    query = """
        select name, run_id, catalog_version, finished, recipe, counts, settings from runs
        where verb = 'select' and status = 'done' order by finished desc, run_id
    """
    with Session(catalog, cutting="-") as session:
        runs = session.sql(query).arrow().to_pylist()
    found: dict[str, Selection] = {}
    for run in runs:
        settings = json.loads(run["settings"])
        made = Selection(
            name=run["name"],
            selection_id=settings["selection_id"],
            run_id=run["run_id"],
            catalog_version=run["catalog_version"],
            cutting=settings["cutting"],
            made=run["finished"],
            recipe_text=run["recipe"],
            counts=run["counts"],
        )
        found.setdefault(made.selection_id, made)
    return list(found.values())


def find_selection(catalog: Catalog, name: str | None = None) -> Selection:
    """A selection by its name (the one made last), or by the beginning of its id.

    Without a name: the selection that was made last.
    """
    known = selections(catalog)
    if not known:
        raise NotFoundError(
            "this catalog has no selection",
            hint="clipmill select CATALOG --recipe RECIPE --name NAME",
        )
    if name is None:
        return known[0]
    for item in known:
        if item.name == name:
            return item
    by_id = [item for item in known if item.selection_id.startswith(name)]
    if len(name) >= _SHORTEST_ID and len(by_id) == 1:
        return by_id[0]
    names = list(dict.fromkeys(item.name for item in known))
    raise NotFoundError(
        f"there is no selection {name!r}", allowed=", ".join(names), hint=nearest(name, names)
    )


def ledger_files(
    catalog: Catalog, table: str, selection_id: str, clip_ids: Sequence[str] = ()
) -> list[DataFile]:
    """Files that can hold rows of a selection, and of clips between two ids if given."""
    files = [item for item in catalog.files(table) if _meets(item, "selection_id", selection_id)]
    if clip_ids:
        low, high = min(clip_ids), max(clip_ids)
        files = [item for item in files if _meets(item, "clip_id", low, high)]
    return files


def _meets(item: DataFile, column: str, low: str, high: str | None = None) -> bool:
    smallest, largest = item.smallest.get(column), item.largest.get(column)
    if smallest is None or largest is None:
        return True
    return bool(smallest <= (high or low) and low <= largest)
