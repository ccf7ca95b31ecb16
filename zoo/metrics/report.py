"""Values with their protocols, ready for a table, a model card or a file.

report = Report("reconstruction", "org/clips", split="test", revision="1a2b3c")
report.add(psnr.compute(), *use.measurements())
card_data.model_index = report.to_model_index("video/vidtok_fsq")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zoo.errors import UsageError
from zoo.metrics.base import Measurement, MetricInfo

__all__ = ["Report"]


@dataclass
class Report:
    """What was measured of one model on one data set. `dataset` is its Hub id or path."""

    task: str
    dataset: str
    dataset_name: str = ""
    split: str = ""
    revision: str = ""
    measurements: list[Measurement] = field(default_factory=list)

    def add(self, *measurements: Measurement) -> None:
        """Take in values; the same metric under the same protocol is taken once."""
        for measurement in measurements:
            if measurement.info in (known.info for known in self.measurements):
                raise UsageError(
                    f"{measurement.info.name} is already in the report",
                    allowed="each metric once for each protocol",
                )
            self.measurements.append(measurement)

    def to_model_index(self, model_name: str) -> list[dict[str, Any]]:
        """The `model-index` of a model card."""
        dataset = {
            "type": self.dataset,
            "name": self.dataset_name or self.dataset,
            "split": self.split,
            "revision": self.revision,
        }
        result = {
            "task": {"type": self.task},
            "dataset": {key: value for key, value in dataset.items() if value},
            "metrics": [_as_metric(measurement) for measurement in self.measurements],
        }
        return [{"name": model_name, "results": [result]}]

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        return {
            "task": self.task,
            "dataset": self.dataset,
            "dataset_name": self.dataset_name,
            "split": self.split,
            "revision": self.revision,
            "measurements": [
                {**vars(m), "info": dict(vars(m.info)), "parts": dict(m.parts)}
                for m in self.measurements
            ],
        }

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> Report:
        """The report that `to_json` wrote."""
        measurements = [
            Measurement(**{**row, "info": MetricInfo(**row["info"])})
            for row in known["measurements"]
        ]
        return cls(**{**known, "measurements": measurements})

    def to_markdown(self) -> str:
        """A table for people: value, unit, direction, protocol."""
        rows = ["| metric | value | better | measured on | protocol |", "|---|---|---|---|---|"]
        for m in self.measurements:
            spread = "" if m.interval is None else f" ± {m.interval:.2g}"
            better = {True: "higher", False: "lower", None: "near real"}[m.info.higher_is_better]
            value = f"{m.value:.5g}{spread} {m.info.unit}".strip()
            cells = (m.info.name, value, better, f"{m.count} {m.counted}", m.info.protocol)
            rows.append(f"| {' | '.join(cells)} |")
        return "\n".join(rows) + "\n"


def _as_metric(measurement: Measurement) -> dict[str, Any]:
    info = measurement.info
    args: dict[str, Any] = {
        "protocol": info.protocol,
        "version": info.version,
        "unit": info.unit,
        measurement.counted.replace(" ", "_"): measurement.count,
    }
    if measurement.interval is not None:
        args["interval_95"] = measurement.interval
    named = f"{info.name} ({info.unit})" if info.unit else info.name
    return {"type": info.name, "name": named, "value": measurement.value, "args": args}
