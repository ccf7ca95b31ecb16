"""`tokenize`: plan, hand out units, commit what comes back. The only module here that meets Ray.

    report = tokenize(catalog, "video/starter", selection="web", transform=Transform(window=17))

Workers keep a model and a guarded reader each; one that dies is replaced and its share is done
again. Rows are inserted by key, so whatever is interrupted, the next run completes it and doubles
nothing. A source that cannot be read is quarantined with its reason and the others go on; once it
can be read, it leaves the quarantine with the commit of its last tokens.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, TextIO

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import ClipmillError
from catalogs.query import Session
from curation.jobs.alone import Alone
from curation.jobs.cluster import Crew, Lost
from curation.jobs.outcome import Problem
from curation.jobs.progress import Watchdog, duration_text
from curation.jobs.settings import Limits
from curation.jobs.uninterrupted import uninterrupted
from tokenize_jobs.plan import Plan, Unit, make_plan, table_of, transform_for
from tokenize_jobs.shards import ShardWriter, TokenTable
from tokenize_jobs.share import Share, Shares
from tokenize_jobs.transform import Transform
from tokenize_jobs.work import STAGE, Encoded, TokenWorker, problem_of

__all__ = ["Report", "tokenize"]

COMMIT_EVERY_S = 10.0
COMMIT_BYTES = 64 << 20
MAX_ATTEMPTS = 3
TELL_EVERY_S = 15.0


@dataclass(slots=True)
class Report:
    """What a run did."""

    run_id: str
    table: str
    spec_hash: str
    status: str = "failed"
    planned: dict[str, Any] = field(default_factory=dict)
    windows: int = 0
    present: int = 0
    frames: int = 0
    tokens: int = 0
    bytes: int = 0
    quarantined: int = 0
    quality: float | None = None
    """Mean over the sampled windows: PSNR in dB, or MPJPE in mm."""
    quality_unit: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage."""
    startup_s: float = 0.0
    """Until the workers were ready; it is not part of `wall_s`."""
    wall_s: float = 0.0

    @property
    def model_busy(self) -> float:
        """The share of the workers' time that went into encoding."""
        total = sum(self.seconds.values())
        return self.seconds["encoding"] / total if total else 0.0

    @property
    def frames_per_worker_s(self) -> float:
        """Frames that one worker encodes in a second, 0 when nothing is done yet."""
        total = sum(self.seconds.values())
        return self.frames / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return told | {"model_busy": self.model_busy}

    def rates(self) -> str:
        """How fast, and how much of the workers' time went into the model."""
        seconds = max(self.wall_s, 1e-6)
        return (
            f"{self.tokens / seconds:,.0f} tokens/s, {self.frames / seconds:,.0f} frames/s, "
            f"model busy {self.model_busy:.0%}"
        )

    def lines(self) -> Iterator[str]:
        """The closing summary."""
        yield f"{self.windows} windows encoded into {self.table}, {self.present} were there"
        if self.windows:
            size = f"{self.tokens:,} tokens, {self.bytes:,} bytes"
            yield f"{size} in {duration_text(self.wall_s)}: {self.rates()}"
        if self.quality is not None:
            yield f"round trip of a sample: {self.quality:.2f} {self.quality_unit}"
        if self.quarantined:
            yield f"{self.quarantined} quarantined (clipmill quarantine shows why)"
        if self.status != "done":
            yield f"the run was {self.status}; run it again to go on from here"


