"""What a worker does. Knows nothing of Ray: the same class runs in a test, alone.

Decoding happens in a child process of the worker that is limited in time and memory; whatever
happens to the child, the worker lives and can say what it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import cv2
import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import ClipmillError
from catalogs.ids import file_sha256, source_id
from catalogs.query import Session
from catalogs.storage import local_copy
from curation import operators
from curation.jobs.finish import Measured, finish_source
from curation.jobs.job import Chunk, FinishJob, Identified, IdentifyJob, MeasureJob
from curation.jobs.meanwhile import meanwhile
from curation.jobs.measure import MeasuredVideo, measure_video, warm_up
from curation.jobs.measure_take import measure_take
from curation.jobs.outcome import Outcome, Problem
from curation.jobs.rows import (
    MOTION_COLUMNS,
    SOUND_COLUMNS,
    VIDEO_COLUMNS,
    StoredClips,
    load_measured,
    signal_row,
    sound_row,
    source_row,
    story_rows,
    take_rows,
)
from curation.jobs.scan import MOCAP_SUFFIXES, Input
from curation.jobs.settings import MillSettings
from curation.media.errors import MediaError
from curation.media.guard import GuardedWorker
from curation.media.retry import retry_other_backend
from curation.operators import Operator

__all__ = ["Worker"]

T = TypeVar("T")

MOST_KILLS = 3
MOST_FRAMES = 50_000
"""Frames of stored signals that are loaded together, some 20 MB: half an hour of video."""


class KilledError(ClipmillError):
    """The guarded child was killed from outside, again and again."""

    signal = "SIGKILL"


class Worker:
    """Identifies, measures and finishes sources. `catalog` is where stored signals are read."""

    def __init__(self, settings: MillSettings, catalog: str):
        cv2.setNumThreads(1)  # there is a worker for each CPU
        self._settings = settings
        self._catalog = catalog

    def ready(self) -> None:
        """Load what the first piece of work would otherwise wait for, here and in the child."""
        with meanwhile(pa.array, []):  # looks for pandas, which takes a quarter of a second
            self._guard.call(warm_up)
            len(self._operators)

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        return {name: operators.create(name) for name in self._settings.operators}

    @cached_property
    def _guard(self) -> GuardedWorker:
        return GuardedWorker(memory_mb=self._settings.limits.memory_mb)

    # -- identify --------------------------------------------------------------------------

    def identify(self, inputs: Sequence[Input]) -> tuple[list[Identified], list[Problem]]:
        """Hash files; those that cannot be read are problems."""
        found, problems = [], []
        for item in inputs:
            try:
                with local_copy(item.uri) as path:
                    sha = file_sha256(path)
                    size = os.path.getsize(path)
            except Exception as error:  # whatever a file or a store does, the others go on
                problems.append(Problem.of(error, item.uri, stage="read"))
                continue
            found.append(Identified(item, sha, source_id(sha), size))
        return found, problems

    # -- measure ---------------------------------------------------------------------------

    def work(self, job: IdentifyJob | MeasureJob | FinishJob) -> Any:
        """Do a piece of work; a long source comes back as the chunks to measure instead."""
        if isinstance(job, IdentifyJob):
            return self.identify(job.inputs)
        if isinstance(job, FinishJob):
            return self._finish(job)
        item = job.identified
        began = time.perf_counter()
        try:
            with local_copy(item.input.uri) as path:
                outcome = self._measure(job, str(path))
        except Exception as error:  # the file's fault or ours: it is quarantined with the reason
            problem = Problem.of(
                error, item.input.uri, stage="measure", source_id=item.source_id, size=item.bytes
            )
            outcome = Outcome((item.source_id,), problems=[problem])
        if isinstance(outcome, Outcome):
            outcome.bytes = item.bytes if job.chunk is None or not job.chunk.index else 0
            outcome.seconds["worker"] = time.perf_counter() - began
        return outcome

    def _measure(self, job: MeasureJob, path: str) -> Outcome | list[MeasureJob]:
        if job.identified.input.suffix in MOCAP_SUFFIXES:
            return self._take_outcome(job.identified, path)
        found = self._decoded(job, path)
        if isinstance(found, list):
            return [MeasureJob(job.identified, chunk) for chunk in found]
        return self._video_outcome(job, found)

    def _take_outcome(self, item: Identified, path: str) -> Outcome:
        found = self._guarded(measure_take, path, self._settings.mocap)
        source, signals = take_rows(item, found)
        outcome = Outcome((item.source_id,), media_s=source["duration_s"], seconds=found.seconds)
        outcome.add("sources", [source])
        outcome.add("signals/motion", [signals], MOTION_COLUMNS)
        measured = Measured(source, motion=found.signals, joints=found.joints)
        finish_source(measured, self._settings, self._operators.values(), outcome)
        return outcome

    def _decoded(self, job: MeasureJob, path: str) -> MeasuredVideo | list[Chunk]:
        """Measured in the guarded child: by the default backend, then once by the other."""
        found, _ = retry_other_backend(
            lambda backend: self._guarded(measure_video, path, self._settings, job.chunk, backend)
        )
        return found

    def _guarded(self, function: Callable[..., T], *arguments: Any) -> T:
        """A child that somebody killed says nothing about the file: it gets another one."""
        for _ in range(MOST_KILLS):
            try:
                return self._guard.call(function, *arguments, wall_s=self._settings.limits.wall_s)
            except MediaError as error:
                if error.signal != "SIGKILL":
                    raise
        raise KilledError(
            f"the decoding process was killed {MOST_KILLS} times",
            hint="look whether the machine runs out of memory, then run again",
        )

    def _video_outcome(self, job: MeasureJob, found: MeasuredVideo) -> Outcome:
        item, chunk = job.identified, found.chunk
        outcome = Outcome(
            (item.source_id,),
            frames=found.health.decoded_frames,
            media_s=float(len(found.signals) / found.probe.fps),
            seconds=dict(found.seconds),
        )
        source = source_row(item, found)
        outcome.add("signals/video", [signal_row(item.source_id, found)], VIDEO_COLUMNS)
        outcome.add("storyboards", story_rows(item.source_id, found))
        if not chunk.index:
            outcome.add("sources", [source])
            if len(found.audio_db):
                sound = sound_row(item.source_id, found.audio_db)
                outcome.add("signals/sound", [sound], SOUND_COLUMNS)
        if chunk.of == 1:
            measured = Measured(
                source, video=found.signals, audio_db=found.audio_db, story=found.story
            )
            finish_source(measured, self._settings, self._operators.values(), outcome)
        return outcome

    # -- finish ----------------------------------------------------------------------------

    def _finish(self, job: FinishJob) -> Outcome:
        """Cut and score sources from what is stored, each on its own: one must not fail all."""
        outcome = Outcome(job.source_ids)
        wanted = [self._operators[name] for name in job.wanted]
        with Session(Catalog.open(self._catalog)) as session:
            stored = StoredClips(session)
            for measured in self._stored(session, job.source_ids):
                try:
                    finish_source(measured, self._settings, wanted, outcome, stored)
                except Exception as error:  # see above
                    outcome.problems.append(
                        Problem.of(
                            error,
                            measured.source["uri"],
                            stage="cut",
                            source_id=measured.source_id,
                        )
                    )
        return outcome

    def _stored(self, session: Session, source_ids: Sequence[str]) -> Iterator[Measured]:
        """Stored sources: many short ones are loaded at once, a long one alone."""
        places = ", ".join("?" * len(source_ids))
        lengths = dict(
            session.sql(
                f"select source_id, coalesce(frames, 0) from sources where source_id in ({places})",
                list(source_ids),
            ).rows()
        )
        group: list[str] = []
        frames = 0
        for source in source_ids:
            if group and frames + lengths[source] > MOST_FRAMES:
                yield from load_measured(session, group, self._settings.cutting)
                group, frames = [], 0
            group.append(source)
            frames += lengths[source]
        yield from load_measured(session, group, self._settings.cutting)
