"""Clips for a person to label: drawn around the limits of a gate, or anywhere.

    drawn = sample(catalog, load_recipe("web-video"), gate="motion", near=40)
    write_labels(Path("labels.csv"), drawn)

Clips near a limit are those that decide where it belongs: of the clips that lie closest to it, as
many are drawn on either side. They are the hard ones, so they say little of how often the gate is
right; clips drawn anywhere say that. The same seed draws the same clips, in an order that does not
give away the side.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.bounds import bounds_of
from catalogs.errors import UsageError, nearest
from catalogs.gates import Gate
from catalogs.judge import DEFAULT_LIMITS, Judgement, Limits
from catalogs.query import sql_name, sql_text
from catalogs.recipe import Recipe

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["COLUMNS", "Drawn", "sample", "write_labels"]

COLUMNS = ("clip_id", "gate", "file", "span_s", "value", "label", "sheet")
_POOL = 4
"""Clips of a side are drawn from the nearest ones, this many times as many."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A clip to label."""

    row: Mapping[str, Any]
    """Its columns in the table `clips`."""
    uri: str | None
    gate: str | None
    value: str
    """What the gate looks at."""

    @property
    def clip_id(self) -> str:
        return str(self.row["clip_id"])

    def to_dict(self) -> dict[str, Any]:
        return {
            "clip_id": self.clip_id,
            "gate": self.gate,
            "file": Path(self.uri or "").name,
            "span_s": f"{self.row['start_s']:.3f}-{self.row['end_s']:.3f}",
            "value": self.value,
        }


def sample(
    catalog: Catalog,
    recipe: Recipe,
    *,
    gate: str | None = None,
    near: int = 0,
    anywhere: int = 0,
    seed: int = 0,
    cutting: str | None = None,
    operators: Mapping[str, Sequence[str]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Drawn]:
    """Draw clips: `near` the limits of a gate, and `anywhere` among all clips.

    A gate without limits that could be moved has as many drawn that pass and that do not.
    """
    if gate is not None and gate not in recipe.gates:
        raise UsageError(
            f"recipe {recipe.name!r} has no gate {gate!r}",
            allowed=", ".join(recipe.gates) or "none: the recipe has no gates",
            hint=nearest(gate, recipe.gates),
        )
    if near and gate is None:
        raise UsageError("near what?", allowed="a gate of the recipe: " + ", ".join(recipe.gates))
    asked = {gate: recipe.gates[gate]} if gate else {}
    alone = replace(recipe, gates=asked, dedup=None, exclude=(), balance=(), splits=None)
    with Judgement(
        catalog, alone, cutting=cutting, operators=operators, limits=limits
    ) as judgement:
        draw = _Draw(judgement, seed)
        checked = judgement.gates[0] if gate else None
        chosen: dict[str, None] = {}
        if checked and near:
            strata = list(_strata(checked))
            for number, (query, distance) in enumerate(strata):
                wanted = near // len(strata) + (number < near % len(strata))
                chosen |= dict.fromkeys(draw.of(query, wanted, chosen, distance))
        everything = "select clip_id from clips"
        chosen |= dict.fromkeys(draw.of(everything, anywhere, chosen))
        return draw.described(list(chosen), checked)


def _strata(gate: Gate) -> Iterator[tuple[str, str]]:
    """SQL of the clips of each side of each limit, and how far they are from it."""
    bounds = bounds_of(gate.predicate)
    for bound in bounds:
        for side in (bound.passed, f"not ({bound.passed})"):
            yield f"from ({bound.query}) where {side}", bound.distance
    if not bounds:
        for side in ("", "not "):
            verdict = f"{side}coalesce((\n{gate.predicate}\n), false)"
            yield f"select clip_id from clips where {verdict}", ""


class _Draw:
    """Draws from one judgement's clips."""

    def __init__(self, judgement: Judgement, seed: int):
        self._judgement = judgement
        self._seed = seed

    def of(
        self, query: str, wanted: int, taken: Mapping[str, None], distance: str = ""
    ) -> list[str]:
        """So many of the nearest clips of a query, if it tells a distance; none that is taken."""
        lot = f"md5({sql_text(f'{self._seed}:')} || clip_id)"
        order = f"{distance}, {lot}" if distance else lot
        rows = self._judgement.rows(
            f"select clip_id from ({query}) order by {order} limit {_POOL * wanted + len(taken)}"
        )
        free = [row[0] for row in rows if row[0] not in taken][: _POOL * wanted]
        return sorted(free, key=self._lot)[:wanted]

    def _lot(self, clip_id: str) -> str:
        return hashlib.md5(f"{self._seed}:{clip_id}".encode(), usedforsecurity=False).hexdigest()

    def described(self, clips: list[str], gate: Gate | None) -> list[Drawn]:
        """What a person needs to know of the clips, in the order of the lot."""
        bounds = bounds_of(gate.predicate) if gate else ()
        values = list(dict.fromkeys(bound.value for bound in bounds))
        parts = [f"printf('%.4g', ({value})::double)" for value in values]
        if gate and not bounds:
            values = list(gate.columns)
            parts = [f"{sql_name(name)}::varchar" for name in values]
        names = ["" if len(values) == 1 else f"{value}=" for value in values]
        ids = ", ".join(map(sql_text, clips)) or "NULL"
        table = self._judgement.arrow(
            f"select clips.*, s.uri as __uri, [{', '.join(parts)}]::varchar[] as __values "
            f"from clips left join ({self._judgement.session.scan('sources')}) s "
            f"using (source_id) where clip_id in ({ids})"
        )
        found = []
        for row in table.to_pylist():
            texts, uri = row.pop("__values"), row.pop("__uri")
            value = ", ".join(n + (t or "NULL") for n, t in zip(names, texts, strict=True))
            found.append(Drawn(row, uri, gate.name if gate else None, value))
        return sorted(found, key=lambda drawn: self._lot(drawn.clip_id))


def write_labels(
    path: Path, drawn: Sequence[Drawn], sheets: Mapping[str, str] | None = None
) -> None:
    """Write a file to fill in, with the clips' pictures by name; never over one that is there."""
    if path.exists():
        raise UsageError(
            f"{path} is there already, and may hold labels", hint="write to another folder"
        )
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for item in drawn:
            sheet = (sheets or {}).get(item.clip_id, "")
            writer.writerow([*item.to_dict().values(), "", sheet])
