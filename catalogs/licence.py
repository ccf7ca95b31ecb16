"""Licences with teeth: what each source permits, and what may therefore leave the house.

A licence answers three questions with yes, no or unknown: may the material be redistributed, may
it be used commercially, may it be adapted. The answers come from the licence's name, unless the
source's own `license_terms` say otherwise.

Unknown counts as no. Whoever has read such a licence and takes the responsibility names it in
`Policy(acknowledged=...)`. A plain no can only be changed by correcting the source's terms.

What is checked for what: rows (spans, scores, captions) need `redistribute`; media, which are cut
and re-encoded, need `redistribute` and `derive`; anything offered for commercial use needs
`commercial` too. Clips of refused sources can still be named in a rebuild recipe, which carries
nothing of the source but its hash, the spans, and where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import pyarrow as pa

from catalogs.errors import LicenceError, UsageError, nearest

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from catalogs.query import Session

__all__ = [
    "NO_LICENCE",
    "Permission",
    "Policy",
    "Refusal",
    "Terms",
    "Use",
    "Verdict",
    "enforce",
    "explain",
    "terms_of",
]

Permission: TypeAlias = Literal["yes", "no", "unknown"]
Use: TypeAlias = Literal["redistribute", "commercial", "derive"]

USES: tuple[Use, ...] = get_args(Use)
NO_LICENCE = "(none)"
"""How a source without a licence is called in messages and acknowledgements."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a licence permits: yes, no or unknown each."""

    redistribute: Permission = "unknown"
    commercial: Permission = "unknown"
    derive: Permission = "unknown"

    def overridden(self, given: Mapping[str, str | None] | None) -> Terms:
        """These terms, with the answers that a source gives itself."""
        answers: dict[str, Permission] = {}
        for use in USES:
            answer = (given or {}).get(use) or getattr(self, use)
            if answer not in get_args(Permission):
                raise LicenceError(
                    f"license_terms.{use} is {answer!r}", allowed=", ".join(get_args(Permission))
                )
            answers[use] = cast(Permission, answer)
        return Terms(**answers)


_FREE = Terms("yes", "yes", "yes")
_CLOSED = Terms("no", "no", "no")

_FREE_LICENCES = re.compile(
    r"""(the\ )?
        (apache|mit|isc|zlib|unlicense|wtfpl|0bsd|bsd|bsl-1|mpl|epl|eupl|artistic|[al]?gpl|gfdl
        |odc-by|odbl|pddl|cdla-(permissive|sharing)|dl-de|etalab|ogl|ofl|afl|ms-pl|postgresql
        |cc0|cc-?zero|cc-pddc|public\ domain|us-?pd|us\ government\ work)
        ([-.,\s\d]|v(ersion)?\b|licen[cs]e|public|domain|clause|only|new|revised|simplified|clear
        |mark|dedication|universal|international|work|with\ [a-z0-9.-]+exception)*""",
    re.VERBOSE,
)
_CLOSED_WORDS = re.compile(
    r"all rights reserved|proprietary|confidential|internal( use)? only|do not (re)?distribute"
    r"|no redistribution|commercial licen[cs]e"
)
_NONCOMMERCIAL_WORDS = re.compile(
    r"non-?\s?commercial|research[- ](use[- ])?only|academic|(?<![a-z])nc(?![a-z])"
)
_CREATIVE_COMMONS = re.compile(r"(cc|creative commons)[-\s]*(by|attribution)\b")
_CREATIVE_COMMONS_LINK = re.compile(
    r"https?://creativecommons\.org/(?:licenses/([a-z-]+)|publicdomain/\w+)(/.*)?"
)


def terms_of(licence: str | None) -> Terms:
    """What a licence permits, from its SPDX identifier or its usual names.

    Of several licences joined by AND the strictest answer counts, of OR the freest. A text that
    is not understood whole answers unknown: guessing wrong here would give away others' work.
    """
    text = _normal(licence)
    if re.search(r"\sor\s", text):
        return _merged(map(terms_of, re.split(r"\sor\s", text)), ("yes", "unknown", "no"))
    if re.search(r"\sand\s", text):
        return _merged(map(terms_of, re.split(r"\sand\s", text)), ("no", "unknown", "yes"))
    if _CLOSED_WORDS.search(text):
        return _CLOSED
    noncommercial = _NONCOMMERCIAL_WORDS.search(text) is not None
    if _CREATIVE_COMMONS.match(text):
        unchanged = re.search(r"\bnd\b|no-?\s?deriv", text)
        return Terms("yes", "no" if noncommercial else "yes", "no" if unchanged else "yes")
    if noncommercial:
        return Terms(commercial="no")
    return _FREE if _FREE_LICENCES.fullmatch(text) else Terms()


def _normal(licence: str | None) -> str:
    text = re.sub(r"[\s_]+", " ", (licence or "").strip().lower()).strip("() ")
    text = re.sub(r"[ -]or[ -](later|newer)$", "", text)
    if link := _CREATIVE_COMMONS_LINK.fullmatch(text):
        return f"cc-{link[1]}" if link[1] else "cc0"
    return text


def _merged(parts: Iterable[Terms], preference: tuple[Permission, ...]) -> Terms:
    terms = list(parts)
    return Terms(*(min((getattr(t, use) for t in terms), key=preference.index) for use in USES))


