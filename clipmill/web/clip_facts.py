"""All that a catalog knows of one clip, as the clip page shows it. No file is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from catalogs.catalog import Catalog
from catalogs.duplicates import Pair, pairs_between, searches
from catalogs.errors import NotFoundError
from catalogs.explain import why
from catalogs.ledger import Selection
from catalogs.query import Session, sql_text
from catalogs.recipe import NearDuplicates
from catalogs.schema import view_name
from clipmill.web.sources import FoundClip, find_clip
from curation.captions.qa import CHECKS, QA_TABLE, captioner_of

__all__ = ["clip_facts", "twins_of"]

_ORIGINS = ("rules", "import")
"""Captions are shown in this order of origins, others after them."""


def clip_facts(
    session: Session, clip_id: str, made: Sequence[Selection], selection: str | None = None
) -> dict[str, Any]:
    """Span, source, scores, verdicts, captions, embeddings and runs of a clip.

    Args:
        session: of any cutting.
        clip_id: the whole id.
        made: the catalog's selections, the one made last first.
        selection: whose verdicts to tell; None is the selection that was made last.
    """
    found = find_clip(session, clip_id)
    with _of_cutting(session, found) as own:
        (wide,) = own.sql("select * from clips where clip_id = ?", [clip_id]).dicts()
    return {
        "clip": found.clip,
        "source": dict(found.source) | {"meta": _parsed(found.source["meta"])},
        "scores": _scores(session, wide),
        "verdicts": _verdicts(session.catalog, clip_id, made, selection),
        "captions": _captions(session, clip_id),
        "caption_checks": QA_TABLE in session.catalog.tables(),
        "embeddings": _embeddings(session, clip_id),
        "runs": _runs(session, found),
    }


@contextmanager
def _of_cutting(session: Session, found: FoundClip) -> Iterator[Session]:
    """A session whose view `clips` has the clip."""
    cutting = found.clip["cutting"]
    if session.cutting == cutting:
        yield session
        return
    with Session(session.catalog, cutting=cutting) as other:
        yield other


def _parsed(text: str | None) -> Any:
    return json.loads(text) if text else None


def _scores(session: Session, wide: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every column that an operator measured of the clip, with its unit and meaning."""
    scores = []
    for name, (table, column) in session.operators.items():
        if wide[name] is None or table == QA_TABLE:
            continue
        declared = session.catalog.spec(table).column(column)
        operator = table.partition("/")[2]
        scores.append(
            {
                "name": name,
                "operator": operator,
                "value": wide[name],
                "unit": declared.unit,
                "meaning": declared.meaning,
            }
        )
    return scores


def _verdicts(
    catalog: Catalog, clip_id: str, made: Sequence[Selection], selection: str | None
) -> dict[str, Any]:
    """What a selection said about the clip, or why it said nothing; and all selections' names."""
    names = list(dict.fromkeys(item.name for item in made))
    chosen = selection or (names[0] if names else None)
    told: dict[str, Any] = {"selections": names, "selection": chosen, "why": None}
    try:
        return told | {"why": why(catalog, clip_id, chosen).to_dict()}
    except NotFoundError as error:
        return told | {"problem": error.problem, "hint": error.hint}


def _captions(session: Session, clip_id: str) -> list[dict[str, Any]]:
    """The captions with the faults that a check of captions found."""
    columns = "caption_id, kind, text, language, start_s, end_s, origin, model, revision, prompt_id"
    rows = session.sql(f"select {columns} from captions where clip_id = ?", [clip_id]).dicts()
    faults = _faults(session, clip_id)
    for row in rows:
        said_of = f"{captioner_of(row)} {row['kind']}: "
        row["faults"] = {
            check: reason.removeprefix(said_of)
            for check, reason in faults
            if reason.startswith(said_of)
        }
    return sorted(rows, key=_caption_order)


def _faults(session: Session, clip_id: str) -> list[tuple[str, str]]:
    """(check, who and why) of all faults of the clip's captions."""
    if QA_TABLE not in session.catalog.tables():
        return []
    columns = ", ".join(f"caption_{check}" for check in CHECKS)
    rows = session.sql(
        f"select {columns} from {view_name(QA_TABLE)} where clip_id = ? order by op_version desc "
        "limit 1",
        [clip_id],
    ).rows()
    return [
        (check, reason)
        for row in rows
        for check, reasons in zip(CHECKS, row, strict=True)
        for reason in (reasons or "").split("; ")
        if reason
    ]


def _caption_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    origin = row["origin"]
    place = _ORIGINS.index(origin) if origin in _ORIGINS else len(_ORIGINS)
    return place, row["kind"].startswith("part:"), row["kind"], row["start_s"] or 0.0, row["text"]


def _embeddings(session: Session, clip_id: str) -> list[str]:
    """Models that embedded the clip."""
    return [
        table.partition("/")[2]
        for table in session.catalog.tables()
        if table.startswith("embeddings/")
        and session.sql(
            f"select clip_id from {view_name(table)} where clip_id = ? limit 1", [clip_id]
        ).rows()
    ]


def _runs(session: Session, found: FoundClip) -> list[dict[str, Any]]:
    """The runs that recorded the source and that cut the clip."""
    roles: dict[str, list[str]] = {}
    for role, row in (("measured the source", found.source), ("cut the clip", found.clip)):
        if row["run_id"]:
            roles.setdefault(row["run_id"], []).append(role)
    if not roles:
        return []
    marks = ", ".join("?" * len(roles))
    rows = session.sql(
        "select run_id, verb, status, started, finished, catalog_version, versions from runs "
        f"where run_id in ({marks}) order by started",
        list(roles),
    ).dicts()
    return [
        row | {"did": " and ".join(roles[row["run_id"]]), "versions": _parsed(row["versions"])}
        for row in rows
    ]


def twins_of(session: Session, clip_id: str, made: Sequence[Selection]) -> dict[str, Any]:
    """Clips of the same cutting that show what this one shows, and where."""
    found = find_clip(session, clip_id)
    rules = _rules(made)
    if rules.search not in searches(session.catalog):
        return {"searched": False, "twins": [], "rules": asdict(rules)}
    every = "select clip_id, source_id, start_s, end_s from clips"
    with _of_cutting(session, found) as own:
        own.prepare(every)
        pairs = pairs_between(own, rules, f"{every} where clip_id = {sql_text(clip_id)}", every)
        pairs = [pair for pair in pairs if pair.other_clip != clip_id]
        return {"searched": True, "twins": _told(own, pairs), "rules": asdict(rules)}


def _rules(made: Sequence[Selection]) -> NearDuplicates:
    """What counts as a twin: as the selection that was made last had it, else the usual."""
    dedup = made[0].recipe.dedup if made else None
    return dedup.near if dedup and dedup.near else NearDuplicates()


def _told(session: Session, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Pairs with the spans and files of the other clips, the best first."""
    names = ", ".join(sql_text(pair.other_clip) for pair in pairs) or "null"
    rows = session.sql(
        "select clip_id, source_id, kind, uri, start_s, end_s from clips "
        f"where clip_id in ({names})"
    ).dicts()
    others = {row["clip_id"]: row for row in rows}
    return [
        pair.to_dict() | {"other": others[pair.other_clip]}
        for pair in sorted(pairs, key=lambda pair: (-pair.score, pair.other_clip))
        if pair.other_clip in others
    ]
