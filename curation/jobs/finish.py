"""From stored measurements to clips and scores: no file is opened here.

The same code finishes a source that was measured a moment ago and one that was measured last year,
so a re-cut or a new operator gives what a fresh run would.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import NotFoundError
from catalogs.ids import clip_id
from catalogs.timebase import Span
from curation.jobs.captions import take_captions
from curation.jobs.outcome import Outcome, Problem
from curation.jobs.settings import MillSettings
from curation.jobs.sound import WINDOWS_PER_S
from curation.operators import Clip, Operator, StoryFrame, checked_scores
from curation.segment import ClipSpan, detect, detector_version, spans
from curation.segment.takes import TAKE_DETECTOR, take_spans
from curation.signals import VideoSignals

__all__ = ["NOTHING", "Measured", "Stored", "clip_of", "finish_source"]


@dataclass(slots=True)
class Measured:
    """All that is stored of one source."""

    source: Mapping[str, Any]
    video: VideoSignals | None = None
    motion: Mapping[str, NDArray[Any]] | None = None
    joints: NDArray[np.float32] | None = None
    """(frames, 22, 3) of a person's take."""
    audio_db: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """From time zero of the source's clock."""
    story: Sequence[StoryFrame] = ()
    clips: Sequence[Mapping[str, Any]] | None = None
    """Rows of `clips` in the wanted cutting; None when the source was not cut that way yet."""

    @property
    def source_id(self) -> str:
        return str(self.source["source_id"])


class Stored:
    """What a catalog already has of some clips. This one has nothing."""

    def unscored(self, operator: Operator, clips: Sequence[Clip]) -> Sequence[Clip]:
        """Those of `clips` that the operator has not scored at its present version."""
        return clips

    def uncaptioned(self, clips: Sequence[Clip]) -> Sequence[Clip]:
        """Those of `clips` that the present rules have not captioned."""
        return clips


NOTHING = Stored()


def finish_source(
    measured: Measured,
    settings: MillSettings,
    operators: Iterable[Operator],
    outcome: Outcome,
    stored: Stored = NOTHING,
) -> None:
    """Cut one source and score its clips, adding rows and problems to `outcome`.

    A source that is cut already keeps its clips, and clips keep the scores that they have.
    """
    if measured.clips is None:
        with _timed(outcome, "cut"):
            rows: Sequence[Mapping[str, Any]] = _cut(measured, settings, outcome)
        outcome.clips += len(rows)
    else:
        rows = measured.clips
    clips = [clip_of(measured, row) for row in rows]
    if measured.joints is not None and measured.clips is None:
        with _timed(outcome, "caption"):
            outcome.add(
                "captions",
                take_captions(measured.joints, measured.source, stored.uncaptioned(clips)),
            )
    for operator in operators:
        if measured.source["kind"] not in operator.kinds:
            continue
        stage = f"score:{operator.name}"
        with _timed(outcome, stage):
            try:
                scores = checked_scores(operator, stored.unscored(operator, clips))
            except Exception as error:  # one operator's fault must not cost the others' scores
                uri, source_id = measured.source["uri"], measured.source_id
                problem = Problem.of(error, uri, stage=stage, source_id=source_id)
                outcome.problems.append(problem)
            else:
                outcome.add(f"scores/{operator.name}", scores, operator.columns)


@contextmanager
def _timed(outcome: Outcome, stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    outcome.seconds[stage] = outcome.seconds.get(stage, 0.0) + time.perf_counter() - began


def _cut(measured: Measured, settings: MillSettings, outcome: Outcome) -> list[dict[str, Any]]:
    """Rows of `clips`, added to the outcome together with the source's row of `cuttings`."""
    rules = settings.segment
    if measured.video is not None:
        boundaries = detect(measured.video, rules)
        found = spans(boundaries, measured.video, rules)
        detector = f"{rules.detector}@{detector_version(rules.detector)}"
        changes = len(boundaries)
    elif measured.motion is not None:
        found = take_spans(measured.motion, float(measured.source["fps"]), rules)
        detector, changes = TAKE_DETECTOR, max(0, len(found) - 1)
    else:
        raise NotFoundError(f"source {measured.source_id} has no stored signals to cut")
    rows = [_clip_row(measured, span, settings.cutting, detector) for span in found]
    outcome.add("clips", rows)
    outcome.add(
        "cuttings",
        [
            {
                "source_id": measured.source_id,
                "cutting": settings.cutting,
                "asked": settings.asked,
                "detector": detector,
                "settings": json.dumps(asdict(rules), sort_keys=True),
                "boundaries": changes,
                "clips": len(rows),
            }
        ],
    )
    return rows


def _clip_row(measured: Measured, span: ClipSpan, cutting: str, detector: str) -> dict[str, Any]:
    source = measured.source
    tick = Fraction(source["time_base_num"], source["time_base_den"])
    exact = Span(span.start_pts, span.end_pts, tick)
    frames = span.end_frame - span.start_frame
    return {
        "clip_id": clip_id(measured.source_id, exact),
        "cutting": cutting,
        "source_id": measured.source_id,
        "kind": source["kind"],
        "start_pts": span.start_pts,
        "end_pts": span.end_pts,
        "time_base_num": tick.numerator,
        "time_base_den": tick.denominator,
        "start_frame": span.start_frame,
        "end_frame": span.end_frame,
        "start_s": float(exact.start),
        "end_s": float(exact.end),
        "duration_s": float(exact.duration),
        "frames": frames,
        "fps": float(frames / exact.duration),
        "starts_with": span.starts_with,
        "ends_with": span.ends_with,
        "detector": detector,
    }


def clip_of(measured: Measured, row: Mapping[str, Any]) -> Clip:
    """A clip with all that is stored of its span."""
    first, last = round(row["start_s"] * WINDOWS_PER_S), round(row["end_s"] * WINDOWS_PER_S)
    return Clip(
        row,
        measured.source,
        measured.video,
        measured.motion,
        [item for item in measured.story if row["start_pts"] <= item.pts < row["end_pts"]],
        measured.audio_db[max(0, first) : max(last, first + 1, 0)],
    )
