"""`caption`: plan what is missing, hand out windows of clips, commit what comes back.

    report = caption(catalog, maker("rules"), selection="web")

A window is missing when the catalog has no caption of it by this captioner, revision and prompt.
Rules and local models work on Ray as other jobs do; an endpoint is asked from this process, many
windows at once, because all it needs is patience.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

from catalogs.catalog import Catalog
from catalogs.chosen import choose
from catalogs.query import Session
from curation.captions.base import Answer, Captioner, Job, Window, caption_rows
from curation.jobs.caption_work import Batch, CaptionWorker
from curation.jobs.cluster import Crew, Lost
from curation.jobs.uninterrupted import uninterrupted

__all__ = ["CaptionReport", "caption", "plan_batches"]

COMMIT_EVERY_S = 10.0
COMMIT_ROWS = 20_000
BATCH_CLIPS = 32
MAX_ATTEMPTS = 3
TELL_EVERY_S = 5.0

Make = Callable[[], Captioner]
Answered = tuple[Job, Answer]


@dataclass(slots=True)
class CaptionReport:
    """What a run did."""

    run_id: str
    captioner: str
    prompt: str | None
    status: str = "failed"
    clips: int = 0
    """Clips that were asked for, whether or not there was something to do."""
    windows: int = 0
    """Windows of these clips."""
    present: int = 0
    """Windows that had their captions already."""
    captioned: int = 0
    rows: int = 0
    silent: int = 0
    """Windows about which the captioner has nothing to say."""
    failed: int = 0
    tokens: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    """Why windows failed, with how many."""
    usage: dict[str, Any] = field(default_factory=dict)
    """What the captioner itself counted: requests, retries, cost."""
    wall_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The closing summary."""
        yield (
            f"{self.captioned} windows of {self.clips} clips captioned by {self.captioner} in "
            f"{self.wall_s:.1f} s: {self.rows} captions; {self.present} were there"
        )
        if self.silent:
            yield f"{self.silent} windows gave it nothing to describe"
        if self.usage:
            yield ", ".join(f"{name} {value}" for name, value in self.usage.items())
        for problem, count in sorted(self.problems.items(), key=lambda pair: -pair[1])[:5]:
            yield f"{count} windows without an answer: {problem}"
        if self.status != "done":
            yield f"the run was {self.status}; run it again to go on from here"


def caption(
    catalog: str | Catalog,
    make: Make,
    *,
    selection: str | None = None,
    where: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    gpus: float = 0.0,
    dry_run: bool = False,
    progress: TextIO | None = sys.stderr,
) -> CaptionReport:
    """Caption the chosen clips, as far as the catalog lacks it.

    Args:
        catalog: that holds the clips and takes the captions.
        make: builds the captioner where it is to work (see `curation.captions.registry.Maker`).
        selection: name or id of a selection; `where` is a condition on clips instead.
        where: see `selection`; without both, every clip of the newest cutting is taken.
        workers: processes; by default one for each CPU of the cluster, 0 to work without Ray.
        address: of a running Ray cluster; by default a local one is started.
        gpus: of each worker.
        dry_run: only plan and count.
        progress: where progress is shown, None for silence.
    """
    cat = catalog if isinstance(catalog, Catalog) else Catalog.open(catalog)
    captioner = make()
    report = CaptionReport(uuid.uuid4().hex, captioner.name, captioner.prompt_id)
    batches = plan_batches(cat, captioner, report, selection=selection, where=where)
    if dry_run or not batches:
        report.status = "planned" if dry_run else "done"
        return report
    run = _Run(cat, captioner, report, progress)
    if captioner.streams or workers == 0:
        run.here(batches)
    else:
        worker = _WorkerMaker(make, cat.storage.root)
        run.crew(batches, Crew(worker, workers, address, gpus=gpus))
    return report


# -- planning ------------------------------------------------------------------------------------


def plan_batches(
    catalog: Catalog,
    captioner: Captioner,
    report: CaptionReport,
    *,
    selection: str | None = None,
    where: str | None = None,
) -> list[Batch]:
    """The windows without captions, clips of one source together."""
    with choose(catalog, selection=selection, where=where) as chosen:
        session = chosen.session
        places = ", ".join("?" * len(captioner.media))
        clips = session.connection.execute(
            "select c.clip_id, c.source_id, c.duration_s from chosen join "
            f"(select distinct on (clip_id) * from ({session.scan('clips')})) c using (clip_id) "
            f"where c.kind in ({places}) order by c.source_id, c.start_pts, c.clip_id",
            list(captioner.media),
        ).fetchall()
        done = _captioned(session, captioner)
        cutting = session.cutting
    groups: dict[str, list[tuple[str, tuple[Window, ...]]]] = {}
    for clip_id, source_id, duration_s in clips:
        windows = captioner.windows(duration_s)
        missing = tuple(w for w in windows if (clip_id, w.start_s, w.end_s) not in done)
        report.clips += 1
        report.windows += len(windows)
        report.present += len(windows) - len(missing)
        if missing:
            groups.setdefault(source_id, []).append((clip_id, missing))
    batches: list[Batch] = []
    waiting: list[tuple[str, tuple[Window, ...]]] = []
    for group in groups.values():
        waiting += group
        while len(waiting) >= BATCH_CLIPS:
            batches.append(Batch(cutting, tuple(waiting[:BATCH_CLIPS])))
            waiting = waiting[BATCH_CLIPS:]
    if waiting:
        batches.append(Batch(cutting, tuple(waiting)))
    return batches


