"""`curate` and `recut` on Ray: plan, hand out work, commit what comes back.

The driver keeps a few pieces of work in flight on each worker, commits results as they arrive and
survives the death of workers; workers survive the death of their decoding children. Whatever is
interrupted, the next run starts from the last commit.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.recipe import Recipe
from curation.jobs.alone import Alone
from curation.jobs.cluster import Crew, Lost
from curation.jobs.commit import MEASURED, Committer
from curation.jobs.job import FinishJob, Identified, IdentifyJob, MeasureJob
from curation.jobs.outcome import Outcome, Problem
from curation.jobs.plan import GIVEN_UP, Plan, finish_jobs, plan_sources
from curation.jobs.progress import Progress, Tally, Watchdog
from curation.jobs.report import Report
from curation.jobs.scan import Input, find_inputs
from curation.jobs.settings import MillSettings
from curation.jobs.uninterrupted import uninterrupted
from curation.segment import SegmentSettings

__all__ = ["Report", "curate", "newest_segment", "recut"]

IDENTIFY_BATCH = 64
MAX_ATTEMPTS = 3
FEW_BYTES = 4 << 20
"""Inputs of so little take no more seconds than a local cluster takes to start."""
WATCHDOG_SHARE = 0.5
"""A piece of work is named when it has used this share of its wall-clock limit."""

Job = IdentifyJob | MeasureJob | FinishJob


def curate(
    paths: Sequence[str | Path],
    catalog: str | Path | Catalog,
    *,
    settings: MillSettings | None = None,
    recipe: Recipe | None = None,
    workers: int | None = None,
    address: str | None = None,
    collection: str | None = None,
    license: str | None = None,  # noqa: A002 - the word users know
    retry: bool = False,
    progress: TextIO | None = sys.stderr,
) -> Report:
    """Bring files into a catalog: measure what is new, cut and score what is missing.

    Args:
        paths: see `curation.jobs.scan.find_inputs`.
        catalog: created when it does not exist.
        settings: how to cut and what to score; by default what `recipe` says.
        recipe: recorded with the run.
        workers: processes; by default one for each CPU of the cluster. With 0 this process does
            all the work itself, without Ray; so it does by default when the inputs are so few and
            small that they are done before a cluster would be up.
        address: of a running Ray cluster; by default a local one is started.
        collection: name for inputs that bring none.
        license: licence of inputs that bring none.
        retry: try again what is in quarantine.
        progress: where progress is shown, None for silence.
    """
    inputs = find_inputs(paths, collection=collection, license=license)
    cat = catalog if isinstance(catalog, Catalog) else Catalog.create(catalog, exist_ok=True)
    chosen = settings or MillSettings.of(recipe)
    arguments = {"paths": [str(path) for path in paths], "workers": workers, "retry": retry}
    if workers is None and address is None and _few(inputs):
        workers = 0
    crew = _crew(chosen, cat, workers, address)
    with _Run("curate", cat, chosen, recipe, arguments, crew, len(inputs), progress) as run:
        run.identify(inputs)
        run.execute(run.plan(retry=retry))
    return run.report


def recut(
    catalog: str | Path | Catalog,
    *,
    settings: MillSettings | None = None,
    recipe: Recipe | None = None,
    workers: int | None = None,
    address: str | None = None,
    progress: TextIO | None = sys.stderr,
) -> Report:
    """Cut (and score) everything again from stored signals; no video is opened.

    The new cutting lies beside the old ones. Spans that come out as before are the same clips:
    their scores, captions and tokens stay.
    """
    cat = catalog if isinstance(catalog, Catalog) else Catalog.open(catalog)
    chosen = settings or MillSettings.of(recipe)
    jobs = finish_jobs(cat.refresh(), chosen)
    crew = _crew(chosen, cat, workers, address)
    with _Run("recut", cat, chosen, recipe, {}, crew, len(jobs), progress) as run:
        run.execute(Plan(finish=jobs))
    return run.report


def newest_segment(catalog: Catalog) -> SegmentSettings:
    """How the sources were cut last, or the defaults for a corpus that was never cut."""
    if "cuttings" not in catalog.tables():
        return SegmentSettings()
    query = "select settings from cuttings order by created desc, cutting limit 1"
    rows = catalog.sql(query).rows()
    return SegmentSettings.from_mapping(json.loads(rows[0][0])) if rows else SegmentSettings()


def _few(inputs: Sequence[Input]) -> bool:
    """Whether one process has measured these sooner than Ray starts."""
    total = 0
    for item in inputs:
        if item.is_remote:
            return False
        with contextlib.suppress(OSError):
            total += os.stat(item.uri).st_size
        if total > FEW_BYTES:
            return False
    return True


def _crew(
    settings: MillSettings, catalog: Catalog, workers: int | None, address: str | None
) -> Crew | Alone:
    """Who does the work."""
    make = partial(_worker, settings, catalog.storage.root)
    return Alone(make) if workers == 0 else Crew(make, workers, address)


def _worker(settings: MillSettings, catalog: str) -> Any:
    """Made where it works: what it imports is loaded there."""
    from curation.jobs.work import Worker

    return Worker(settings, catalog)


class _Run:
    """One run: its workers, its tally, its commits and its row in `runs`."""

    def __init__(
        self,
        verb: str,
        catalog: Catalog,
        settings: MillSettings,
        recipe: Recipe | None,
        arguments: dict[str, Any],
        crew: Crew | Alone,
        pieces: int,
        stream: TextIO | None,
    ):
        self.catalog = catalog.refresh()
        self.settings = settings
        self.report = Report(run_id=uuid.uuid4().hex, status="failed")
        self._verb = verb
        self._recipe = recipe
        self._arguments = arguments
        self._began = datetime.now(UTC)
        self._base = catalog.version
        self._tally = Tally()
        self._progress = Progress(self._tally, verb, stream)
        self._committer = Committer(catalog, self.report.run_id)
        self._watchdog = Watchdog(settings.limits.wall_s * WATCHDOG_SHARE, self._progress.note)
        self._crew = crew
        self._pieces = pieces
        self._found: list[Identified] = []
        self._chunks_left: dict[str, int] = {}

    def __enter__(self) -> _Run:
        self._crew.start(self._pieces)
        self._tally.started = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None:
            self.report.status = "done"
        elif issubclass(kind, KeyboardInterrupt):
            self.report.status = "interrupted"
        with uninterrupted():
            self._committer.flush()
            self._close()
            self._crew.stop(keep_logs=kind is not None)
        return kind is not None and issubclass(kind, KeyboardInterrupt)

    # -- stages ----------------------------------------------------------------------------

    def identify(self, inputs: list[Input]) -> None:
        """Hash every input on the workers; what cannot be read is quarantined."""
        self.report.inputs = len(inputs)
        batches = [
            IdentifyJob(tuple(inputs[at : at + IDENTIFY_BATCH]))
            for at in range(0, len(inputs), IDENTIFY_BATCH)
        ]

        def arrived(result: tuple[list[Identified], list[Problem]], _: Job) -> list[Job]:
            self._found += result[0]
            self._take(Outcome(problems=result[1]))
            return []

        self._drive(deque(batches), arrived)
        self._found.sort(key=lambda item: item.input.uri)

    def plan(self, *, retry: bool) -> Plan:
        """What is missing, with the files that moved noted at once."""
        self._committer.flush()
        self._forget_outdated(retry)
        plan = plan_sources(self.catalog, self._found, self.settings)
        self._base = self.catalog.version
        self.report.unchanged = plan.complete
        self.report.duplicates = len(plan.duplicates)
        self.report.still_quarantined = plan.given_up
        self.report.moved = len(plan.moved)
        if plan.moved:
            self._move(plan.moved)
        return plan

    def _forget_outdated(self, retry: bool) -> None:
        """Take out of quarantine what can be read by now, was replaced, or is to be retried."""
        if "quarantine" not in self.catalog.tables():
            return
        here = {item.input.uri: item.source_id for item in self._found}
        rows = self.catalog.sql(f"select uri, stage, source_id, {GIVEN_UP} from quarantine").rows()
        outdated = [
            (uri, stage)
            for uri, stage, source, given_up in rows
            if uri in here and (retry or source != here[uri] or not given_up)
        ]
        if outdated:
            keys = pa.table(dict(zip(("uri", "stage"), zip(*outdated, strict=True), strict=True)))
            with self.catalog.transaction("try again what was quarantined") as txn:
                txn.delete("quarantine", keys)

    def execute(self, plan: Plan) -> None:
        """Measure and finish, until nothing is left."""
        if plan.measures_again:
            self._committer.replaced |= MEASURED
        self._tally.total = len(plan.measure) + sum(len(job.source_ids) for job in plan.finish)
        self._tally.total_bytes = sum(job.identified.bytes for job in plan.measure)
        largest_first = sorted(plan.measure, key=lambda job: -job.identified.bytes)
        self._drive(deque([*largest_first, *plan.finish]), self._arrived)
        self._committer.flush()
        self._progress.close()

    def _arrived(
        self, result: Outcome | list[MeasureJob], job: MeasureJob | FinishJob
    ) -> list[Job]:
        """Take a result; returns work that follows from it."""
        if isinstance(result, list):
            self._chunks_left[result[0].identified.source_id] = len(result)
            return list(result)
        self._take(result)
        if isinstance(job, FinishJob):
            self.report.finished += len(job.source_ids)
            self._tally.sources += len(job.source_ids)
            return []
        self._tally.bytes += job.identified.bytes // (job.chunk.of if job.chunk else 1)
        if job.chunk is None:
            self._tally.sources += 1
            self.report.measured += not result.problems
            return []
        return self._chunk_done(job, result)

    def _chunk_done(self, job: MeasureJob, result: Outcome) -> list[Job]:
        source = job.identified.source_id
        if result.problems:
            self._chunks_left[source] = -1
            self._tally.sources += 1
        if self._chunks_left[source] <= 0:
            return []
        self._chunks_left[source] -= 1
        if self._chunks_left[source]:
            return []
        self._committer.flush()
        self._tally.sources += 1
        self.report.measured += 1
        return list(finish_jobs(self.catalog, self.settings, [source]))

    # -- work ------------------------------------------------------------------------------

    def _drive(self, waiting: deque[Job], arrived: Callable[[Any, Any], list[Job]]) -> None:
        """Keep the crew busy with `waiting` until it and everything it leads to is done."""
        while waiting or self._crew.busy:
            while waiting and self._crew.has_room:
                self._crew.submit(waiting.popleft())
            for job, result in self._crew.collect(timeout_s=0.5):
                if isinstance(result, Lost):
                    waiting.extendleft(self._after_loss(job, result))
                else:
                    waiting.extendleft(reversed(arrived(result, job)))
            self._watchdog.check({key: (j.label, t) for key, j, t in self._crew.running()})
            self._committer.maybe()
            self._progress.update()

    def _after_loss(self, job: Job, lost: Lost) -> list[Job]:
        """Work whose worker died goes back to the queue, but not for ever."""
        if job.attempt + 1 < MAX_ATTEMPTS:
            return [replace(job, attempt=job.attempt + 1)]
        if parts := _parts(job):
            return parts
        self._progress.note(f"given up after {MAX_ATTEMPTS} attempts: {job.label}")
        self._take(Outcome(problems=[_lost(job, lost)]))
        self._tally.sources += isinstance(job, MeasureJob)
        return []

    def _take(self, outcome: Outcome) -> None:
        self._committer.add(outcome)
        self.report.quarantined += len(outcome.problems)
        self.report.clips += outcome.clips
        self.report.frames += outcome.frames
        self.report.media_s += outcome.media_s
        self.report.bytes += outcome.bytes
        for stage, seconds in outcome.seconds.items():
            self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + seconds
        self._tally.quarantined = self.report.quarantined
        self._tally.clips = self.report.clips
        self._tally.media_s = self.report.media_s
        self._tally.frames = self.report.frames

    def _move(self, moved: dict[str, str]) -> None:
        """Give sources that were found elsewhere their new address."""
        names = ", ".join("?" * len(moved))
        rows = self.catalog.sql(
            f"select * from sources where source_id in ({names})", list(moved)
        ).dicts()
        for row in rows:
            row["uri"] = moved[row["source_id"]]
        self.catalog.upsert("sources", rows)

    def _close(self) -> None:
        """The run's row, written whatever happened."""
        self.report.wall_s = self._tally.elapsed()
        self.report.hosts = self._crew.hosts
        row = {
            "run_id": self.report.run_id,
            "verb": self._verb,
            "status": self.report.status,
            "started": self._began,
            "finished": datetime.now(UTC),
            "catalog_version": self._base,
            "recipe": self._recipe.to_yaml() if self._recipe else None,
            "recipe_hash": self._recipe.hash if self._recipe else None,
            "settings": json.dumps(
                self._arguments | self.settings.to_dict(), sort_keys=True, default=str
            ),
            "versions": json.dumps(_versions(), sort_keys=True),
            "hosts": json.dumps(self.report.hosts),
            "counts": json.dumps(_counts(self.report), sort_keys=True),
            "timings": json.dumps(self.report.seconds, sort_keys=True),
        }
        self.catalog.append("runs", [row])
        self.report.catalog_version = self.catalog.version


def _parts(job: Job) -> list[Job]:
    """A batch as pieces of one, so that a single bad file does not cost the others."""
    if isinstance(job, IdentifyJob) and len(job.inputs) > 1:
        return [IdentifyJob((item,)) for item in job.inputs]
    if isinstance(job, FinishJob) and len(job.source_ids) > 1:
        return [FinishJob((source,), job.wanted) for source in job.source_ids]
    return []


def _lost(job: Job, lost: Lost) -> Problem:
    """The quarantine row of a piece of work that cannot be done."""
    source: str | None = None
    if isinstance(job, IdentifyJob):
        uri = job.inputs[0].uri
    elif isinstance(job, MeasureJob):
        uri, source = job.identified.input.uri, job.identified.source_id
    else:
        uri = source = job.source_ids[0]
    return Problem(uri, "worker", lost.error_class, lost.detail, source)


def _counts(report: Report) -> dict[str, Any]:
    skipped = {"run_id", "status", "seconds", "hosts", "catalog_version"}
    return {name: value for name, value in report.to_dict().items() if name not in skipped}


def _versions() -> dict[str, str]:
    packages = ("clipmill", "av", "decord", "numpy", "opencv-python-headless", "pyarrow", "ray")
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
