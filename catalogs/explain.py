"""Explaining: why a clip was kept or not, where clips get lost, what a change would do.

    why(catalog, "9f3a2c", "train-2026")     every verdict on one clip
    funnel(catalog, "train-2026")            clips and hours through every gate
    diff(catalog, "train-2025", "train-2026")  what was gained and lost, and by which gate

All of these read; none writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from catalogs.compare import Diff, diff
from catalogs.duplicates import searches
from catalogs.errors import NotFoundError
from catalogs.funnel import Funnel, funnel
from catalogs.judge import DEFAULT_LIMITS, Judgement, Limits
from catalogs.ledger import Selection, find_selection, ledger_files
from catalogs.query import Session, sql_text
from catalogs.recipe import Recipe

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["Diff", "Funnel", "Verdict", "Why", "diff", "find_clip", "funnel", "why"]

_HIGHEST = "\U0010ffff"
_VERDICTS = "stage, gate, predicate, value, passed, reason"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate or stage said about a clip, the value it saw, and why it said no."""

    stage: str
    gate: str
    predicate: str
    value: str | None
    passed: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Why:
    """All verdicts on one clip, and where the clip comes from."""

    clip_id: str
    source_id: str | None
    uri: str | None
    start_s: float | None
    end_s: float | None
    judged_by: str
    """Name of the selection or recipe."""
    selection_id: str | None
    """None when a recipe was asked that nobody has recorded."""
    catalog_version: int
    """The version whose measurements decided."""
    kept: bool
    split: str | None
    verdicts: tuple[Verdict, ...]

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(item for item in self.verdicts if not item.passed)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def why(
    catalog: Catalog,
    clip: str,
    selection: str | Recipe | None = None,
    *,
    operators: Mapping[str, Sequence[str]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Why:
    """The verdicts on a clip, given by its id or a unique beginning of it.

    From the ledger of a selection (by default the one made last), or live from a recipe.
    """
    if isinstance(selection, Recipe):
        return _live(catalog, clip, selection, operators, limits)
    return _recorded(catalog, clip, find_selection(catalog, selection))


def _recorded(catalog: Catalog, clip: str, made: Selection) -> Why:
    with Session(catalog, cutting=made.cutting) as session:
        rows = _ledger_rows(session, "decisions", made, clip, f"clip_id, {_VERDICTS}")
        kept = _ledger_rows(session, "selections", made, clip, "clip_id, split")
        ids = sorted({row[0] for row in [*rows, *kept]})
        if not ids:
            known = find_clip(session, clip)
            raise NotFoundError(
                f"selection {made.name!r} did not judge clip {known}: the clip is of another "
                "cutting, or came later",
                hint="select again, or ask a recipe instead of the selection",
            )
        clip_id = _only_one(ids, clip)
        splits = [split for found, split in kept if found == clip_id]
        return Why(
            clip_id=clip_id,
            **_origin(session, clip_id),
            judged_by=made.name,
            selection_id=made.selection_id,
            catalog_version=made.catalog_version,
            kept=bool(splits),
            split=splits[0] if splits else None,
            verdicts=_in_order([row[1:] for row in rows if row[0] == clip_id], made.recipe),
        )


def _live(
    catalog: Catalog,
    clip: str,
    recipe: Recipe,
    operators: Mapping[str, Sequence[str]] | None,
    limits: Limits,
) -> Why:
    with Session(catalog, cutting="-") as session:
        clip_id = find_clip(session, clip)
    dedup = recipe.dedup and (recipe.dedup.near or recipe.dedup.semantic or searches(catalog))
    depends_on_others = recipe.balance or recipe.exclude or dedup
    only = None if depends_on_others else clip_id
    with Judgement(catalog, recipe, operators=operators, limits=limits, only=only) as judgement:
        judgement.materialise()
        this = f"clip_id = {sql_text(clip_id)}"
        if judgement.row(f"select count(*) from judged where {this}") == (0,):
            raise NotFoundError(
                f"clip {clip_id} is not in cutting {judgement.session.cutting}, which recipe "
                f"{recipe.name!r} selects from"
            )
        rows = judgement.rows(f"select {_VERDICTS} from ({judgement.ledger(this)})")
        kept = judgement.rows(
            f"select {judgement.split} from survivors clips where {judgement.kept} and {this}"
        )
        return Why(
            clip_id=clip_id,
            **_origin(judgement.session, clip_id),
            judged_by=recipe.name,
            selection_id=None,
            catalog_version=catalog.version,
            kept=bool(kept),
            split=kept[0][0] if kept else None,
            verdicts=_in_order(rows, recipe),
        )


def _ledger_rows(
    session: Session, table: str, made: Selection, prefix: str, columns: str
) -> list[tuple[Any, ...]]:
    """Rows of a selection on the clips whose id begins with `prefix`, from few row groups."""
    ends = [prefix, prefix + _HIGHEST]
    files = ledger_files(session.catalog, table, made.selection_id, ends)
    query = (
        f"select {columns} from ({session.scan(table, files)}) "
        "where selection_id = ? and clip_id >= ? and clip_id < ?"
    )
    return session.connection.execute(query, [made.selection_id, *ends]).fetchall()


def _in_order(rows: Sequence[Sequence[Any]], recipe: Recipe) -> tuple[Verdict, ...]:
    """Verdicts in the order in which the recipe applies them."""
    gates = list(recipe.gates)
    stages = ("gate", "exclude", "dedup", "balance")

    def position(item: Verdict) -> tuple[int, int]:
        return stages.index(item.stage), gates.index(item.gate) if item.stage == "gate" else 0

    return tuple(sorted((Verdict(*row) for row in rows), key=position))


def find_clip(session: Session, prefix: str) -> str:
    """The id of the one clip, of any cutting, that begins with `prefix`."""
    query = (
        f"select distinct clip_id from ({session.scan('clips')}) "
        "where clip_id >= ? and clip_id < ? order by 1 limit 5"
    )
    rows = session.connection.execute(query, [prefix, prefix + _HIGHEST]).fetchall()
    if not rows:
        raise NotFoundError(
            f"no clip begins with {prefix!r}", hint='clipmill sql CATALOG "from clips" lists them'
        )
    return _only_one([row[0] for row in rows], prefix)


def _only_one(ids: Sequence[str], prefix: str) -> str:
    if len(ids) > 1 and prefix not in ids:
        raise NotFoundError(
            f"several clips begin with {prefix!r}",
            allowed=", ".join(ids[:5]) + (", ..." if len(ids) > 5 else ""),
            hint="give more digits",
        )
    return prefix if prefix in ids else ids[0]


def _origin(session: Session, clip_id: str) -> dict[str, Any]:
    """Source, its address, start and end of a clip, by the names that `Why` has for them."""
    clip = f"select source_id, start_s, end_s from ({session.scan('clips')}) where clip_id = ?"
    source, *span = session.connection.execute(clip, [clip_id]).fetchone() or (None, None, None)
    # Asked apart: a constant in a filter skips row groups, a join would read them all.
    query = f"select uri from ({session.scan('sources')}) where source_id = ?"
    (uri,) = session.connection.execute(query, [source]).fetchone() or (None,)
    return dict(zip(("source_id", "uri", "start_s", "end_s"), (source, uri, *span), strict=True))