def _captioned(session: Session, captioner: Captioner) -> set[tuple[str, float, float]]:
    """Windows that this captioner has described with this prompt."""
    if "captions" not in session.catalog.tables():
        return set()
    rows = session.connection.execute(
        f"select distinct clip_id, start_s, end_s from ({session.scan('captions')}) "
        "semi join chosen using (clip_id) where model = ? and revision = ? "
        "and prompt_hash is not distinct from ?",
        [captioner.name, captioner.revision, captioner.prompt_hash],
    ).fetchall()
    return {(clip, start, end) for clip, start, end in rows}


# -- running -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _WorkerMaker:
    """Builds a worker where it is to work."""

    make: Make
    catalog: str

    def __call__(self) -> CaptionWorker:
        return CaptionWorker(self.make(), self.catalog)


class _Run:
    """One run: its commits, its tally and its row in `runs`."""

    def __init__(
        self,
        catalog: Catalog,
        captioner: Captioner,
        report: CaptionReport,
        stream: TextIO | None,
    ):
        self._catalog, self._captioner = catalog, captioner
        self._report, self._stream = report, stream
        self._planned_at = catalog.version
        self._began, self._started = datetime.now(UTC), time.monotonic()
        self._committed = self._told = self._started
        self._rows: list[dict[str, Any]] = []

    def here(self, batches: Sequence[Batch]) -> None:
        """Work in this process; what a stream has answered is taken as it comes."""
        worker = CaptionWorker(self._captioner, self._catalog.storage.root)
        try:
            with self._recorded():
                worker.ready()
                for job, answer in worker.answers(batches):
                    self._take(caption_rows(self._captioner, job, answer), answer)
        finally:
            worker.close(done=self._report.status == "done" and not self._report.failed)

    def crew(self, batches: Sequence[Batch], crew: Crew) -> None:
        """Work on Ray."""
        waiting = deque((batch, 1) for batch in batches)
        with self._recorded():
            crew.start(len(batches))
            try:
                while waiting or crew.busy:
                    while waiting and crew.has_room:
                        crew.submit(waiting.popleft())
                    for (batch, attempt), result in crew.collect(1.0):
                        if not isinstance(result, Lost):
                            for rows, answer in result:
                                self._take(rows, answer)
                        elif attempt < MAX_ATTEMPTS:
                            waiting.append((batch, attempt + 1))
                        else:
                            self._fail(
                                result.detail, sum(len(windows) for _, windows in batch.clips)
                            )
            finally:
                crew.stop()

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Whatever happens inside, what was captioned is committed and the run is recorded."""
        status = "failed"
        try:
            yield
            status = "stopped" if self._captioner.stopped else "done"
        except KeyboardInterrupt:
            status = "interrupted"
        finally:
            self._finish(status)

    def _take(self, rows: Sequence[dict[str, Any]], answer: Answer) -> None:
        report = self._report
        if answer.problem is not None:
            self._fail(answer.problem, 1)
        elif rows:
            report.captioned += 1
            report.rows += len(rows)
            report.tokens += answer.tokens or 0
        else:
            report.silent += 1
        self._rows += rows
        now = time.monotonic()
        if len(self._rows) >= COMMIT_ROWS or now - self._committed >= COMMIT_EVERY_S:
            self._flush()
        if self._stream and now - self._told >= TELL_EVERY_S:
            self._told = now
            done, of = report.captioned + report.failed, report.windows - report.present
            self._stream.write(f"caption {done}/{of} windows | {report.tokens} tokens\n")

    def _fail(self, problem: str, windows: int) -> None:
        self._report.failed += windows
        line = problem.splitlines()[0]
        self._report.problems[line] = self._report.problems.get(line, 0) + windows

    def _flush(self) -> None:
        """Commit the captions that have come; those that somebody else wrote stay."""
        rows, self._rows = self._rows, []
        self._committed = time.monotonic()
        if not rows:
            return
        stamped = [row | {"run_id": self._report.run_id} for row in rows]
        with self._catalog.transaction(f"caption: {len(rows)} texts") as txn:
            txn.insert("captions", stamped, since=self._planned_at)

    def _finish(self, status: str) -> None:
        with uninterrupted():
            self._flush()
            report = self._report
            report.status = status
            report.usage = self._captioner.usage()
            if self._captioner.stopped:
                report.problems[self._captioner.stopped] = report.windows - (
                    report.present + report.captioned + report.silent + report.failed
                )
            report.wall_s = time.monotonic() - self._started
            row = {
                "run_id": report.run_id,
                "verb": "caption",
                "name": f"{report.captioner} {report.prompt or ''}".strip(),
                "status": status,
                "started": self._began,
                "finished": datetime.now(UTC),
                "catalog_version": self._planned_at,
                "counts": json.dumps(report.to_dict(), default=str),
            }
            self._catalog.append("runs", [row])
