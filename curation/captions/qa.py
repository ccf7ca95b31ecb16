"""The captions of a catalog, checked: what is wrong with each, by captioner and by clip.

    report = check_captions(catalog)
    catalog.sql("select clip_id from clips where caption_faults = 0")

Every check is a column of `scores/captions` that holds the reason, empty where nothing was found,
so that a recipe can ask for any of them. Checks read text and stored measurements; no model is
asked. Checking again writes only what has changed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.query import Session
from catalogs.schema import Column
from curation.captions.qa_claims import Measured, contradictions
from curation.captions.qa_text import TEXT_CHECKS, alike_groups

__all__ = [
    "CHECKS",
    "QA_TABLE",
    "CaptionerReport",
    "Finding",
    "QaReport",
    "check_captions",
    "findings_of",
]

QA_VERSION = 1
QA_TABLE = "scores/captions"
CHECKS = (*TEXT_CHECKS, "alike", "contradiction")
_EXAMPLES = 3

_MEANINGS = {
    "empty": "captions without words",
    "refusal": "captions in which a model says that it will or can not",
    "truncated": "captions that break off",
    "repetition": "captions that say the same again and again",
    "boilerplate": "captions that begin with a phrase about the video, or hold leftovers",
    "language": "captions in another language than they should be",
    "length": "captions that are too short or too long for their kind",
    "alike": "captions that stand for many other clips too",
    "contradiction": "captions that claim what the measurements refute",
}
COLUMNS = (
    Column("caption_count", pa.int32(), "captions that were checked", "captions"),
    Column("caption_good", pa.int32(), "captions without any fault", "captions"),
    Column("caption_faults", pa.int32(), "captions with a fault", "captions"),
    *(
        Column(f"caption_{name}", pa.string(), f"{_MEANINGS[name]}: who and why, empty if none")
        for name in CHECKS
    ),
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of one caption."""

    caption_id: str
    clip_id: str
    captioner: str
    kind: str
    check: str
    reason: str
    text: str


@dataclass(slots=True)
class CaptionerReport:
    """How one captioner did."""

    captioner: str
    captions: int = 0
    clips: int = 0
    words_mean: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    faulty: int = 0
    """Captions with a fault."""
    checks: dict[str, int] = field(default_factory=dict)
    """Captions with a fault of each check."""

    @property
    def faulty_share(self) -> float:
        return self.faulty / self.captions if self.captions else 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"faulty_share": round(self.faulty_share, 4)}


