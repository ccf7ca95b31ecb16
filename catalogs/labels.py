"""Labels that a person gave to clips: a CSV file that `sample` writes and `calibrate` reads.

    clip_id,gate,label
    9f3a2c…,motion,keep
    41c07e…,,drop

A label speaks of one gate, or of the clip as a whole where `gate` is empty or missing. Rows whose
label is still empty are skipped; other columns are for the person who labels.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from catalogs.errors import UsageError, nearest

__all__ = ["LABELS", "Labels", "read_labels"]

LABELS = {"keep": True, "drop": False}
"""What may be written, and whether the clip should stay."""


@dataclass(frozen=True)
class Labels:
    """Whether clips should stay, for each gate and (under None) as a whole."""

    by_gate: Mapping[str | None, Mapping[str, bool]]
    empty: int = 0
    """Rows that nobody has labelled yet."""

    @property
    def clips(self) -> set[str]:
        return {clip for labels in self.by_gate.values() for clip in labels}

    def of(self, gate: str) -> dict[str, bool]:
        """The labels that judge a gate: its own, and for other clips those of the whole clip."""
        return {**self.by_gate.get(None, {}), **self.by_gate.get(gate, {})}

    def check_gates(self, gates: Iterable[str]) -> None:
        """Raise unless every gate that is labelled is one of `gates`."""
        known = list(gates)
        for gate in self.by_gate:
            if gate is not None and gate not in known:
                raise UsageError(
                    f"the labels speak of a gate {gate!r}, which the recipe does not have",
                    allowed=", ".join(known) or "none: the recipe has no gates",
                    hint=nearest(gate, known),
                )


def read_labels(path: str | Path) -> Labels:
    """The labels of a CSV file. Different labels for the same clip and gate are an error."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or ())
            return _collected(path, reader)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", allowed="a CSV file of labels") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}") from error


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    missing = [name for name in ("clip_id", "label") if name not in columns]
    if missing:
        raise UsageError(
            f"{path} has no column {missing[0]!r}",
            allowed="clip_id, label and, for labels of one gate, gate",
            hint="clipmill sample CATALOG --gate GATE --to DIR writes a file to fill in",
        )


def _collected(path: Path, reader: csv.DictReader[str]) -> Labels:
    found: dict[str | None, dict[str, bool]] = {}
    empty = 0
    for row in reader:
        place = f"{path}:{reader.line_num}"
        clip, gate = (row["clip_id"] or "").strip(), (row.get("gate") or "").strip() or None
        word = (row["label"] or "").strip().lower()
        if not word:
            empty += 1
            continue
        if word not in LABELS:
            raise UsageError(
                f"{place}: the label is {row['label']!r}",
                allowed="keep, drop, or nothing while it is not known",
                hint=nearest(word, LABELS),
            )
        if not clip:
            raise UsageError(f"{place}: the label has no clip_id", allowed="the whole id of a clip")
        if found.setdefault(gate, {}).setdefault(clip, LABELS[word]) != LABELS[word]:
            raise UsageError(
                f"{place}: clip {clip} is labelled {word} here and otherwise above",
                allowed="one label for a clip and gate",
            )
    return Labels(found, empty)
