"""What is left to do: what the recipe needs, minus what the catalog has at these versions.

Everything is keyed by content, so a file that was moved or renamed is only given its new address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.query import Session
from curation import operators
from curation.jobs.job import FinishJob, Identified, MeasureJob
from curation.jobs.settings import MillSettings
from curation.mocap.signals import SIGNALS_VERSION as MOTION_VERSION
from curation.signals.declare import READABLE_VERSIONS
from curation.signals.declare import SET_VERSION as VIDEO_VERSION

__all__ = ["GIVEN_UP", "Plan", "finish_jobs", "plan_sources"]

FINISH_BATCH = 32
"""Sources finished from stored signals by one call to a worker."""


@dataclass(slots=True)
class Plan:
    """The work of a run."""

    measure: list[MeasureJob] = field(default_factory=list)
    finish: list[FinishJob] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    """source_id to the address where it is now."""
    complete: int = 0
    """Inputs for which nothing is left to do."""
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    """(address, source_id) of inputs whose bytes another input has too."""
    measures_again: bool = False
    """Sources are measured that were measured before, by an older version or for less."""
    given_up: int = 0
    """Inputs that are in quarantine already."""


def plan_sources(catalog: Catalog, found: Sequence[Identified], settings: MillSettings) -> Plan:
    """The anti-join of inputs and recipe against the catalog.

    Args:
        catalog: at the version that the run builds on.
        found: the inputs, hashed.
        settings: what is wanted of each.
    """
    plan = Plan()
    with Session(catalog) as session:
        known = (
            dict(session.sql("select source_id, uri from sources").rows())
            if ("sources" in catalog.tables())
            else {}
        )
        measured = _measured(session, settings, PRESENT)
        quarantined = _quarantined(session)
        present = {item.source_id for item in found} & measured
        plan.finish = _finish_jobs(session, settings, present)
    seen: dict[str, str] = {}
    for item in found:
        if item.source_id in seen:
            plan.duplicates.append((item.input.uri, item.source_id))
            continue
        seen[item.source_id] = item.input.uri
        if item.source_id in measured:
            plan.complete += 1
        elif item.source_id in quarantined:
            plan.given_up += 1
        else:
            plan.measure.append(MeasureJob(item))
            plan.measures_again |= item.source_id in known
    here = {item.input.uri for item in found}
    plan.moved = {
        source: uri
        for source, uri in seen.items()
        if source in known and known[source] != uri and known[source] not in here
    }
    plan.complete -= len({source for job in plan.finish for source in job.source_ids})
    return plan


def finish_jobs(
    catalog: Catalog, settings: MillSettings, sources: Iterable[str] | None = None
) -> list[FinishJob]:
    """Sources, of those given or of all measured ones, that lack a cutting or a score.

    Signals of an older set will do as long as their numbers are the same.
    """
    with Session(catalog) as session:
        candidates = _measured(session, settings, READABLE)
        if sources is not None:
            candidates &= set(sources)
        return _finish_jobs(session, settings, candidates)


def _finish_jobs(session: Session, settings: MillSettings, candidates: set[str]) -> list[FinishJob]:
    missing = _missing(session, settings, candidates)
    jobs = []
    for wanted in sorted(set(missing.values())):
        group = sorted(source for source, names in missing.items() if names == wanted)
        jobs += [
            FinishJob(tuple(group[at : at + FINISH_BATCH]), wanted)
            for at in range(0, len(group), FINISH_BATCH)
        ]
    return jobs


def _measured(
    session: Session, settings: MillSettings, versions: Mapping[str, Sequence[int]]
) -> set[str]:
    """Sources whose every chunk is stored at one of these versions, with all that is wanted."""
    tables = session.catalog.tables()
    complete: set[str] = set()
    for kind, accepted in versions.items():
        wants_network = kind == "video" and settings.needs_network
        if f"signals/{kind}" in tables:
            complete |= {
                row[0]
                for row in session.sql(
                    f"select source_id from signals_{kind} where set_version in ? "
                    "group by source_id, set_version "
                    "having count(distinct chunk) = max(of_chunks)"
                    + (" and bool_and(transnet_cut is not null)" if wants_network else ""),
                    [list(accepted)],
                ).rows()
            }
    return complete


PRESENT = {"video": (VIDEO_VERSION,), "motion": (MOTION_VERSION,)}
"""The version of each signal set that a pass writes now; sources with older ones are measured."""

READABLE = {"video": READABLE_VERSIONS, "motion": (MOTION_VERSION,)}
"""The versions from which clips and scores are made."""


GIVEN_UP = (
    "stage in ('open', 'probe', 'decode', 'guard', 'measure') and coalesce(signal, '') <> 'SIGKILL'"
)
"""SQL over `quarantine`: the file itself is at fault, so trying again would change nothing."""


def _quarantined(session: Session) -> set[str]:
    if "quarantine" not in session.catalog.tables():
        return set()
    return {
        row[0]
        for row in session.sql(
            f"select source_id from quarantine where source_id is not null and {GIVEN_UP}"
        ).rows()
    }


def _missing(
    session: Session, settings: MillSettings, candidates: set[str]
) -> dict[str, tuple[str, ...]]:
    """For each candidate that is not finished: the operators it still needs."""
    tables = session.catalog.tables()
    cutting = settings.cutting
    if not candidates:
        return {}
    session.connection.register("candidates", pa.table({"source_id": sorted(candidates)}))
    uncut = set(candidates)
    if "cuttings" in tables:
        uncut -= {
            row[0]
            for row in session.sql(
                "select source_id from cuttings semi join candidates using (source_id) "
                "where cutting = ?",
                [cutting],
            ).rows()
        }
    missing: dict[str, list[str]] = {source: [] for source in uncut}
    for name in settings.operators:
        kind = operators.operator_class(name)
        lacking = set(uncut)
        if "clips" in tables:
            lacking |= _unscored(session, name, kind.version, kind.kinds, cutting)
        for source in lacking:
            missing.setdefault(source, []).append(name)
    return {source: tuple(names) for source, names in missing.items()}


def _unscored(
    session: Session, name: str, version: int, kinds: tuple[str, ...], cutting: str
) -> set[str]:
    """Candidates with a clip of this cutting that the operator has not scored."""
    scored = "select clip_id from (select null::varchar as clip_id) where false"
    if f"scores/{name}" in session.catalog.tables():
        scored = f"select clip_id from scores_{name} where op_version = {version}"
    names = ", ".join(f"'{kind}'" for kind in kinds)
    rows = session.sql(
        "select distinct c.source_id from clips_all c semi join candidates using (source_id) "
        f"anti join ({scored}) s on s.clip_id = c.clip_id "
        f"where c.cutting = ? and c.kind in ({names})",
        [cutting],
    ).rows()
    return {row[0] for row in rows}
