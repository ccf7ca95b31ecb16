"""Leaks: what is in one split of a selection is in another one, too.

A model that was trained on a clip is not tested by a copy of it. Exports and publications look for
pairs of selected clips that show the same and are in different splits, and refuse to write them
unless they are told otherwise. What was never searched for duplicates cannot be vouched for, and
that is said as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from catalogs.chosen import Chosen
from catalogs.duplicates import Pair, duplicate_pairs, searches
from catalogs.errors import ClipmillError
from catalogs.recipe import Dedup, NearDuplicates

__all__ = ["Leak", "LeakError", "Leaks", "OnLeaks", "find_leaks", "twin_rules"]

OnLeaks: TypeAlias = Literal["error", "allow"]
_SHOWN = 5


class LeakError(ClipmillError):
    """Clips that show the same are in different splits."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Two clips that show the same, in different splits."""

    pair: Pair
    split: str
    other_split: str
    uri: str | None
    other_uri: str | None

    def __str__(self) -> str:
        return f"{self.pair.clip_id} ({self.split}): {self.pair.reason()}, in {self.other_split}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Leaks:
    """The leaks of a selection; `searched` tells whether all of it was searched."""

    searched: bool
    found: tuple[Leak, ...] = ()

    def raise_if_any(self, what: str) -> None:
        """Refuse to do `what` with splits that leak, naming the pairs."""
        if not self.found:
            return
        lines = [str(leak) for leak in self.found[:_SHOWN]]
        more = len(self.found) - len(lines)
        lines += [f"and {more} more pairs"] if more else []
        raise LeakError(
            f"{what}: {len(self.found)} pairs of clips show the same in different splits\n"
            + "\n".join(f"  {line}" for line in lines),
            hint="select with `dedup: {near: {}}` in the recipe, which keeps duplicates in one "
            "split, or allow leaks",
        )

    def to_dict(self) -> dict[str, Any]:
        """For manifests: how many, and the pairs by id."""
        ids = [[leak.pair.clip_id, leak.pair.other_clip] for leak in self.found]
        return {"searched": self.searched, "pairs": ids}


def find_leaks(chosen: Chosen) -> Leaks:
    """Pairs of permitted clips in different splits, by the rules of the selection's recipe.

    A selection whose recipe has no rules for near-duplicates is judged by the usual ones, as far
    as somebody searched for them.
    """
    session = chosen.session
    if len(chosen.splits()) < 2:
        return Leaks(searched=True)
    dedup = twin_rules(chosen)
    if dedup is None:
        return Leaks(searched=False)
    clips = (
        "select clip_id, source_id, start_s, end_s from "
        f"({session.scan('clips')}) semi join permitted using (clip_id) "
        f"where cutting = '{session.cutting}'"
    )
    pairs = duplicate_pairs(session, dedup, clips)
    return Leaks(_is_searched(chosen, dedup), tuple(_across(chosen, pairs)))


def twin_rules(chosen: Chosen) -> Dedup | None:
    """What counts as the same: by the recipe, else as usual if that search was made."""
    made = chosen.selection.recipe.dedup if chosen.selection else None
    if made is not None and (made.near or made.semantic):
        return made
    usual = NearDuplicates()
    return Dedup(near=usual) if usual.search in searches(chosen.catalog) else None


def _is_searched(chosen: Chosen, dedup: Dedup) -> bool:
    if dedup.near is None:
        return False
    session = chosen.session
    ((left,),) = session.connection.execute(
        "select count(*) from (select distinct source_id from permitted) p anti join "
        f"(from ({session.scan('searched')}) where search = ? and against = '') s "
        "using (source_id)",
        [dedup.near.search],
    ).fetchall()
    return not left


def _across(chosen: Chosen, pairs: Sequence[Pair]) -> Iterator[Leak]:
    """The pairs whose clips are in different splits."""
    session = chosen.session
    splits = dict(session.connection.execute("select clip_id, split from permitted").fetchall())
    apart = [pair for pair in pairs if splits[pair.clip_id] != splits[pair.other_clip]]
    uris = dict(
        session.connection.execute(
            f"select clip_id, uri from permitted join ({session.scan('sources')}) s "
            "using (source_id)"
        ).fetchall()
        if apart
        else ()
    )
    for pair in apart:
        yield Leak(
            pair,
            splits[pair.clip_id],
            splits[pair.other_clip],
            uris.get(pair.clip_id),
            uris.get(pair.other_clip),
        )
