"""What every metric states and how it adds up over a data set.

A metric says its name, unit, direction, version and protocol; a number without them compares with
nothing. It takes batches (`update`), gives `measurements()` at any time, and several of one kind
`merge`, so that processes can share a data set. Two metrics merge when what they state is equal:
the protocol names every option that changes the value.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from zoo.errors import UsageError, ZooError

__all__ = [
    "MeanMetric",
    "Measurement",
    "Metric",
    "MetricInfo",
    "SingleMetric",
    "WeightedMean",
    "combine_runs",
]

Z_95 = 1.96
"""Standard errors on each side of a mean that hold it in 95 of 100 cases."""


@dataclass(frozen=True)
class MetricInfo:
    """What a value means. `higher_is_better` is None where nearer to real data is better."""

    name: str
    unit: str
    higher_is_better: bool | None
    protocol: str
    version: int = 1


@dataclass(frozen=True)
class Measurement:
    """A value, how many things it was measured on, and what it means.

    `interval` is the half-width of the 95% interval, where one is known. `parts` breaks the value
    down (per level) or qualifies it (tokens per code).
    """

    info: MetricInfo
    value: float
    count: int
    counted: str
    interval: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        spread = "" if self.interval is None else f" ± {self.interval:.4g}"
        unit = f" {self.info.unit}" if self.info.unit else ""
        return f"{self.info.name} {self.value:.4g}{spread}{unit} ({self.count} {self.counted})"


class Metric(ABC):
    """Accumulates over batches; each metric defines its own `update`."""

    @property
    @abstractmethod
    def infos(self) -> tuple[MetricInfo, ...]:
        """What the values mean, in the order of `measurements`."""

    @abstractmethod
    def measurements(self) -> tuple[Measurement, ...]:
        """The values of everything seen so far."""

    @abstractmethod
    def _absorb(self, other: Self) -> None:
        """Add the sums of `other`, which measures the same."""

    def merge(self, other: Self) -> None:
        """Add what `other` has seen, for example in another process."""
        if type(other) is not type(self) or other.infos != self.infos:
            raise UsageError(
                f"{_names(self)} cannot take in {_names(other)}: they measure different things",
                allowed="metrics made with the same options",
            )
        self._absorb(other)


class SingleMetric(Metric):
    """A metric with one value."""

    @property
    @abstractmethod
    def info(self) -> MetricInfo:
        """What the value means."""

    @abstractmethod
    def compute(self) -> Measurement:
        """The value of everything seen so far."""

    @property
    def infos(self) -> tuple[MetricInfo, ...]:
        return (self.info,)

    def measurements(self) -> tuple[Measurement, ...]:
        return (self.compute(),)


@dataclass
class WeightedMean:
    """A weighted mean over items as six sums, so that parts merge by adding."""

    items: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(5))
    """Over items with weight w and value v: w, wv, w², w²v, w²v²."""

    def add(self, values: Tensor, weights: Tensor | None = None) -> None:
        """One value for each item; items of weight 0 do not count."""
        v = values.detach().to("cpu", torch.float64)
        w = torch.ones_like(v) if weights is None else weights.detach().to("cpu", torch.float64)
        v = torch.where(w > 0, v, 0)
        if not torch.isfinite(v).all():
            raise ZooError("a value is NaN or infinite", hint="look for NaN in the model's output")
        self.items += int((w > 0).sum())
        self.sums += torch.stack([w, w * v, w**2, w**2 * v, w**2 * v**2]).sum(1).numpy()

    def merge(self, other: WeightedMean) -> None:
        self.items += other.items
        self.sums += other.sums

    @property
    def weight(self) -> float:
        return float(self.sums[0])

    @property
    def mean(self) -> float:
        return float(self.sums[1] / self.sums[0])

    @property
    def interval(self) -> float | None:
        """Half-width of the 95% interval, items taken as independent; None for a single item."""
        if self.items < 2:
            return None
        weight, _, w2, w2v, w2v2 = self.sums
        scatter = max(0.0, w2v2 - 2 * self.mean * w2v + self.mean**2 * w2)
        return float(Z_95 * math.sqrt(scatter * self.items / (self.items - 1)) / weight)


class MeanMetric(SingleMetric):
    """A metric that is the mean of one value for each item."""

    counted = "clips"

    def __init__(self) -> None:
        self._mean = WeightedMean()

    def compute(self) -> Measurement:
        mean = self._mean
        if not mean.items:
            raise nothing_measured(self)
        return Measurement(self.info, mean.mean, mean.items, self.counted, mean.interval)

    def _absorb(self, other: Self) -> None:
        self._mean.merge(other._mean)


def nothing_measured(metric: Metric) -> ZooError:
    """The error of a value that was asked for too early."""
    return ZooError(f"{_names(metric)} has measured nothing", hint="call update() first")


def combine_runs(runs: Sequence[Measurement]) -> Measurement:
    """The mean and 95% interval over repeated runs, for example 20 generations of one test set."""
    if len(runs) < 2 or any(run.info != runs[0].info for run in runs):
        raise UsageError(
            f"{len(runs)} runs cannot be combined", allowed="two or more runs of one metric"
        )
    over_runs = WeightedMean()
    over_runs.add(torch.tensor([run.value for run in runs], dtype=torch.float64))
    return Measurement(runs[0].info, over_runs.mean, len(runs), "runs", over_runs.interval)


def _names(metric: Any) -> str:
    infos = getattr(metric, "infos", ())
    return " and ".join(info.name for info in infos) or type(metric).__name__
