"""Two captioners side by side: which clips got worse, and how far the two tell the same.

    diff = compare(catalog, "openai:a", "openai:b/dense")

A captioner is named by its model, and where that is not enough by `model@revision/prompt`. Clips
that both have described are compared: faults that only one has, length, and events. An event is a
clause with its content words; one of A is found in B when a clause of B shares most of them. So
precision is the share of A's events that B tells too, recall the share of B's that A tells.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, nearest
from curation.captions.qa import Finding, captioner_of, findings_of, load_captions
from curation.captions.qa_text import word_set, words_of

__all__ = ["CaptionDiff", "ClipDiff", "compare", "event_agreement", "events_of"]

SHARED = 0.5
"""Share of the smaller event's words that both must have."""
_CLAUSE = re.compile(r"[.!?;\n]+|,? (?:and then|then|while|before|after which)\b", re.IGNORECASE)
_STOP = word_set(
    "a an the of to in on at by for with from and or but as is are was were be been being it its "
    "his her their this that these those there which who while then into onto over under up down "
    "out he she they we i you not no some very also through video clip scene camera shot"
)
_LEAST_WORDS = 2


@dataclass(frozen=True, slots=True)
class ClipDiff:
    """One clip in the words of both."""

    clip_id: str
    text_a: str
    text_b: str
    faults_a: tuple[str, ...]
    faults_b: tuple[str, ...]
    precision: float
    recall: float

    @property
    def regressed(self) -> bool:
        """B has a fault that A has not."""
        return bool(set(self.faults_b) - set(self.faults_a))


@dataclass(frozen=True)
class CaptionDiff:
    """The comparison of two captioners."""

    a: str
    b: str
    only_a: int
    """Clips that only A has described."""
    only_b: int
    clips: tuple[ClipDiff, ...]
    words_a: float
    words_b: float

    @property
    def regressions(self) -> list[ClipDiff]:
        return [clip for clip in self.clips if clip.regressed]

    @property
    def repairs(self) -> list[ClipDiff]:
        return [clip for clip in self.clips if set(clip.faults_a) - set(clip.faults_b)]

    def faulty_share(self, side: str) -> float:
        faulty = sum(bool(getattr(clip, f"faults_{side}")) for clip in self.clips)
        return faulty / len(self.clips) if self.clips else 0.0

    @property
    def precision(self) -> float:
        return _mean([clip.precision for clip in self.clips])

    @property
    def recall(self) -> float:
        return _mean([clip.recall for clip in self.clips])

    def to_dict(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "compared": len(self.clips),
            "words_a": self.words_a,
            "words_b": self.words_b,
            "faulty_share_a": self.faulty_share("a"),
            "faulty_share_b": self.faulty_share("b"),
            "event_precision": self.precision,
            "event_recall": self.recall,
            "regressions": [asdict(clip) for clip in self.regressions],
            "repairs": [asdict(clip) for clip in self.repairs],
        }


def compare(catalog: Catalog, a: str, b: str, *, kind: str | None = None) -> CaptionDiff:
    """Compare two captioners on the clips that both have described.

    Args:
        kind: only captions of this kind; else of all kinds that both write.
    """
    rows, measured = load_captions(catalog)
    mine, other = _rows_of(rows, a), _rows_of(rows, b)
    kinds = {row["kind"] for row in mine} & {row["kind"] for row in other}
    kinds = kinds & {kind} if kind else kinds
    mine = [row for row in mine if row["kind"] in kinds]
    other = [row for row in other if row["kind"] in kinds]
    texts_a, texts_b = _texts(mine), _texts(other)
    faults_a = _faults(findings_of(mine, measured))
    faults_b = _faults(findings_of(other, measured))
    clips = []
    for clip in sorted(set(texts_a) & set(texts_b)):
        precision, recall = event_agreement(texts_a[clip], texts_b[clip])
        clips.append(
            ClipDiff(
                clip,
                texts_a[clip],
                texts_b[clip],
                faults_a[clip],
                faults_b[clip],
                precision,
                recall,
            )
        )
    return CaptionDiff(
        a,
        b,
        len(set(texts_a) - set(texts_b)),
        len(set(texts_b) - set(texts_a)),
        tuple(clips),
        round(_mean([len(texts_a[clip.clip_id].split()) for clip in clips]), 1),
        round(_mean([len(texts_b[clip.clip_id].split()) for clip in clips]), 1),
    )


def events_of(text: str) -> list[frozenset[str]]:
    """The clauses of a text as sets of content words."""
    clauses = (frozenset(_content(clause)) for clause in _CLAUSE.split(text))
    return [clause for clause in clauses if len(clause) >= _LEAST_WORDS]


def event_agreement(text: str, reference: str) -> tuple[float, float]:
    """Precision and recall of the events of a text against those of a reference."""
    events, wanted = events_of(text), events_of(reference)
    return _found(events, wanted), _found(wanted, events)


def _found(events: Sequence[frozenset[str]], among: Sequence[frozenset[str]]) -> float:
    if not events:
        return 0.0
    return sum(any(_same(event, other) for other in among) for event in events) / len(events)


def _same(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= SHARED * min(len(one), len(other))


def _content(clause: str) -> list[str]:
    return [_stem(word) for word in words_of(clause) if word not in _STOP]


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 3 and word[-1] in ("e", word[-2]) else word


def _rows_of(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    names: Counter[str] = Counter(captioner_of(row) for row in rows)
    chosen = [
        row
        for row in rows
        if name in (captioner_of(row), row["model"], f"{row['model']}/{row['prompt_id']}")
    ]
    if not chosen:
        raise NotFoundError(
            f"no captions of {name!r}",
            allowed=", ".join(sorted(names)) or "none yet: run clipmill caption",
            hint=nearest(name, names),
        )
    return chosen


def _texts(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """All that is said of each clip, each sentence once."""
    parts: dict[str, dict[str, None]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: (row["start_s"] or 0.0, row["kind"])):
        parts[row["clip_id"]].setdefault(row["text"] or "", None)
    return {clip: " ".join(texts) for clip, texts in parts.items()}


def _faults(findings: Sequence[Finding]) -> defaultdict[str, tuple[str, ...]]:
    found: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for finding in findings:
        found[finding.clip_id] = (*found[finding.clip_id], finding.check)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