@dataclass(frozen=True)
class Policy:
    """What is going to be done with the material, and which unknown terms were cleared by hand.

    `acknowledged` names licence texts, collections or source ids whose unknown terms the caller
    has read and answers for; `"(none)"` stands for sources without a licence.
    """

    uses: frozenset[Use] = frozenset({"redistribute"})
    acknowledged: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *uses: Use, acknowledged: Collection[str] = ()) -> Policy:
        """A policy for these uses; without any, everything is allowed (nothing leaves)."""
        unknown = [use for use in uses if use not in USES]
        if unknown:
            raise UsageError(
                f"{unknown[0]!r} is not a use",
                allowed=", ".join(USES),
                hint=nearest(unknown[0], USES),
            )
        return cls(frozenset(uses), frozenset(acknowledged))

    def refuses(self, source: Mapping[str, Any]) -> str | None:
        """Why this source may not be used so, or None when it may."""
        licence = source.get("license") or NO_LICENCE
        terms = terms_of(source.get("license")).overridden(source.get("license_terms"))
        names = {licence, source.get("collection"), source.get("source_id")}
        for use in USES:
            answer = getattr(terms, use)
            if use not in self.uses or answer == "yes":
                continue
            if answer == "no":
                return f"{licence} does not permit {_WORDS[use]}"
            if not names & self.acknowledged:
                return f"{licence}: unknown whether it permits {_WORDS[use]}"
        return None


_WORDS: dict[Use, str] = {
    "redistribute": "redistribution",
    "commercial": "commercial use",
    "derive": "derived works",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The sources of one licence that were refused, for one reason."""

    licence: str
    reason: str
    sources: int
    clips: int

    def __str__(self) -> str:
        return f"{self.reason} ({self.clips} clips of {self.sources} sources)"


@dataclass(frozen=True)
class Verdict:
    """Sources and clips split into what may be used and what may not.

    `reasons` maps each refused source to the reason. A source id that the catalog does not know
    is refused like one without a licence.
    """

    policy: Policy
    allowed_sources: frozenset[str]
    reasons: Mapping[str, str]
    allowed_clips: int
    refusals: tuple[Refusal, ...] = field(default=())

    @property
    def refused_clips(self) -> int:
        return sum(refusal.clips for refusal in self.refusals)

    def raise_if_refused(self, action: str) -> None:
        """Raise `LicenceError` when anything was refused. `action` starts the message."""
        if not self.refusals:
            return
        raise LicenceError(
            f"{action}: {self.refused_clips} of {self.refused_clips + self.allowed_clips} clips "
            "come from sources whose licence forbids it:\n"
            + "\n".join(f"  {refusal}" for refusal in self.refusals),
            allowed="sources that permit: " + ", ".join(sorted(self.policy.uses)),
            hint=explain(self),
        )


def explain(verdict: Verdict) -> str:
    """What a caller can do about refused sources."""
    unknown = sorted({r.licence for r in verdict.refusals if ": unknown whether" in r.reason})
    steps = ["select clips of permitted sources only", "or pass refused='recipe' to leave them out"]
    if unknown:
        names = ", ".join(map(repr, unknown))
        steps.append(f"or, having read their terms, pass acknowledge=[{names}]")
    steps.append("or correct license_terms of the sources")
    return ", ".join(steps)


def enforce(
    catalog: Catalog, clips: pa.Table | None = None, policy: Policy | None = None
) -> Verdict:
    """Judge clips (a table with `source_id`; every clip of the catalog when None) by a policy."""
    from catalogs.query import Session

    with Session(catalog, cutting="-") as session:
        if clips is None:
            counted = "select source_id, count(distinct clip_id) as clips from clips_all group by 1"
            query = (
                f"with counted as ({counted}) select source_id, coalesce(clips, 0) as clips "
                "from counted full join (select source_id from sources) using (source_id)"
            )
            session.prepare(query)
        else:
            session.connection.register("judged_clips", clips.select(["source_id"]))
            query = "select source_id, count() as clips from judged_clips group by 1"
        return judge(session, query, policy or Policy())


def judge(session: Session, counts: str, policy: Policy) -> Verdict:
    """Judge the sources that the SQL `counts` gives as (source_id, clips)."""
    session.prepare("sources")
    rows = session.connection.execute(
        "select c.source_id, c.clips, s.license, s.license_terms, s.collection "
        f"from ({counts}) c left join sources s using (source_id) order by c.source_id"
    ).fetchall()
    names = ("source_id", "clips", "license", "license_terms", "collection")
    allowed: set[str] = set()
    reasons: dict[str, str] = {}
    groups: dict[tuple[str, str], list[int]] = {}
    allowed_clips = 0
    for row in rows:
        source = dict(zip(names, row, strict=True))
        reason = policy.refuses(source)
        if reason is None:
            allowed.add(source["source_id"])
            allowed_clips += source["clips"]
        else:
            reasons[source["source_id"]] = reason
            key = (source["license"] or NO_LICENCE, reason)
            groups.setdefault(key, []).append(source["clips"])
    refusals = [
        Refusal(licence, reason, len(clips), sum(clips))
        for (licence, reason), clips in sorted(groups.items())
    ]
    return Verdict(policy, frozenset(allowed), reasons, allowed_clips, tuple(refusals))
