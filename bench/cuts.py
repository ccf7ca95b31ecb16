"""How well each detector finds the cuts of real footage.

    python bench/cuts.py DIR [--transnet] [--json FILE]

DIR holds `ground_truth.json` and the files that it names. Every file is decoded once; all detectors
read the same signals, with minimum length 1. A cut counts within one frame; a boundary inside a
true gradual change is no false cut, and finds that change; ambiguous frames count neither way.
`--transnet` adds the learned network (needs the extra; about 40 ms a frame on one core).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.jobs.measure import measure_whole
from curation.jobs.settings import MillSettings
from curation.segment import Boundary, SegmentSettings, detect
from curation.signals import VideoSignals

PLAIN: dict[str, dict[str, Any]] = {
    "shots": {"detector": "shots"},
    "content": {"detector": "content"},
    "adaptive": {"detector": "adaptive"},
    "hash": {"detector": "hash"},
    "histogram": {"detector": "histogram"},
    "threshold": {"detector": "threshold"},
}
LEARNED: dict[str, dict[str, Any]] = {
    "transnet alone": {"detector": "transnet", "options": {"refine": False}},
    "transnet": {"detector": "transnet"},
}


@dataclass
class Tally:
    """Counts of one detector over all files."""

    right: int = 0
    false: int = 0
    missed: int = 0
    gradual_found: int = 0
    gradual: int = 0
    false_in_one_shot: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.false, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.right + self.missed, 1)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(2 * self.right + self.false + self.missed, 1)

    def add(self, name: str, found: Sequence[Boundary], truth: dict[str, Any]) -> None:
        """Count the boundaries of one file."""
        gradual = gradual_changes(truth)
        left = set(truth["cuts"])
        seen: set[tuple[int, int]] = set()
        false = []
        for boundary in found:
            near = [cut for cut in left if abs(boundary.frame - cut) <= 1]
            inside = [
                span
                for span in gradual
                if boundary.frame <= span[1] + 1 and boundary.end_frame >= span[0] - 1
            ]
            if near:
                left.discard(min(near, key=lambda cut: abs(boundary.frame - cut)))
                self.right += 1
            elif inside:
                seen.update(inside)
            elif not any(abs(boundary.frame - at) <= 1 for at in truth.get("ambiguous") or []):
                false.append(boundary.frame)
        self.missed += len(left)
        self.false += len(false)
        self.gradual += len(gradual)
        self.gradual_found += len(seen)
        if not truth["cuts"] and not gradual:
            self.false_in_one_shot += len(false)
        self.examples += [f"{name}: missed {at}" for at in sorted(left)]
        self.examples += [f"{name}: false {at}" for at in false]

    def figures(self) -> dict[str, Any]:
        """For the table and the JSON line."""
        return {
            "precision": round(self.precision, 3),
            "recall": round(self.recall, 3),
            "f1": round(self.f1, 3),
            "gradual_found": self.gradual_found,
            "gradual": self.gradual,
            "false_in_one_shot": self.false_in_one_shot,
        }


def gradual_changes(truth: dict[str, Any]) -> list[tuple[int, int]]:
    """First and last frame of every dissolve and fade."""
    fades = [fade[kind] for fade in truth.get("fades") or [] for kind in ("fade_in", "fade_out")
             if kind in fade]  # fmt: skip
    return [(first, last) for first, last in [*truth["dissolves"], *fades]]


def measured(path: Path, *, network: bool) -> VideoSignals:
    """Signals of one file, with the network's answers if asked for."""
    segment = SegmentSettings(detector="transnet" if network else "shots")
    return measure_whole(str(path), MillSettings(segment=segment)).signals


def main() -> None:
    """Measure, detect, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--transnet", action="store_true", help="score the learned network too")
    parser.add_argument("--verbose", action="store_true", help="name every missed and false cut")
    arguments = parser.parse_args()
    truths = json.loads((arguments.folder / "ground_truth.json").read_text())["videos"]
    rows = {**PLAIN, **(LEARNED if arguments.transnet else {})}
    tallies = {name: Tally() for name in rows}
    for name, truth in truths.items():
        signals = measured(arguments.folder / name, network=arguments.transnet)
        for row, settings in rows.items():
            tallies[row].add(name, detect(signals, SegmentSettings(**settings)), truth)
    print(f"{'detector':<16}{'P':>7}{'R':>7}{'F1':>7}{'gradual':>10}{'false, one shot':>17}")
    for row, tally in tallies.items():
        print(
            f"{row:<16}{tally.precision:>7.3f}{tally.recall:>7.3f}{tally.f1:>7.3f}"
            f"{tally.gradual_found:>7}/{tally.gradual}{tally.false_in_one_shot:>17}"
        )
        if arguments.verbose:
            print(*(f"    {example}" for example in tally.examples), sep="\n")
    print(json.dumps({"cuts": {row: tally.figures() for row, tally in tallies.items()}}))


if __name__ == "__main__":
    main()
