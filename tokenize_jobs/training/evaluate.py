"""`evaluate(model, data)`: what a generator's samples are worth beside real data of a catalog.

Real windows are those of the catalog, decoded from their stored tokens by the model's tokenizer: so
what the tokenizer loses is on both sides, and the generator alone is measured. Samples are asked
for as the real windows are described, of their length, once in each replication; values are means
over replications with their 95 % interval. What needs no other side is measured of real windows
too, under the name with `_real`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalogs.catalog import Catalog
from catalogs.errors import UsageError, nearest
from tokenize_jobs.training.batches import Asked, open_feed
from tokenize_jobs.training.judges import EVALUATOR, Judge, judge_of
from tokenize_jobs.training.known import tokens_of_model
from tokenize_jobs.training.media import Media, decoded
from tokenize_jobs.training.prepare import ASKED
from tokenize_jobs.training.recipe import Data
from zoo.artefact import read_config, tell
from zoo.card import Facts
from zoo.errors import ZooError
from zoo.generator import Batch, Decoding, Generator, Samples
from zoo.metrics import (
    Diversity,
    FrechetDistance,
    KernelDistance,
    Likelihood,
    MatchingScore,
    Measurement,
    Multimodality,
    Report,
    RPrecision,
    combine_runs,
)
from zoo.tokenizer import Tokenizer

__all__ = ["MEASURES", "Plan", "asked_by", "evaluate", "write_on_card"]

MEASURES = ("likelihood", "distance", "diversity", "multimodality", "text", "quality")
"""What can be asked for; `text` needs an evaluator."""

TASK = "generation"
BATCH, PAIRS, RANKED = 32, 300, 32
"""Windows at a time, pairs whose distance is diversity, texts among which the own one is ranked."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured; 20 replications are what publications of motion report."""

    samples: int = 256
    replications: int = 20
    repeats: int = 10
    """How often the requests of the first batch are asked for again, for multimodality."""
    measures: tuple[str, ...] = ()
    """Of `MEASURES`; all that can be had where empty."""
    features: str = ""
    evaluator: str = ""
    seed: int = 0
    decoding: Decoding = field(default_factory=Decoding)

    def __post_init__(self) -> None:
        for name in self.measures:
            if name not in MEASURES:
                raise UsageError(
                    f"nothing to measure is called {name!r}",
                    allowed=", ".join(MEASURES),
                    hint=nearest(name, MEASURES),
                )
        if self.repeats < 2:
            raise UsageError(f"{self.repeats} repeats", allowed="2 or more samples of a request")
        if "text" in self.measures and not self.evaluator:
            raise UsageError(
                "how well samples match their texts needs an evaluator",
                hint="train one: clipmill evaluator CATALOG --to FOLDER",
            )

    def wants(self, *names: str) -> bool:
        return not self.measures or any(name in self.measures for name in names)


@dataclass(frozen=True)
class _Examples:
    """A few real windows, and their texts where the model is asked by text."""

    batch: Batch
    texts: tuple[str, ...]


@dataclass
class _Seen:
    """What a judge saw of one side."""

    vectors: dict[str, Tensor]
    metrics: Sequence[Any]


def asked_by(folder: Path) -> dict[str, str]:
    """The columns that a model's conditions were learned from, as its card tells."""
    training = Facts.from_json(read_config(folder)["facts"]).training
    return {
        name.removeprefix(ASKED): str(column)
        for name, column in training.items()
        if name.startswith(ASKED)
    }


def evaluate(
    model: Generator, data: Data, plan: Plan, say: Callable[[str], None] = lambda text: None
) -> Report:
    """Measure `model` on the windows of `data`; its split should be one not trained on."""
    catalog = Catalog.open(data.catalog)
    examples = list(_examples(model, catalog, data, plan))
    report = Report(
        TASK,
        str(catalog.about["id"]),
        dataset_name=_named(catalog, data),
        split=data.split,
    )
    if plan.wants("likelihood") and model.space.discrete:
        report.add(_likelihood(model, examples, plan.seed))
    if plan.wants("distance", "diversity", "multimodality", "text", "quality"):
        report.add(*_Comparison(model, examples, data, plan, say).measurements())
    return report