def tokenize(
    catalog: str | Catalog,
    tokenizer: str,
    *,
    selection: str | None = None,
    where: str | None = None,
    transform: Transform | None = None,
    workers: int | None = None,
    address: str | None = None,
    gpus: float = 0.0,
    limits: Limits | None = None,
    dry_run: bool = False,
    progress: TextIO | None = sys.stderr,
) -> Report:
    """Encode the chosen clips with a tokenizer, as far as the catalog lacks them.

    Args:
        catalog: that holds the clips and takes the tokens.
        tokenizer: as `zoo.load` takes it: a name, `local-dir:` or `hf-hub:`.
        selection: name or id of a selection; `where` is a condition on clips instead.
        where: see `selection`; without both, every clip of the newest cutting is taken.
        transform: rate, size and windows; by default what the tokenizer states.
        workers: processes; by default one for each CPU of the cluster, 0 to work without Ray.
        address: of a running Ray cluster; by default a local one is started.
        gpus: of each worker: a share of one lets several workers use it.
        limits: of the guarded readers.
        dry_run: only plan and count.
        progress: where progress is shown, None for silence.
    """
    from zoo.hub import load

    cat = catalog if isinstance(catalog, Catalog) else Catalog.open(catalog)
    spec = load(tokenizer).spec
    table = table_of(spec, _versions())
    chosen = transform_for(spec, transform or Transform())
    plan = make_plan(cat, spec, table, chosen, selection=selection, where=where)
    report = Report(uuid.uuid4().hex, table.name, spec.hash, planned=plan.to_dict())
    report.present = plan.present
    if dry_run or not plan.units:
        report.status = "planned" if dry_run else "done"
        return report
    bounds = limits or Limits()
    make = partial(TokenWorker, tokenizer, chosen, cat.storage.root, bounds)
    crew = Alone(make) if workers == 0 else Crew(make, workers, address, gpus=gpus)
    arguments = {"tokenizer": tokenizer, "selection": selection, "where": where}
    with _Run(cat, plan, table, report, crew, progress) as run:
        run.arguments = arguments
        run.watchdog = Watchdog(bounds.wall_s / 2, run.note)
        run.go()
    return report


