"""What a catalog says about a dataset: the numbers that cards and datasheets are written from.

Everything is counted over the permitted clips, so that a card cannot tell what a licence hides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from catalogs.charts import Histogram
from catalogs.chosen import Chosen
from catalogs.errors import UsageError, nearest
from catalogs.funnel import Funnel
from catalogs.histograms import histograms, ranges_of
from catalogs.licence import NO_LICENCE, Terms, terms_of
from catalogs.schema import Column

__all__ = ["ABOUT", "Facts", "LicenceShare", "Measure", "Share", "gather"]

ABOUT = ("title", "description", "motivation", "maintainer", "homepage", "citation", "language")
"""What only a person can say about a dataset; every card names what was left out."""

MOST_MEASURES = 8
_CLIPS = "permitted k join clips on clips.clip_id = k.clip_id"
_COUNTS = "count() as clips, coalesce(sum(duration_s), 0) / 3600 as hours"


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the dataset, such as a split or a resolution."""

    name: str
    clips: int
    hours: float
    sources: int


@dataclass(frozen=True, slots=True)
class LicenceShare:
    """The part of the dataset under one licence, and what that licence permits."""

    share: Share
    terms: Terms


@dataclass(frozen=True, slots=True)
class Measure:
    """How one column's values are spread."""

    column: Column
    histogram: Histogram
    median: float


@dataclass(frozen=True)
class Facts:
    """Everything that a card says."""

    title: str
    about: Mapping[str, str]
    catalog_id: str
    version: int
    as_of: datetime
    where: str | None
    selection: str | None
    selection_id: str | None
    recipe: str | None
    versions: Mapping[str, str]
    clips: int
    hours: float
    sources: int
    kinds: Sequence[Share]
    splits: Sequence[Share]
    licences: Sequence[LicenceShare]
    resolutions: Sequence[Share]
    captions: Sequence[tuple[str, str, int]]
    """Kind, origin and number of captions."""
    languages: Sequence[str]
    columns: Sequence[Column]
    measures: Sequence[Measure]
    funnel: Funnel | None
    refusals: Sequence[Any]
    quarantine: Sequence[tuple[str, str, int]]
    """Stage, error class and number of files."""
    damaged_sources: int
    uneven_sources: int
    collections: Sequence[str] = field(default=())


def gather(
    chosen: Chosen, *, title: str, about: Mapping[str, str] | None = None, columns: Sequence[Column]
) -> Facts:
    """Ask the catalog for everything that a card says."""
    about = dict(about or {})
    for name in about:
        if name not in ABOUT:
            raise UsageError(
                f"{name!r} is not a part of a card",
                allowed=", ".join(ABOUT),
                hint=nearest(name, ABOUT),
            )
    selection = chosen.selection
    clips, hours, sources = chosen.sql(
        f"select {_COUNTS}, count(distinct k.source_id) from {_CLIPS}"
    ).one()
    damaged, uneven = chosen.sql(
        "select count() filter (damaged_frames > 0), count() filter (is_vfr) from sources "
        "semi join permitted using (source_id)"
    ).one()
    return Facts(
        title=about.get("title") or title,
        about=about,
        catalog_id=str(chosen.catalog.about["id"]),
        version=chosen.catalog.version,
        as_of=chosen.catalog.snapshot.created,
        where=chosen.where,
        selection=selection.name if selection else None,
        selection_id=selection.selection_id if selection else None,
        recipe=selection.recipe_text if selection else None,
        versions=_versions(chosen),
        clips=clips,
        hours=hours,
        sources=sources,
        kinds=_shares(chosen, "clips.kind"),
        splits=_splits(chosen),
        licences=_licences(chosen),
        resolutions=_shares(chosen, "width || ' × ' || height")[:8],
        captions=_captions(chosen, "kind, origin"),
        languages=[row[0] for row in _captions(chosen, "language") if row[0]],
        columns=columns,
        measures=_measures(chosen, columns),
        funnel=_funnel(chosen),
        refusals=chosen.verdict.refusals,
        quarantine=chosen.sql(
            "select coalesce(stage, '?'), coalesce(error_class, '?'), count() from quarantine "
            "group by 1, 2 order by 3 desc, 1, 2"
        ).rows(),
        damaged_sources=damaged,
        uneven_sources=uneven,
        collections=[
            row[0]
            for row in chosen.sql(
                "select distinct collection from sources semi join permitted using (source_id) "
                "where collection is not null order by 1"
            ).rows()
        ],
    )


def _shares(chosen: Chosen, name: str) -> list[Share]:
    rows = chosen.sql(
        f"select {name} as name, {_COUNTS}, count(distinct k.source_id) from {_CLIPS} "
        "group by 1 having name is not null order by clips desc, name"
    ).rows()
    return [Share(*row) for row in rows]


def _splits(chosen: Chosen) -> list[Share]:
    order = chosen.splits()
    return sorted(_shares(chosen, "k.split"), key=lambda share: order.index(share.name))


def _licences(chosen: Chosen) -> list[LicenceShare]:
    rows = chosen.sql(
        f"select license, license_terms, {_COUNTS}, count(distinct k.source_id) from {_CLIPS} "
        "group by 1, 2 order by clips desc, license"
    ).rows()
    return [
        LicenceShare(
            Share(licence or NO_LICENCE, clips, hours, sources),
            terms_of(licence).overridden(given),
        )
        for licence, given, clips, hours, sources in rows
    ]


def _captions(chosen: Chosen, by: str) -> list[Any]:
    return chosen.sql(
        f"select {by}, count() from captions semi join permitted using (clip_id) "
        f"group by all order by count() desc, {by}"
    ).rows()


def _versions(chosen: Chosen) -> dict[str, str]:
    if chosen.selection is None:
        return {}
    rows = chosen.session.sql(
        "select versions from runs where run_id = ?", [chosen.selection.run_id]
    ).rows()
    return {k: str(v) for k, v in json.loads((rows[0][0] if rows else None) or "{}").items()}


def _funnel(chosen: Chosen) -> Funnel | None:
    recorded = json.loads(chosen.selection.counts or "{}") if chosen.selection else {}
    return Funnel.from_dict(recorded["funnel"]) if recorded.get("funnel") else None


def _measures(chosen: Chosen, columns: Sequence[Column]) -> list[Measure]:
    """The columns worth a picture: the length, what gates asked for, then what was scored."""
    numeric = {c.name: c for c in columns if pa.types.is_floating(c.type)}
    funnel = _funnel(chosen)
    gates = " ".join(step.predicate for step in funnel.steps) if funnel else ""
    asked = [name for name in re.findall(r"\w+", gates) if name in numeric]
    scored = [name for name in chosen.session.operators if name in numeric]
    names = [name for name in dict.fromkeys(["duration_s", *asked, *scored]) if name in numeric]
    ranges = ranges_of(chosen.sql, _CLIPS, names[:MOST_MEASURES])
    counted = histograms(chosen.sql, _CLIPS, ranges)
    return [Measure(numeric[r.name], counted[r.name], r.median) for r in ranges]