def write_on_card(folder: Path, report: Report) -> None:
    """Put a report on the card of a model's folder, in the place of an older one of these data."""
    facts = Facts.from_json(read_config(folder)["facts"])
    key = (report.task, report.dataset_name, report.split)
    others = [r for r in facts.reports if (r.task, r.dataset_name, r.split) != key]
    tell(folder, replace(facts, reports=(*others, report)))


def _named(catalog: Catalog, data: Data) -> str:
    chosen = " and ".join(part for part in (data.selection, data.where) if part) or "all clips"
    return f"catalog {catalog.about['id']}, version {catalog.version}: {chosen}"


def _examples(model: Generator, catalog: Catalog, data: Data, plan: Plan) -> Iterator[_Examples]:
    """The first windows of a shuffled epoch, at most `plan.samples`."""
    table = tokens_of_model(catalog, model)
    assert model.source is not None
    names = next((c.names for c in model.config.conditions if c.kind == "class"), ())
    feed = open_feed(
        data,
        table,
        split=data.split,
        class_names=names,
        batch=min(BATCH, plan.samples),
        seed=plan.seed,
        shuffle=True,
        drop_last=False,
    )
    stream = model.source.stream or next(iter(feed.streams))
    asked = Asked.of(catalog, table, stream, model.space.grid, data.conditions)
    asked = replace(asked, levels=len(model.space.levels) if asked.trailing else 0)
    words = [
        asked.columns[c.name]
        for c in model.config.conditions
        if c.kind == "words" and c.name in asked.columns
    ]
    left = plan.samples
    for made in feed:
        batch = asked.batch(model, made).select(slice(0, left))
        model.check(batch)
        texts = tuple(str(text or "") for text in made[words[0]][:left]) if words else ()
        yield _Examples(batch, texts)
        left -= len(batch)
        if not left:
            return


