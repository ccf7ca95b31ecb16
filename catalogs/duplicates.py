"""Pairs of clips that show the same, and the groups that they make.

A search (`curation.dedup`) leaves `matches`: stretches of two sources that show the same, whatever
is cut from them. Here they meet the clips of a cutting:

- a pair's **score** is the share of the shorter clip, without the time that was held back because
  nothing tells its pictures apart, that lies in such stretches at one offset;
- pairs whose score reaches the recipe's `min_overlap`, and pairs of the embedding table
  `neighbours` that reach `min_cosine`, tie clips together: a **group** is all that is tied, named
  after its smallest clip id, so that neither order nor number of runs changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from catalogs.errors import RecipeError
from catalogs.query import Session, resolve_cutting, sql_text
from catalogs.recipe import Dedup, NearDuplicates, SemanticDuplicates

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = [
    "DuplicateGroup",
    "Groups",
    "Member",
    "Pair",
    "catalog_version",
    "check_searched",
    "duplicate_groups",
    "duplicate_pairs",
    "grouped",
    "losers",
    "pairs_between",
    "searches",
]


_EQUAL = 0.999
"""Share from which an exact pair is of clips that show the same from beginning to end."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two clips that show the same; spans are seconds of their sources, NULL for semantic ones."""

    clip_id: str
    other_clip: str
    kind: str
    """exact, near or semantic."""
    score: float
    """Share of the shorter clip that the other shows; the cosine for semantic pairs."""
    start_s: float | None = None
    end_s: float | None = None
    other_start_s: float | None = None
    other_end_s: float | None = None
    mirrored: bool = False
    turned_deg: int = 0

    def swapped(self) -> Pair:
        """The same pair, told from the other clip."""
        return Pair(
            self.other_clip,
            self.clip_id,
            self.kind,
            self.score,
            self.other_start_s,
            self.other_end_s,
            self.start_s,
            self.end_s,
            self.mirrored,
            -self.turned_deg % 360,
        )

    def reason(self) -> str:
        """What the pair says about `clip_id`, for the ledger."""
        text = f"{self.kind} duplicate of {self.other_clip} (score {self.score:.2f}"
        text += ", mirrored" if self.mirrored else ""
        text += f", turned {self.turned_deg} degrees" if self.turned_deg else ""
        if self.start_s is None or self.other_start_s is None:
            return text + ")"
        here = f"{self.start_s:.3f}-{self.end_s:.3f} s"
        return f"{text}): {here} is {self.other_start_s:.3f}-{self.other_end_s:.3f} s there"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def catalog_version(catalog: Catalog) -> str:
    """The name under which matches with another catalog are kept."""
    return f"{catalog.about['id']}@{catalog.version}"


def searches(catalog: Catalog) -> list[str]:
    """The searches for duplicates that were made in this catalog, the newest first."""
    if "searched" not in catalog.tables():
        return []
    with Session(catalog, cutting="-") as session:
        rows = session.sql(
            "select search from searched group by search order by max(created) desc, search"
        ).rows()
    return [row[0] for row in rows]


def check_searched(session: Session, near: NearDuplicates, against: str = "") -> None:
    """Raise unless every video of the catalog went through the search that `near` needs."""
    catalog = session.catalog
    ((missing,),) = session.connection.execute(
        f"select count(*) from ({session.scan('sources')}) s anti join "
        f"(from ({session.scan('searched')}) where search = ? and against = ?) d "
        "on d.source_id = s.source_id where s.kind in ('video', 'mocap')",
        [near.search, against],
    ).fetchall()
    if missing:
        raise RecipeError(
            f"{missing} sources of {catalog.storage.root} were not searched for duplicates "
            "with these settings" + (" against the excluded catalog" if against else ""),
            hint="clipmill dups CATALOG --recipe RECIPE searches what is missing",
        )


def duplicate_pairs(session: Session, dedup: Dedup, clips: str) -> list[Pair]:
    """All pairs among the clips of a relation, exact and near ones first, in order of ids.

    Args:
        session: its catalog has what was searched.
        dedup: what counts as a duplicate.
        clips: SQL with clip_id, source_id, start_s, end_s.
    """
    pairs = []
    known = searches(session.catalog)
    if dedup.near is not None:
        pairs += _overlaps(session, clips, clips, dedup.near.search, dedup.near.min_overlap)
    elif known:
        pairs += _overlaps(session, clips, clips, known[0], 1.0, only_exact=True)
    if dedup.semantic is not None:
        pairs += _neighbours(session, dedup.semantic, clips)
    return pairs


