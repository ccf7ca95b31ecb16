"""The job that embeds clips: those of a selection that have no vector of the model's revision.

    report = embed(catalog, "words")
    report = embed(catalog, "hf:openai/clip-vit-base-patch32", selection="web", workers=2)

Clips travel in groups of whole sources, so that what is stored of a source is loaded once. Vectors
are committed as they arrive, so an interrupted run goes on where it was. An embedder that reads
captions embeds a clip again when a caption was written after its vector.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.chosen import choose
from catalogs.errors import ClipmillError
from catalogs.query import Session, sql_text
from curation.embed.base import Embedder
from curation.embed.load import load_items
from curation.embed.registry import create
from curation.jobs.alone import Alone
from curation.jobs.cluster import Crew, Lost

__all__ = ["EmbedReport", "EmbedWorker", "embed"]

GROUP_CLIPS = 128
COMMIT_EVERY_S = 5.0
MAX_ATTEMPTS = 3


@dataclass(slots=True)
class EmbedReport:
    """What a run did."""

    model: str
    """The table is `embeddings/<model>`."""
    revision: str
    run_id: str
    status: str = "failed"
    embedded: int = 0
    present: int = 0
    """Clips that had a vector already."""
    without: int = 0
    """Clips that offer nothing to embed: no caption, no picture."""
    failed: int = 0
    wall_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"embeddings/{self.model} (revision {self.revision}), {self.wall_s:.1f} s, "
            f"{self.status}",
            f"{self.embedded} clips embedded, {self.present} there already, "
            f"{self.without} with nothing to embed, {self.failed} failed",
        ]


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """Clips of some sources."""

    source_ids: tuple[str, ...]
    clip_ids: tuple[str, ...]
    cutting: str
    attempt: int = 0


class EmbedWorker:
    """Loads what is stored of clips and embeds them. Knows nothing of Ray."""

    def __init__(self, address: str, catalog: str):
        self._address = address
        self._catalog = catalog
        self._embedder: Embedder | None = None

    def ready(self) -> None:
        self._embedder = create(self._address)

    def work(self, job: EmbedJob) -> pa.Table:
        """clip_id and vector of each clip that could be embedded."""
        embedder = self._embedder or create(self._address)
        with Session(Catalog.open(self._catalog), cutting=job.cutting) as session:
            items = load_items(session, embedder.needs, job.source_ids, job.clip_ids)
        if not items:
            return _rows([], np.zeros((0, 1), np.float32))
        vectors = embedder.embed(items)
        there = np.isfinite(vectors[:, 0])
        ids = [item.clip.clip_id for item, ok in zip(items, there, strict=True) if ok]
        return _rows(ids, vectors[there])


def embed(
    catalog: Catalog,
    address: str = "words",
    *,
    selection: str | None = None,
    where: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    gpus: float = 0.0,
    progress: TextIO | None = sys.stderr,
) -> EmbedReport:
    """Embed what has no vector yet.

    Args:
        address: see `curation.embed.registry.create`.
        selection: only clips of this selection.
        where: only clips that meet this condition, in SQL over `clips`.
        workers: processes; 0 works in this one, without Ray.
        cluster: address of a running Ray cluster.
        gpus: of each worker.
        progress: where progress is shown, None for silence.
    """
    embedder = create(address)
    began, started = datetime.now(UTC), time.monotonic()
    report = EmbedReport(embedder.name, embedder.revision, uuid.uuid4().hex)
    jobs = _planned(catalog.refresh(), embedder, selection, where, report)
    sink = _Sink(catalog, embedder, report, began, progress)
    make = partial(EmbedWorker, address, catalog.storage.root)
    crew = Alone(make) if workers == 0 else Crew(make, workers, cluster, gpus=gpus)
    try:
        if jobs:
            crew.start(len(jobs))
            _drive(crew, jobs, sink)
        report.status = "done"
    except KeyboardInterrupt:
        report.status = "interrupted"
    finally:
        sink.flush()
        crew.stop(keep_logs=report.status == "failed")
        report.wall_s = time.monotonic() - started
        sink.close({"with": address, "selection": selection, "where": where})
    return report


def _planned(
    catalog: Catalog,
    embedder: Embedder,
    selection: str | None,
    where: str | None,
    report: EmbedReport,
) -> list[EmbedJob]:
    """Groups of whole sources with clips that have no vector, or one older than their captions."""
    kinds = ", ".join(map(sql_text, embedder.kinds))
    with choose(catalog, selection=selection, where=where) as chosen:
        session = chosen.session
        session.prepare("sources captions")
        table = f"embeddings/{embedder.name}"
        wanted = f"model_version = {sql_text(embedder.revision)}"
        there = f"select clip_id, created from ({session.scan(table)}) where {wanted}"
        if embedder.needs == "captions":
            there = (
                f"select v.clip_id from ({there}) v left join (select clip_id, max(created) as "
                "newest from captions group by 1) t using (clip_id) "
                "where coalesce(t.newest <= v.created, true)"
            )
        rows = session.connection.execute(
            "select c.source_id, c.clip_id, v.clip_id is not null from chosen c "
            f"join (select source_id, kind from sources) s using (source_id) "
            f"left join (select distinct clip_id from ({there})) v on v.clip_id = c.clip_id "
            f"where s.kind in ({kinds}) order by 1, 2"
        ).fetchall()
        cutting = session.cutting or "-"
    report.present = sum(row[2] for row in rows)
    return _grouped([(source, clip) for source, clip, present in rows if not present], cutting)


def _grouped(clips: Sequence[tuple[str, str]], cutting: str) -> list[EmbedJob]:
    jobs: list[EmbedJob] = []
    group: list[tuple[str, str]] = []
    for number, (source, clip) in enumerate(clips):
        group.append((source, clip))
        is_last = number + 1 == len(clips) or clips[number + 1][0] != source
        if is_last and (len(group) >= GROUP_CLIPS or number + 1 == len(clips)):
            sources = tuple(dict.fromkeys(name for name, _ in group))
            jobs.append(EmbedJob(sources, tuple(name for _, name in group), cutting))
            group = []
    return jobs


def _drive(crew: Crew | Alone, jobs: Sequence[EmbedJob], sink: _Sink) -> None:
    waiting = list(reversed(jobs))
    while waiting or crew.busy:
        while waiting and crew.has_room:
            crew.submit(waiting.pop())
        for job, result in crew.collect(timeout_s=0.5):
            if not isinstance(result, Lost):
                sink.take(result, len(job.clip_ids))
            elif job.attempt + 1 < MAX_ATTEMPTS:
                waiting.append(replace(job, attempt=job.attempt + 1))
            else:
                sink.give_up(job, result)
        sink.maybe()


class _Sink:
    """Commits vectors as they arrive, and at the end the run."""

    def __init__(
        self,
        catalog: Catalog,
        embedder: Embedder,
        report: EmbedReport,
        began: datetime,
        stream: TextIO | None,
    ):
        self._catalog, self._embedder, self._report = catalog, embedder, report
        self._began, self._stream = began, stream
        self._base = catalog.version
        self._waiting: list[pa.Table] = []
        self._last = time.monotonic()
        self._faults: list[str] = []

    def take(self, rows: pa.Table, asked: int) -> None:
        self._waiting.append(rows)
        self._report.embedded += rows.num_rows
        self._report.without += asked - rows.num_rows

    def give_up(self, job: EmbedJob, lost: Lost) -> None:
        self._report.failed += len(job.clip_ids)
        self._faults.append(lost.detail)
        self._say(f"{len(job.clip_ids)} clips cannot be embedded: {lost.detail}")

    def maybe(self) -> None:
        if time.monotonic() - self._last >= COMMIT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        rows = [part for part in self._waiting if part.num_rows]
        self._waiting = []
        self._last = time.monotonic()
        if not rows:
            return
        table = pa.concat_tables(rows)
        count = table.num_rows
        for name, value in (
            ("model_version", self._embedder.revision),
            ("run_id", self._report.run_id),
            # when captions were read, not when this is written: later ones make it stale
            ("created", self._began),
        ):
            table = table.append_column(name, pa.array([value] * count))
        name = f"embeddings/{self._embedder.name}"
        with self._catalog.transaction(f"embed {count} clips with {self._embedder.name}") as txn:
            if self._embedder.needs == "captions":
                txn.upsert(name, table)
            else:
                txn.insert(name, table, since=self._base)
        self._say(f"embed: {self._report.embedded} clips")

    def close(self, settings: dict[str, Any]) -> None:
        report = self._report
        row = {
            "run_id": report.run_id,
            "verb": "embed",
            "name": report.model,
            "status": report.status,
            "started": self._began,
            "finished": datetime.now(UTC),
            "catalog_version": self._base,
            "settings": json.dumps(settings, sort_keys=True),
            "counts": json.dumps(
                {"embedded": report.embedded, "without": report.without, "failed": report.failed}
            ),
        }
        self._catalog.append("runs", [row])
        if self._faults and not report.embedded:
            raise ClipmillError(
                f"no clip could be embedded: {self._faults[0]}",
                hint="try it with --workers 0 --debug to see where it fails",
            )

    def _say(self, text: str) -> None:
        if self._stream is not None:
            print(text, file=self._stream, flush=True)


def _rows(ids: Sequence[str], vectors: Any) -> pa.Table:
    """Vectors as they are stored: rounded to float16."""
    rounded = np.asarray(vectors, np.float16).astype(np.float32)
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * rounded.shape[1]
    lists = pa.ListArray.from_arrays(offsets, pa.array(rounded.ravel()))
    return pa.table({"clip_id": pa.array(ids, pa.string()), "vector": lists})