def _likelihood(model: Generator, examples: Sequence[_Examples], seed: int) -> Measurement:
    levels = len(model.space.levels)
    metric = Likelihood(levels, exact=model.exact_nll)
    model.eval()
    for part in examples:
        batch = part.batch.to(model.device)
        positions = batch.valid().sum(1) * (model.space.positions // model.space.grid[0])
        metric.update(model.nll(batch, seed), positions)
    return metric.compute()


class _Comparison:
    """Real windows and samples, seen by one judge."""

    def __init__(
        self,
        model: Generator,
        examples: Sequence[_Examples],
        data: Data,
        plan: Plan,
        say: Callable[[str], None],
    ):
        self.model, self.examples, self.plan, self.say = model, examples, plan, say
        self.tokenizer: Tokenizer = model.tokenizer()
        first = self._decoded(Samples(examples[0].batch.x[:1]), examples[0].batch.select([0]))
        self.judge: Judge = judge_of(
            first[0], split=data.split, features=plan.features, evaluator=plan.evaluator
        )
        texts = [text for part in examples for text in part.texts]
        self.own: list[int] = [
            number for number, text in enumerate(texts) if text and texts.index(text) == number
        ]
        self.texts: Tensor | None = None
        if self.judge.evaluator is not None and texts:
            self.texts = self.judge.evaluator.texts(texts)

    def measurements(self) -> list[Measurement]:
        """Everything that was asked for, in the order of `MEASURES`."""
        real = self._seen(Samples(part.batch.x) for part in self.examples)
        runs: dict[Any, list[Measurement]] = defaultdict(list)
        for number in range(self.plan.replications):
            made = self._seen(
                self._drawn(part.batch, number, place) for place, part in enumerate(self.examples)
            )
            for measured in [*self._compared(real, made), *self._alone(made)]:
                runs[measured.info].append(measured)
            self.say(f"replication {number + 1} of {self.plan.replications}")
        found = [_combined(values) for values in runs.values()]
        if self.plan.wants("multimodality") and self.model.config.conditions:
            found += self._multimodality()
        return [*found, *(_of_real(measured) for measured in self._alone(real))]

    def _drawn(self, batch: Batch, replication: int, place: int) -> Samples:
        """Samples asked for as a batch is described."""
        seed = np.random.SeedSequence((self.plan.seed, replication, place)).generate_state(1)[0]
        made = self.model.sample(
            len(batch),
            batch.conditions,
            self.plan.decoding,
            seed=int(seed),
            frames=batch.x.shape[1],
            lengths=batch.lengths,
        )
        return made if made.lengths is not None else replace(made, lengths=batch.lengths)

    def _seen(self, sides: Iterator[Samples]) -> _Seen:
        metrics = self.judge.metrics() if self.plan.wants("quality") else ()
        vectors: dict[str, list[Tensor]] = defaultdict(list)
        for part, samples in zip(self.examples, sides, strict=True):
            media = self._decoded(samples, part.batch)
            for space, values in self.judge.vectors(media).items():
                vectors[space].append(values)
            self.judge.update(metrics, media)
        return _Seen({space: torch.cat(values) for space, values in vectors.items()}, metrics)

    def _decoded(self, samples: Samples, batch: Batch) -> list[Media]:
        lengths = samples.lengths if samples.lengths is not None else batch.lengths
        return decoded(self.model, Samples(samples.x, lengths), self.tokenizer)

    def _compared(self, real: _Seen, made: _Seen) -> Iterator[Measurement]:
        """Distances of the two sides in every space."""
        if not self.plan.wants("distance"):
            return
        for space, protocol in self.judge.spaces.items():
            for metric in (FrechetDistance(protocol), KernelDistance(protocol)):
                metric.update(real.vectors[space], made.vectors[space])
                yield metric.compute()

    def _alone(self, side: _Seen) -> Iterator[Measurement]:
        """What is measured of one side by itself, and with its texts."""
        for space, protocol in self.judge.spaces.items():
            count = len(side.vectors[space])
            if self.plan.wants("diversity") and count >= 2:
                diversity = Diversity(str(protocol), pairs=min(PAIRS, count // 2))
                diversity.update(side.vectors[space])
                yield diversity.compute()
        if self.plan.wants("text") and self.texts is not None:
            yield from self._matched(side.vectors[EVALUATOR])
        for metric in side.metrics:
            yield from _told(metric)

    def _matched(self, motions: Tensor) -> Iterator[Measurement]:
        """Matching of samples and texts; where texts are equal, the first one's sample counts."""
        assert self.texts is not None
        assert self.judge.evaluator is not None
        identity = self.judge.evaluator.identity
        texts, own = self.texts[self.own], motions[self.own]
        if len(own):
            score = MatchingScore(identity)
            score.update(texts, own)
            yield score.compute()
        ranked = min(RANKED, len(own))
        if ranked > max(RPrecision.TOP):
            precision = RPrecision(f"{identity}; texts that differ", batch=ranked)
            precision.update(texts, own)
            yield from precision.measurements()

    def _multimodality(self) -> Iterator[Measurement]:
        """Samples of the same request, asked for again and again."""
        plan, batch = self.plan, self.examples[0].batch
        rounds = [
            self._drawn(batch, plan.replications + number, 0) for number in range(plan.repeats)
        ]
        seen = [self.judge.vectors(self._decoded(made, batch)) for made in rounds]
        for space, protocol in self.judge.spaces.items():
            metric = Multimodality(f"{protocol}; {plan.repeats} samples of each request")
            metric.update(torch.stack([vectors[space] for vectors in seen], 1))
            yield metric.compute()


def _told(metric: Any) -> tuple[Measurement, ...]:
    """The values of a metric; none where nothing could be measured, as feet that never stand."""
    try:
        return tuple(metric.measurements())
    except ZooError:
        return ()


def _combined(runs: Sequence[Measurement]) -> Measurement:
    return combine_runs(runs) if len(runs) > 1 else runs[0]


def _of_real(measured: Measurement) -> Measurement:
    return replace(measured, info=replace(measured.info, name=f"{measured.info.name}_real"))