def pairs_between(
    session: Session, near: NearDuplicates, clips: str, others: str, against: str = ""
) -> list[Pair]:
    """Pairs of a clip and one of other clips: of another cutting, or of catalog `against`.

    Spans of one source that overlap are pairs, too.
    """
    pairs = _overlaps(session, clips, others, near.search, near.min_overlap, against=against)
    rows = session.connection.execute(
        "select a.clip_id, b.clip_id, "
        "(least(a.end_s, b.end_s) - greatest(a.start_s, b.start_s)) "
        "/ least(a.end_s - a.start_s, b.end_s - b.start_s) as score, "
        "greatest(a.start_s, b.start_s) as low, least(a.end_s, b.end_s) as high "
        f"from ({clips}) a join ({others}) b on a.source_id = b.source_id "
        "and a.start_s < b.end_s and b.start_s < a.end_s where score >= ? order by 1, 2",
        [near.min_overlap],
    ).fetchall()
    return pairs + [Pair(a, b, "exact", s, low, high, low, high) for a, b, s, low, high in rows]


def _overlaps(
    session: Session,
    clips: str,
    others: str,
    search: str,
    least: float,
    *,
    against: str = "",
    only_exact: bool = False,
) -> list[Pair]:
    """Pairs by stretches of their sources; pairs within one relation are told once."""
    once = "a.clip_id < b.clip_id" if clips == others else "true"
    matches = (
        f"select *, row_number() over () as number from ({session.scan('matches')}) "
        f"where search = {sql_text(search)} and against = {sql_text(against)}"
        + (" and kind = 'exact'" if only_exact else "")
    )
    if not against:
        matches = f"{matches} union all by name {_told_from_the_other(matches)}"
    query = f"""
        with matched as materialized ({matches}),
        a as materialized ({_hashed(session, clips, search)}),
        b as materialized ({_hashed(session, others, search)}),
        met as (
            select a.clip_id, b.clip_id as other_clip, m.kind, m.alignment, m.mirrored,
                m.turned_deg, a.hashed_s, b.hashed_s / m.rate as other_hashed_s,
                greatest(m.start_s, a.start_s,
                    m.start_s + (b.start_s - m.other_start_s) / m.rate) as low,
                least(m.end_s, a.end_s,
                    m.start_s + (b.end_s - m.other_start_s) / m.rate) as high,
                m.other_start_s + (low - m.start_s) * m.rate as other_low,
                m.other_start_s + (high - m.start_s) * m.rate as other_high
            from matched m join a on a.source_id = m.source_id
                join b on b.source_id = m.other_id
            where high > low and {once}
        ),
        summed as (
            select clip_id, other_clip, min(kind) as kind, alignment,
                any_value(mirrored) as mirrored, any_value(turned_deg) as turned_deg,
                least(1.0, sum(high - low) / min(least(hashed_s, other_hashed_s))) as score,
                min(low) as low, max(high) as high, min(other_low) as other_low,
                max(other_high) as other_high
            from met group by clip_id, other_clip, alignment
        )
        select clip_id, other_clip, kind, score, low, high, other_low, other_high, mirrored,
            turned_deg
        from summed where score >= ?
        qualify row_number() over (
            partition by clip_id, other_clip order by score desc, alignment) = 1
        order by 1, 2
    """
    return [Pair(*row) for row in session.connection.execute(query, [least - 1e-9]).fetchall()]


def _told_from_the_other(matches: str) -> str:
    return (
        "select other_id as source_id, source_id as other_id, kind, other_start_s as start_s, "
        "other_end_s as end_s, start_s as other_start_s, end_s as other_end_s, alignment, "
        "1 / rate as rate, mirrored, (360 - turned_deg) % 360 as turned_deg, number "
        f"from ({matches})"
    )


def _hashed(session: Session, clips: str, search: str) -> str:
    """SQL of clips whose source matched, with the seconds that could be compared."""
    held = (
        "select source_id, unnest(held_from_s) as held_from, unnest(held_to_s) as held_to "
        f"from ({session.scan('searched')}) where search = {sql_text(search)}"
    )
    return f"""
        select c.clip_id, c.source_id, c.start_s, c.end_s,
            greatest(1e-3, c.end_s - c.start_s - coalesce(sum(
                least(h.held_to, c.end_s) - greatest(h.held_from, c.start_s)
            ) filter (h.held_from is not null), 0.0)) as hashed_s
        from ({clips}) c
        semi join (select source_id from matched union select other_id from matched) m
            on m.source_id = c.source_id
        left join ({held}) h on h.source_id = c.source_id
            and h.held_from < c.end_s and h.held_to > c.start_s
        group by c.clip_id, c.source_id, c.start_s, c.end_s
    """


