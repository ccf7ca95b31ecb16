"""What a captioning worker does: reads what is stored of clips and asks the captioner.

Knows nothing of Ray: the same class works in the driver, alone in a test and on a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.query import Session
from catalogs.storage import local_copy
from curation.captions.base import Answer, Captioner, Job, Window, caption_rows
from curation.captions.frames import pictures_of, read_frames
from curation.captions.journal import pending_folder
from curation.captions.sound import read_sound
from curation.jobs.finish import clip_of
from curation.jobs.rows import load_measured
from curation.jobs.settings import Limits
from curation.media.guard import GuardedWorker
from curation.operators import Clip

__all__ = ["Batch", "CaptionWorker"]

_WIDE = """
    select c.*, s.source_shots, s.source_shot_s from clips c
    join (
        select source_id, count() as source_shots, median(duration_s) as source_shot_s
        from clips group by source_id
    ) s using (source_id)
    where c.clip_id in (select clip_id from wanted_clips)
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of some clips of one cutting."""

    cutting: str | None
    clips: tuple[tuple[str, tuple[Window, ...]], ...]
    """Clip ids with the windows that lack captions."""


class CaptionWorker:
    """Feeds a captioner with windows."""

    def __init__(self, captioner: Captioner, catalog: str):
        self._captioner = captioner
        self._catalog = catalog

    def ready(self) -> None:
        catalog = Catalog.open(self._catalog)
        self._captioner.setup(pending_folder(catalog.storage, str(catalog.about["id"])))

    def work(self, item: tuple[Batch, int]) -> list[tuple[list[dict[str, Any]], Answer]]:
        """Rows and answers of a batch, as a cluster hands them back."""
        batch, _ = item
        return [
            (caption_rows(self._captioner, job, answer), answer)
            for job, answer in self.answers([batch])
        ]

    def answers(self, batches: Iterable[Batch]) -> Iterator[tuple[Job, Answer]]:
        """What the captioner says about the windows of some batches."""
        return self._captioner.answers(job for batch in batches for job in self._jobs(batch))

    def close(self, *, done: bool = True) -> None:
        self._captioner.close(done=done)
        if "_guard" in self.__dict__:
            self._guard.close()

    @cached_property
    def _guard(self) -> GuardedWorker:
        return GuardedWorker(memory_mb=Limits().memory_mb)

    # -- loading ---------------------------------------------------------------------------

    def _jobs(self, batch: Batch) -> Iterator[Job]:
        """The windows of a batch with everything that the captioner needs."""
        captioner, needs = self._captioner, set(self._captioner.needs)
        wanted = dict(batch.clips)
        with Session(Catalog.open(self._catalog), cutting=batch.cutting) as session:
            session.keep("wanted_clips", pa.table({"clip_id": pa.array(wanted, pa.string())}))
            wide = {row["clip_id"]: row for row in session.sql(_WIDE).dicts()}
            texts = self._texts(session) if "captions" in needs else {}
            sources = sorted({row["source_id"] for row in wide.values()})
            for measured in load_measured(session, sources, batch.cutting or ""):
                for row in measured.clips or ():
                    clip = clip_of(measured, row)
                    for window in wanted.get(clip.clip_id, ()):
                        yield Job(
                            clip,
                            window,
                            scores=wide[clip.clip_id],
                            pictures=self._pictures(clip, window) if captioner.sampling else (),
                            captions=texts.get(clip.clip_id, ()),
                            sound=self._sound(clip, window) if "sound" in needs else None,
                        )

    def _texts(self, session: Session) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        if "captions" not in session.catalog.tables():
            return {}
        found: dict[str, list[Mapping[str, Any]]] = {}
        query = (
            "select * from captions semi join wanted_clips using (clip_id) "
            "order by clip_id, start_s, kind, model, caption_id"
        )
        for row in session.sql(query).dicts():
            found.setdefault(row["clip_id"], []).append(row)
        return found

    def _pictures(self, clip: Clip, window: Window) -> Sequence[Any]:
        assert self._captioner.sampling is not None
        return pictures_of(self._captioner.sampling, clip, window, self._decoded)

    def _decoded(self, uri: str, pts: list[int], short_side: int) -> Sequence[Any]:
        with local_copy(uri) as path:
            return self._guard.call(read_frames, str(path), pts, short_side)

    def _sound(self, clip: Clip, window: Window) -> Any:
        if clip.source.get("audio_codec") is None:
            return None
        start = clip.row["start_s"] + window.start_s
        seconds = window.end_s - window.start_s
        with local_copy(clip.source["uri"]) as path:
            return self._guard.call(read_sound, str(path), start, seconds)