class _Run:
    """One run: its workers, its shards, its commits and its row in `runs`."""

    def __init__(
        self,
        catalog: Catalog,
        plan: Plan,
        table: TokenTable,
        report: Report,
        crew: Crew | Alone,
        stream: TextIO | None,
    ):
        self.arguments: dict[str, Any] = {}
        self.watchdog = Watchdog(float("inf"), self.note)
        self._catalog, self._plan, self._table = catalog, plan, table
        self._writer = ShardWriter(table, run_id=report.run_id)
        self._report, self._crew, self._stream = report, crew, stream
        self._planned_at = catalog.version
        self._began, self._started = datetime.now(UTC), time.monotonic()
        self._committed = self._told = time.monotonic()
        self._quality: list[float] = []
        self._unsaved_quality: list[float] = []
        self._problems: list[Problem] = []
        self._shares = Shares(plan.units, lambda unit: unit.opened(self._stored, plan.transform))
        self._frames_left = Counter({u.source.source_id: u.frames for u in plan.units})
        self._quarantined = _quarantined(catalog)
        self._mended: list[tuple[str, str]] = []
        motion = bool(plan.transform.features)
        self._measure = ("mpjpe_mm", "mm MPJPE") if motion else ("psnr_db", "dB PSNR")

    def __enter__(self) -> _Run:
        self._crew.start(len(self._plan.units))
        now = time.monotonic()
        self._report.startup_s, self._started = now - self._started, now
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None:
            self._report.status = "done"
        elif issubclass(kind, KeyboardInterrupt):
            self._report.status = "interrupted"
        with uninterrupted():
            self._commit()
            self._close()
            self._crew.stop(keep_logs=kind is not None)
            if "_stored" in vars(self):
                self._stored.connection.close()
        return kind is not None and issubclass(kind, KeyboardInterrupt)

    @cached_property
    def _stored(self) -> Session:
        """What the plan was made of; opened once Ray runs, for its threads must not be forked."""
        return Session(self._catalog.at(self._planned_at), cutting="-")

    def go(self) -> None:
        """Keep the workers busy until every unit is done."""
        shares, crew = self._shares, self._crew
        while shares or crew.busy:
            while shares and crew.has_room:
                crew.submit(shares.next(crew.size, self._report.frames_per_worker_s))
            for share, result in crew.collect(timeout_s=0.5):
                if isinstance(result, Lost):
                    self._lose(share, result)
                    continue
                for unit, done in zip(share, result, strict=True):
                    self._take(unit, done)
            running = crew.running()
            self.watchdog.check({key: (share[0].label, since) for key, share, since in running})
            self._tell()

    def note(self, text: str) -> None:
        if self._stream:
            print(text, file=self._stream, flush=True)

    def _lose(self, share: Share, lost: Lost) -> None:
        """What a worker held when it died is done again, but not for ever."""
        again = []
        for unit in share:
            if unit.attempt + 1 < MAX_ATTEMPTS:
                again.append(replace(unit, attempt=unit.attempt + 1))
                continue
            error = LostError(f"{lost.error_class}: {lost.detail}")
            self._take(unit, Encoded(problems=[problem_of(error, unit.source)]))
        self._shares.give_back(again)

    def _take(self, unit: Unit, done: Encoded) -> None:
        report = self._report
        for window, arrays in done.rows:
            before = self._writer.bytes
            self._writer.add(window, arrays)
            report.bytes += self._writer.bytes - before
            for stream in self._table.streams:
                report.tokens += arrays[stream.name].size // max(1, stream.packing.trailing)
        report.windows += len(done.rows)
        report.frames += done.frames
        report.quarantined += len(done.problems)
        self._problems += done.problems
        self._unsaved_quality += done.quality
        for stage, seconds in done.seconds.items():
            report.seconds[stage] = report.seconds.get(stage, 0.0) + seconds
        if not done.problems:
            self._note_complete(unit)
        due = time.monotonic() - self._committed >= COMMIT_EVERY_S
        if due or self._writer.bytes >= COMMIT_BYTES:
            self._commit()

    def _note_complete(self, unit: Unit) -> None:
        source = unit.source.source_id
        self._frames_left[source] -= unit.frames
        if not self._frames_left[source]:
            self._mended += self._quarantined.pop(source, [])

    def _commit(self) -> None:
        """Make everything that is complete visible, atomically."""
        if not (len(self._writer) or self._problems or self._mended):
            return
        name, unit = self._measure
        quality = {}
        if self._unsaved_quality:
            quality[name] = sum(self._unsaved_quality) / len(self._unsaved_quality)
        self._quality += self._unsaved_quality
        self._unsaved_quality = []
        problems, self._problems = self._problems, []
        mended, self._mended = self._mended, []
        with self._catalog.transaction(f"tokenize: {len(self._writer)} windows") as txn:
            if len(self._writer):
                self._writer.finish(quality=quality).insert(txn, since=self._planned_at)
            if problems:
                run = {"run_id": self._report.run_id}
                txn.upsert("quarantine", [problem.row() | run for problem in problems])
            if mended:
                txn.delete("quarantine", _keys(mended))
        if self._quality:
            self._report.quality = sum(self._quality) / len(self._quality)
            self._report.quality_unit = unit
        self._committed = time.monotonic()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < TELL_EVERY_S:
            return
        self._told = now
        report, total = self._report, self._plan.windows
        report.wall_s = now - self._started
        text = f"tokenize {report.windows}/{total} windows, {report.rates()}"
        if report.quarantined:
            text += f", {report.quarantined} quarantined"
        if report.windows:
            left = report.wall_s * (total - report.windows) / report.windows
            text += f", {duration_text(max(left, 0))} left"
        self.note(text)

    def _close(self) -> None:
        """The run's row, written whatever happened."""
        report = self._report
        report.wall_s = time.monotonic() - self._started
        counts = {"windows": report.windows, "present": report.present, "tokens": report.tokens}
        row = {
            "run_id": report.run_id,
            "verb": "tokenize",
            "status": report.status,
            "started": self._began,
            "finished": datetime.now(UTC),
            "catalog_version": self._planned_at,
            "settings": json.dumps(
                self.arguments | {"transform": self._plan.transform.to_json()}, sort_keys=True
            ),
            "versions": json.dumps(_versions(), sort_keys=True),
            "hosts": json.dumps(self._crew.hosts),
            "counts": json.dumps(counts | {"quarantined": report.quarantined}, sort_keys=True),
            "timings": json.dumps(report.seconds, sort_keys=True),
        }
        self._catalog.append("runs", [row])


class LostError(ClipmillError):
    """A unit whose worker died every time."""


def _quarantined(catalog: Catalog) -> dict[str, list[tuple[str, str]]]:
    """Keys of the rows that this job has put into quarantine before, by source."""
    found: dict[str, list[tuple[str, str]]] = {}
    if "quarantine" in catalog.tables():
        query = "select source_id, uri, stage from quarantine where stage = ?"
        for source, uri, stage in catalog.sql(query, [STAGE]).rows():
            found.setdefault(source, []).append((uri, stage))
    return found


def _keys(rows: Sequence[tuple[str, str]]) -> pa.Table:
    uris, stages = zip(*rows, strict=True)
    return pa.table({"uri": uris, "stage": stages})


def _versions() -> dict[str, str]:
    """The packages that decide ids."""
    found = {"python": platform.python_version()}
    for name in ("clipmill", "av", "numpy", "torch", "vector-quantize-pytorch"):
        found[name] = importlib.metadata.version(name)
    return found
