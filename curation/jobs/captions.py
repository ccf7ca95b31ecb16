"""Captions of takes, from rules, as rows of the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.ids import settings_hash
from curation.mocap.arrays import motion_from_array
from curation.mocap.captions import RULES_VERSION, Caption, caption_motion
from curation.operators import Clip

__all__ = ["take_captions"]

MODEL = "motion-rules"
SERVES = ("motionbank",)
"""Published systems whose captions these are."""

_ID_DIGITS = 32


def take_captions(
    joints: NDArray[np.float32], source: Mapping[str, Any], clips: Sequence[Clip]
) -> list[dict[str, Any]]:
    """A brief and a detailed caption of every clip, and one for each part of the body."""
    fps = Fraction(source["fps_num"], source["fps_den"])
    motion = motion_from_array(joints, fps=fps).motion
    rows: list[dict[str, Any]] = []
    for clip in clips:
        if not np.isfinite(joints[clip.span]).all(axis=(1, 2)).any():
            continue
        rows += _rows(clip, caption_motion(motion, clip.span.start, clip.span.stop))
    return rows


def _rows(clip: Clip, caption: Caption) -> Iterator[dict[str, Any]]:
    texts = {"brief": caption.brief, "detailed": caption.detailed}
    texts |= {f"part: {part}": text for part, text in caption.by_part().items()}
    for kind, text in texts.items():
        part = kind.removeprefix("part: ")
        evidence = [
            {
                "text": sentence.text,
                "part": sentence.part,
                "start_s": sentence.start_s,
                "end_s": sentence.end_s,
                "measures": dict(sentence.measures),
            }
            for sentence in caption.sentences
            if kind in ("brief", "detailed") or sentence.part == part
        ]
        name = {"clip": clip.clip_id, "kind": kind, "model": MODEL, "revision": RULES_VERSION}
        yield {
            "caption_id": settings_hash(name, _ID_DIGITS),
            "clip_id": clip.clip_id,
            "kind": kind,
            "text": text,
            "language": "en",
            "start_s": 0.0,
            "end_s": clip.seconds,
            "origin": "rules",
            "model": MODEL,
            "revision": str(RULES_VERSION),
            "evidence": json.dumps(evidence, default=float, sort_keys=True),
        }