def _neighbours(session: Session, semantic: SemanticDuplicates, clips: str) -> list[Pair]:
    table = session.scan("neighbours")
    known = session.connection.execute(
        f"select distinct model from ({table}) where cutting = ?", [session.cutting]
    ).fetchall()
    if semantic.model not in {row[0] for row in known}:
        raise RecipeError(
            f"the embeddings of {semantic.model!r} were not compared in this cutting",
            allowed=", ".join(sorted(row[0] for row in known)) or None,
            hint=f"clipmill dups CATALOG --semantic {semantic.model}",
        )
    rows = session.connection.execute(
        f"select clip_id, other_clip, cosine from ({table}) n "
        f"semi join ({clips}) a on a.clip_id = n.clip_id "
        f"semi join ({clips}) b on b.clip_id = n.other_clip "
        "where model = ? and cutting = ? and cosine >= ? order by 1, 2",
        [semantic.model, session.cutting, semantic.min_cosine],
    ).fetchall()
    return [Pair(a, b, "semantic", cosine) for a, b, cosine in rows]


def losers(pairs: Iterable[Pair], ranks: Mapping[str, int]) -> dict[str, Pair]:
    """Who goes, and the pair for which: clips in order of rank stay unless a twin stays already.

    Clips without a rank take no part. A clip goes only for one that shows the same, never for the
    twin of a twin, but for clips that are equal: these need not all be told as pairs.
    """
    pairs = list(pairs)
    twins: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.clip_id in ranks and pair.other_clip in ranks:
            twins.setdefault(pair.clip_id, []).append(pair)
            twins.setdefault(pair.other_clip, []).append(pair.swapped())
    equal = Groups(
        (pair.clip_id, pair.other_clip)
        for pair in pairs
        if pair.kind == "exact" and pair.score >= _EQUAL
    )
    stays: dict[str, str] = {}
    lost: dict[str, Pair] = {}
    for clip in sorted(twins, key=ranks.__getitem__):
        stay = [pair for pair in twins[clip] if ranks[pair.other_clip] < ranks[clip]]
        stay = [pair for pair in stay if pair.other_clip not in lost]
        same = equal.name(clip)
        if not stay and same in stays:
            stay = [Pair(clip, stays[same], "exact", 1.0)]
        if stay:
            lost[clip] = max(stay, key=lambda pair: (pair.score, -ranks[pair.other_clip]))
        else:
            stays[same] = clip
    return lost


class Groups:
    """What is tied together, by union-find; a group's name is its smallest member."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()):
        self._parents: dict[str, str] = {}
        for one, other in pairs:
            self.tie(one, other)

    def tie(self, one: str, other: str) -> None:
        low, high = sorted((self.name(one), self.name(other)))
        self._parents[high] = low

    def name(self, member: str) -> str:
        """The group of a member, which may be alone in it."""
        parents = self._parents
        root = member
        while (above := parents.setdefault(root, root)) != root:
            root = above
        while parents[member] != root:
            parents[member], member = root, parents[member]
        return root

    def members(self) -> Iterator[tuple[str, str]]:
        """Every member that was tied, with the name of its group; sorted."""
        for member in sorted(self._parents):
            yield member, self.name(member)


@dataclass(frozen=True, slots=True)
class Member:
    """A clip of a group, and where it comes from."""

    clip_id: str
    uri: str | None
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Clips that show the same, and the pairs that say so. Named after the smallest clip id."""

    name: str
    members: tuple[Member, ...]
    pairs: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def duplicate_groups(
    catalog: Catalog, dedup: Dedup, *, cutting: str | None = None
) -> list[DuplicateGroup]:
    """All groups among the clips of a cutting (by default the newest), in order of names."""
    chosen = resolve_cutting(catalog, cutting) if cutting else None
    with Session(catalog, cutting=chosen) as session:
        session.prepare("select * from clips")
        pairs = duplicate_pairs(
            session, dedup, "select clip_id, source_id, start_s, end_s from clips"
        )
        ties = Groups((pair.clip_id, pair.other_clip) for pair in pairs)
        names = dict(ties.members())
        session.keep("__members", pa.table({"clip_id": pa.array(names, pa.string())}))
        rows = session.connection.execute(
            "select clip_id, uri, start_s, end_s from clips semi join __members using (clip_id) "
            "order by clip_id"
        ).fetchall()
    members: dict[str, list[Member]] = {}
    by_group: dict[str, list[Pair]] = {}
    for row in rows:
        members.setdefault(names[row[0]], []).append(Member(*row))
    for pair in pairs:
        by_group.setdefault(names[pair.clip_id], []).append(pair)
    return [DuplicateGroup(n, tuple(members[n]), tuple(by_group[n])) for n in sorted(members)]


def grouped(pairs: Sequence[Pair]) -> Mapping[str, list[str]]:
    """The members of each group, sorted."""
    groups: dict[str, list[str]] = {}
    for member, name in Groups((pair.clip_id, pair.other_clip) for pair in pairs).members():
        groups.setdefault(name, []).append(member)
    return groups
