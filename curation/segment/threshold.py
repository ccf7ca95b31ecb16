"""Cuts inside fades through black (or white).

The cuts of scenedetect's ThresholdDetector on the same small frames: one between the frame where
brightness falls below the threshold and the one where it is back.
"""

from __future__ import annotations

import numpy as np

from curation.segment.base import Boundary, cuts_at
from curation.signals import VideoSignals

__all__ = ["detect"]


def detect(
    signals: VideoSignals,
    *,
    threshold: float = 12.0,
    min_frames: int = 0,
    fade_bias: float = 0.0,
    min_out_frames: int = 0,
    add_final: bool = False,
    from_white: bool = False,
) -> list[Boundary]:
    """One cut per fade out and in.

    Args:
        signals: of the video.
        threshold: mean of all samples below which the picture is out, in whole steps.
        min_frames: a shot shorter than this gets no cut at its end.
        fade_bias: -1 cuts where the picture goes, 0 in the middle, 1 where it is back.
        min_out_frames: shorter times out are no fade.
        add_final: also cut where the last shot fades out for good.
        from_white: the picture is out at `threshold` and above instead.
    """
    mean = signals["rgb_mean"]
    out = mean >= int(threshold) if from_white else mean < int(threshold)
    cuts: list[int] = []
    last_cut = 0
    went_out = 0 if len(out) and out[0] else -1
    for at in (1 + np.flatnonzero(out[1:] != out[:-1])).tolist():
        if out[at]:
            went_out = at
            continue
        if at - last_cut >= min_frames and at - went_out >= min_out_frames:
            cuts.append(went_out + round((at - went_out) * (1.0 + fade_bias) / 2.0))
            last_cut = at
    ends = len(out) - 1
    if (
        add_final
        and len(out)
        and out[-1]
        and ends - last_cut >= min_frames
        and ends + 1 - went_out >= min_out_frames
    ):
        cuts.append(went_out)
    return cuts_at(signals, cuts)
