"""A picture of each calibrated gate: yield, precision and recall over every limit of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from catalogs.calibrate import Calibration, GateReport, LimitReport
from catalogs.charts import Bar, Curve, Mark, Panel, bar_chart, curves_chart

__all__ = ["gate_chart", "write_charts"]


def write_charts(found: Calibration, folder: Path) -> Iterator[Path]:
    """Write `GATE.png` for each gate, and `all-gates.png` if whole clips are labelled."""
    folder.mkdir(parents=True, exist_ok=True)
    for report in [*found.gates, *([found.whole] if found.whole else [])]:
        path = folder / f"{report.gate.replace(' ', '-')}.png"
        path.write_bytes(gate_chart(report))
        yield path


def gate_chart(report: GateReport) -> bytes:
    """The picture of a gate as PNG; verdicts alone where it has no limit that could move."""
    agreement = report.agreement
    about = f"{report.predicate}; {agreement.keeps} clips to keep, {agreement.drops} to drop"
    panels = [_panel(item) for item in report.limits if len(item.labelled.values)]
    if panels:
        return curves_chart(report.gate, panels, subtitle=about)
    bars = [
        Bar("to keep, kept", agreement.kept_right),
        Bar("to keep, lost", agreement.lost),
        Bar("to drop, slipped in", agreement.slipped),
        Bar("to drop, dropped", agreement.dropped_right),
    ]
    return bar_chart(report.gate, bars, subtitle=about)


def _panel(item: LimitReport) -> Panel:
    found, new = item.labelled, item.suggestion
    curves = [
        Curve("yield of all clips", [(p.limit, p.yield_share) for p in item.curve]),
        Curve("precision", [(p.limit, p.precision) for p in item.curve]),
        Curve("recall", [(p.limit, p.recall) for p in item.curve]),
    ]
    marks = [Mark(f"now {item.bound.limit:g}", item.bound.limit)]
    if new and new.limit != item.bound.limit:
        marks.append(Mark(f"suggested {new.limit:g}", new.limit, new.low, new.high))
    seen = [*found.values, *(mark.x for mark in marks)]
    low, high = min(seen), max(seen)
    room = (high - low) / 40
    return Panel(
        label=f"{item.bound.value} {item.bound.sign} limit",
        low=low - room,
        high=high + room,
        curves=curves,
        marks=marks,
        rows=[
            ("keep", found.values[found.keep].tolist()),
            ("drop", found.values[~found.keep].tolist()),
        ],
        note=f"AUC {item.auc}" if item.auc else item.reason,
    )