@dataclass(frozen=True)
class QaReport:
    """What a check found."""

    captioners: tuple[CaptionerReport, ...]
    findings: tuple[Finding, ...]
    clips: int
    written: int
    """Clips whose verdict is new or has changed."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "captioners": [report.to_dict() for report in self.captioners],
            "findings": [asdict(finding) for finding in self.findings],
            "clips": self.clips,
            "written": self.written,
        }

    def examples(self) -> list[Finding]:
        """A few findings of each check and captioner."""
        seen: Counter[tuple[str, str]] = Counter()
        chosen = []
        for finding in self.findings:
            key = finding.captioner, finding.check
            if seen[key] < _EXAMPLES:
                chosen.append(finding)
            seen[key] += 1
        return chosen


def check_captions(catalog: Catalog, *, where: str | None = None, write: bool = True) -> QaReport:
    """Check the captions of a catalog.

    Args:
        catalog: that holds the captions and takes the verdicts.
        where: SQL over `captions`; only those are checked, and nothing is written.
        write: keep the verdicts as scores of the clips.
    """
    rows, measured = load_captions(catalog, where)
    findings = findings_of(rows, measured)
    written = _write(catalog, rows, findings) if write and where is None and rows else 0
    return QaReport(
        tuple(_by_captioner(rows, findings)),
        tuple(findings),
        len({row["clip_id"] for row in rows}),
        written,
    )


def findings_of(rows: Sequence[Row], measured: Mapping[str, Measured]) -> list[Finding]:
    """Every fault of some captions; `evidence` of the rows is parsed."""
    alike = alike_groups(rows)
    findings = []
    nothing = Measured()
    for row in rows:
        text = row["text"] or ""
        reasons = {name: check(text, row) for name, check in TEXT_CHECKS.items()}
        reasons["alike"] = alike.get(row["caption_id"])
        if row["origin"] != "rules":
            reasons["contradiction"] = contradictions(text, measured.get(row["clip_id"], nothing))
        findings += [
            Finding(
                row["caption_id"],
                row["clip_id"],
                captioner_of(row),
                row["kind"],
                name,
                reason,
                text,
            )
            for name, reason in reasons.items()
            if reason is not None
        ]
    return findings


def captioner_of(row: Row) -> str:
    """Who wrote a caption: model, revision and prompt."""
    name = f"{row['model']}@{row['revision']}" if row["revision"] else str(row["model"])
    return f"{name}/{row['prompt_id']}" if row["prompt_id"] else name


# -- reading -----------------------------------------------------------------------------------

_SCORES = (
    "text_area", "burnt_text_area", "ocr_text", "luma_mean_255", "colourfulness", "motion_px",
    "turn_deg", "path_m",
)  # fmt: skip


def load_captions(
    catalog: Catalog, where: str | None = None
) -> tuple[list[dict[str, Any]], dict[str, Measured]]:
    """Captions with their evidence parsed, and what was measured of their clips."""
    if "captions" not in catalog.tables():
        return [], {}
    with Session(catalog) as session:
        condition = f"where {where}" if where else ""
        rows = session.sql(f"select * from captions {condition} order by caption_id").dicts()
        known = [name for name in _SCORES if name in session.operators]
        names = ", ".join(["clip_id", *known])
        clips = session.sql(f"select {names} from clips").dicts()
        rules = session.sql(
            "select clip_id, model, kind, evidence from captions where origin = 'rules' "
            "and kind in ('camera', 'detailed') and evidence is not null"
        ).dicts()
    for row in rows:
        row["evidence"] = json.loads(row["evidence"]) if row["evidence"] else {}
    scores = {row["clip_id"]: row for row in clips}
    camera: dict[str, Row] = {}
    events: dict[str, Sequence[Row]] = {}
    for row in rules:
        evidence = json.loads(row["evidence"])
        if row["kind"] == "camera":
            camera[row["clip_id"]] = evidence
        elif isinstance(evidence, list):
            events[row["clip_id"]] = evidence
    names_of_clips = {*scores, *camera, *events}
    measured = {
        clip: Measured(scores.get(clip, {}), camera.get(clip, {}), events.get(clip, ()))
        for clip in names_of_clips
    }
    return rows, measured


def _by_captioner(rows: Sequence[Row], findings: Sequence[Finding]) -> Iterable[CaptionerReport]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[captioner_of(row)].append(row)
    faults: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        faults[finding.captioner].append(finding)
    for name, group in sorted(groups.items()):
        found = faults[name]
        yield CaptionerReport(
            name,
            captions=len(group),
            clips=len({row["clip_id"] for row in group}),
            words_mean=round(
                sum(len((row["text"] or "").split()) for row in group) / len(group), 1
            ),
            tokens=sum(row["tokens"] or 0 for row in group),
            seconds=round(sum(row["seconds"] or 0.0 for row in group), 3),
            faulty=len({finding.caption_id for finding in found}),
            checks=dict(Counter(finding.check for finding in found)),
        )


# -- writing -----------------------------------------------------------------------------------


def _write(catalog: Catalog, rows: Sequence[Row], findings: Sequence[Finding]) -> int:
    """Keep the verdicts of clips that differ from those that are stored."""
    fresh = _verdicts(rows, findings)
    names = [column.name for column in COLUMNS]
    stored: dict[str, tuple[Any, ...]] = {}
    if QA_TABLE in catalog.tables():
        query = f"select clip_id, {', '.join(names)} from scores_captions where op_version = ?"
        stored = {row[0]: tuple(row[1:]) for row in catalog.sql(query, [QA_VERSION]).rows()}
    changed = [
        {"clip_id": clip, "op_version": QA_VERSION, **verdict}
        for clip, verdict in fresh.items()
        if stored.get(clip) != tuple(verdict[name] for name in names)
    ]
    if changed:
        with catalog.transaction(f"check the captions of {len(changed)} clips") as txn:
            txn.upsert(QA_TABLE, changed, COLUMNS)
    return len(changed)


def _verdicts(rows: Sequence[Row], findings: Sequence[Finding]) -> dict[str, dict[str, Any]]:
    captions = Counter(row["clip_id"] for row in rows)
    faulty: dict[str, set[str]] = defaultdict(set)
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in findings:
        faulty[finding.clip_id].add(finding.caption_id)
        told = f"{finding.captioner} {finding.kind}: {finding.reason}"
        reasons[finding.clip_id, finding.check].append(told)
    return {
        clip: {
            "caption_count": count,
            "caption_good": count - len(faulty[clip]),
            "caption_faults": len(faulty[clip]),
            **{f"caption_{check}": "; ".join(reasons[clip, check]) for check in CHECKS},
        }
        for clip, count in captions.items()
    }
