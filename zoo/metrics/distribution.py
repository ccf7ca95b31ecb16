"""How a generator's samples spread and how well they match their texts, over given embeddings.

The embeddings come from an evaluator that embeds texts and motions (or clips) in one space; values
compare only at equal evaluators, which the caller names. Random draws depend on the embeddings and
a seed alone, not on their order.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from zoo.errors import InputError, UsageError
from zoo.metrics.base import (
    MeanMetric,
    Measurement,
    Metric,
    MetricInfo,
    SingleMetric,
    WeightedMean,
)
from zoo.metrics.frechet import check_features
from zoo.metrics.sampling import Rows, draw

__all__ = ["Diversity", "MatchingScore", "Multimodality", "RPrecision"]

REPLICATIONS = 20


class Diversity(SingleMetric):
    """The mean distance of random pairs; nearer to real data's value is better."""

    def __init__(
        self, evaluator: str, *, pairs: int = 300, replications: int = REPLICATIONS, seed: int = 0
    ) -> None:
        self.evaluator = evaluator
        self.pairs = pairs
        self.replications = replications
        self.seed = seed
        self._rows = Rows()

    @property
    def info(self) -> MetricInfo:
        protocol = (
            f"mean L2 distance of {self.pairs} random pairs without replacement, "
            f"{self.replications} replications, seed {self.seed}; embeddings {self.evaluator}"
        )
        return MetricInfo("diversity", "", None, protocol)

    def update(self, embeddings: Tensor) -> None:
        """Vectors (N, D)."""
        self._rows.add(check_features(embeddings))

    def compute(self) -> Measurement:
        count = len(self._rows)
        if count < 2 * self.pairs:
            raise InputError(
                f"{count} embeddings are too few for {self.pairs} pairs",
                allowed=f"{2 * self.pairs} or more",
                hint=f"pass pairs={count // 2}; the protocol will say so",
            )
        rows = self._rows.ordered()
        left, right = draw(count, 2 * self.pairs, self.replications, self.seed).chunk(2, 1)
        values = (rows[left] - rows[right]).norm(dim=-1).mean(1)
        return _over_replications(self.info, values, count, "vectors")

    def _absorb(self, other: Self) -> None:
        self._rows.merge(other._rows)


class Multimodality(MeanMetric):
    """The mean distance of samples of one text: all pairs, so nothing is drawn.

    Published code draws both ends of a pair independently and so pairs a sample with itself once
    in `samples` draws; its value is lower by that share.
    """

    counted = "texts"

    def __init__(self, evaluator: str) -> None:
        super().__init__()
        self.evaluator = evaluator

    @property
    def info(self) -> MetricInfo:
        protocol = (
            "mean L2 distance of all pairs of different samples of a text, then over texts; "
            f"embeddings {self.evaluator}"
        )
        return MetricInfo("multimodality", "", None, protocol)

    def update(self, embeddings: Tensor) -> None:
        """Vectors (texts, samples, D)."""
        if embeddings.dim() != 3 or embeddings.shape[1] < 2:
            raise InputError(
                f"embeddings of shape {tuple(embeddings.shape)}",
                allowed="(texts, 2 samples or more, values)",
            )
        values = embeddings.detach().double()
        samples = values.shape[1]
        self._mean.add(_distances(values, values).sum((1, 2)) / (samples * (samples - 1)))


class MatchingScore(MeanMetric):
    """The mean distance of every sample to its own text (MM-Dist)."""

    counted = "pairs"

    def __init__(self, evaluator: str) -> None:
        super().__init__()
        self.evaluator = evaluator

    @property
    def info(self) -> MetricInfo:
        protocol = f"mean L2 distance of each sample and its text; embeddings {self.evaluator}"
        return MetricInfo("matching_score", "", False, protocol)

    def update(self, texts: Tensor, samples: Tensor) -> None:
        """Vectors (N, D) each, row by row a pair."""
        left, right = _check_pairs(texts, samples)
        self._mean.add((left - right).norm(dim=1))


class RPrecision(Metric):
    """How often a sample's own text is among the nearest 1, 2 or 3 of a batch of texts."""

    TOP = (1, 2, 3)

    def __init__(
        self,
        evaluator: str,
        *,
        batch: int = 32,
        replications: int = REPLICATIONS,
        seed: int = 0,
    ) -> None:
        if batch <= max(self.TOP):
            raise UsageError(f"batches of {batch}", allowed=f"{max(self.TOP) + 1} or more")
        self.evaluator = evaluator
        self.batch = batch
        self.replications = replications
        self.seed = seed
        self._rows = Rows()

    @property
    def infos(self) -> tuple[MetricInfo, ...]:
        protocol = (
            f"own text ranked by L2 distance among {self.batch} of a random batch, a tie counts "
            f"as a miss; {self.replications} replications of the batches, seed {self.seed}; the "
            f"last batch is left out where it is not full; embeddings {self.evaluator}"
        )
        return tuple(MetricInfo(f"r_precision_top{k}", "%", True, protocol) for k in self.TOP)

    def update(self, texts: Tensor, samples: Tensor) -> None:
        """Vectors (N, D) each, row by row a pair."""
        self._rows.add(torch.cat(_check_pairs(texts, samples), 1))

    def measurements(self) -> tuple[Measurement, ...]:
        count = len(self._rows)
        if count < self.batch:
            raise InputError(f"{count} pairs", allowed=f"one batch of {self.batch} or more")
        texts, samples = self._rows.ordered().chunk(2, 1)
        used = count - count % self.batch
        ranks = torch.stack(
            [
                _ranks(texts[order], samples[order])
                for order in draw(count, used, self.replications, self.seed).unflatten(
                    1, (-1, self.batch)
                )
            ]
        )
        return tuple(
            _over_replications(info, 100 * (ranks < k).double().mean(1), count, "pairs")
            for info, k in zip(self.infos, self.TOP, strict=True)
        )

    def _absorb(self, other: Self) -> None:
        self._rows.merge(other._rows)


def _check_pairs(texts: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    left, right = check_features(texts), check_features(samples)
    if left.shape != right.shape:
        raise InputError(
            f"{tuple(left.shape)} texts and {tuple(right.shape)} samples",
            allowed="as many, in one space",
        )
    return left, right


def _ranks(texts: Tensor, samples: Tensor) -> Tensor:
    """How many other texts are as near as the own one, for batches (N, batch, D), flat."""
    distances = _distances(samples, texts)
    own = distances.diagonal(dim1=1, dim2=2).unsqueeze(-1)
    return ((distances <= own).sum(-1) - 1).flatten()


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """All distances within each batch; the shortcut over dot products would lose digits."""
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")


def _over_replications(info: MetricInfo, values: Tensor, count: int, counted: str) -> Measurement:
    mean = WeightedMean()
    mean.add(values)
    return Measurement(info, mean.mean, count, counted, mean.interval)
