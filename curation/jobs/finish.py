"""From stored measurements to clips and scores: no file is opened here.

The same code finishes a source that was measured a moment ago and one that was measured last year,
so a re-cut or a new operator gives what a fresh run would.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.ids import clip_id
from catalogs.timebase import Span
from curation import operators
from curation.jobs.outcome import Outcome, Problem
from curation.jobs.settings import MillSettings
from curation.operators import Clip, Operator, StoryFrame, checked_scores
from curation.segment import ClipSpan, segment
from curation.signals import VideoSignals

__all__ = ["AUDIO_WINDOW_S", "Measured", "finish_source"]

AUDIO_WINDOW_S = Fraction(1, 10)


@dataclass(slots=True)
class Measured:
    """All that is stored of one source."""

    source: Mapping[str, Any]
    video: VideoSignals | None = None
    motion: Mapping[str, NDArray[Any]] | None = None
    audio_db: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """From the time origin of the source's clock."""
    story: Sequence[StoryFrame] = ()

    @property
    def source_id(self) -> str:
        return str(self.source["source_id"])


def finish_source(
    measured: Measured,
    settings: MillSettings,
    loaded: Mapping[str, Operator],
    outcome: Outcome,
    *,
    wanted: Sequence[str] | None = None,
) -> None:
    """Cut one source and score its clips, adding rows and problems to `outcome`.

    Args:
        measured: what is stored of the source.
        settings: how to cut and what to score.
        loaded: operators by name, set up.
        outcome: where rows go.
        wanted: operators whose scores are missing; by default all of `settings`.
    """
    started = time.perf_counter()
    rows = _clip_rows(measured, settings, outcome)
    outcome.seconds["cut"] = outcome.seconds.get("cut", 0.0) + time.perf_counter() - started
    outcome.clips += len(rows)
    clips = [_clip(measured, row) for row in rows]
    kind = measured.source["kind"]
    for name in settings.operators if wanted is None else wanted:
        operator = loaded[name]
        if kind not in operator.kinds:
            continue
        started = time.perf_counter()
        try:
            scores = checked_scores(operator, clips)
        except Exception as error:  # an operator's fault must not cost the others' scores
            outcome.problems.append(
                Problem.of(
                    error,
                    measured.source["uri"],
                    stage=f"score:{name}",
                    source_id=measured.source_id,
                )
            )
            continue
        _extend(outcome, f"scores/{name}", scores, operator.columns)
        stage = f"score:{name}"
        outcome.seconds[stage] = outcome.seconds.get(stage, 0.0) + time.perf_counter() - started
