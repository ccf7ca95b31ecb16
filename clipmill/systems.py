"""Published systems, and what of clipmill makes each of them work.

The ids and titles are kept in `systems.tsv`. Entries name the systems that they serve where they
are declared (`serves` of a preset), so the count here cannot run ahead of what is there. Whatever
serves a system is tested by its own family's tests.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from catalogs.errors import NotFoundError, nearest

__all__ = ["Entry", "System", "serving", "system", "systems"]


@dataclass(frozen=True, slots=True)
class System:
    """A published system: what it is in the field's words."""

    id: str
    short: str
    title: str
    lane: str
    lane2: str
    family: str

    @property
    def lanes(self) -> tuple[str, ...]:
        return tuple(lane for lane in (self.lane, self.lane2) if lane)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something of clipmill that makes a system work, and how to begin with it."""

    kind: str
    name: str
    run: str


@cache
def systems() -> Mapping[str, System]:
    """Every known system by its id."""
    text = resources.files("clipmill").joinpath("systems.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["id"]: System(**row) for row in rows}


def system(name: str) -> System:
    """The system of this id."""
    known = systems()
    if name not in known:
        raise NotFoundError(
            f"no system is called {name!r}",
            hint=nearest(name, known) or "clipmill systems lists them all",
        )
    return known[name]


@cache
def serving() -> Mapping[str, tuple[Entry, ...]]:
    """What serves each system that is served."""
    from zoo.registry import presets

    found: dict[str, list[Entry]] = {}
    for preset in presets().values():
        for served in preset.serves:
            system(served)
            entry = Entry("tokenizer", preset.name, f'zoo.create("{preset.name}")')
            found.setdefault(served, []).append(entry)
    return {name: tuple(entries) for name, entries in found.items()}
