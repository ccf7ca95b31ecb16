"""A catalog whose sources have every kind of licence, with a recorded selection.

Every text that only a given source has (its address, captions, metadata) starts with the mark of
that source, so that a test can look for what must not have left.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.ids import clip_id, source_id
from catalogs.recipe import parse_recipe
from catalogs.schema import Column
from catalogs.select import select
from catalogs.timebase import Span

__all__ = ["CUTTING", "LICENSED_SOURCES", "LicensedSource", "record_licensed"]

CUTTING = "c0ffee"
RECIPE = """
name: web
gates:
  length: duration_s >= 2
  light: luma_mean_255 < 250
splits: {train: 0.5, val: 0.5, group_by: clip_id}
"""
_TICKS_PER_S = 24


@dataclass(frozen=True, slots=True)
class LicensedSource:
    """A source of `record_licensed`; `mark` stands at the start of all of its texts."""

    mark: str
    licence: str | None
    uri: str
    terms: tuple[str, str, str] | None = None

    @property
    def sha256(self) -> str:
        return sha256(self.mark.encode()).hexdigest()

    @property
    def id(self) -> str:
        return source_id(self.sha256)


LICENSED_SOURCES = (
    LicensedSource("FREE", "CC-BY-4.0", "/home/someone/videos/FREE.mp4"),
    LicensedSource("NONCOM", "CC-BY-NC-4.0", "https://example.org/NONCOM.mp4?token=hush"),
    LicensedSource("CLOSED", "All rights reserved", "https://user:hush@example.org/CLOSED.mp4"),
    LicensedSource("UNCLEAR", "Pexels License", "https://example.org/watch?v=UNCLEAR"),
    LicensedSource("GRANTED", None, "s3://bucket/GRANTED.mp4", ("yes", "yes", "yes")),
)


def record_licensed(path: str | Path, *, clips_per_source: int = 8) -> Catalog:
    """Write the catalog: clips, scores, captions, signals and the selection `web`.

    The first clip of each source is too short for the recipe.
    """
    catalog = Catalog.create(path)
    clips = [_clip(s, n) for s in LICENSED_SOURCES for n in range(clips_per_source)]
    with catalog.transaction("import") as txn:
        txn.append("sources", [_source(source) for source in LICENSED_SOURCES])
        txn.append("clips", [clip for clip, _ in clips])
        txn.append("scores/exposure", [_score(*pair) for pair in clips], _EXPOSURE)
        txn.append("captions", [_caption(*pair) for pair in clips])
        txn.append("signals/basic", [_signal(s) for s in LICENSED_SOURCES], _LUMA)
        txn.append("quarantine", [_broken()])
    select(catalog, parse_recipe(RECIPE), "web")
    return catalog


_EXPOSURE = [
    Column("luma_mean_255", pa.float64(), "mean brightness", "0 to 255"),
    Column("exposure_note", pa.string(), "what was seen"),
]
_LUMA = [Column("luma", pa.list_(pa.float32()), "mean brightness of each frame", "0 to 255")]


def _source(source: LicensedSource) -> dict[str, Any]:
    terms = ("redistribute", "commercial", "derive")
    return {
        "source_id": source.id,
        "uri": source.uri,
        "kind": "video",
        "bytes": 1_000_000,
        "sha256": source.sha256,
        "width": 1280 if source.mark == "FREE" else 640,
        "height": 720 if source.mark == "FREE" else 360,
        "is_vfr": source.mark == "GRANTED",
        "damaged_frames": 0,
        "collection": f"{source.mark} collection",
        "license": source.licence,
        "license_terms": dict(zip(terms, source.terms, strict=True)) if source.terms else None,
        "meta": json.dumps({"title": f"{source.mark} title"}),
        "run_id": "run-1",
    }


def _clip(source: LicensedSource, number: int) -> tuple[dict[str, Any], str]:
    start, seconds = number * 240, number + 1
    end = start + seconds * _TICKS_PER_S
    span = Span(start, end, Fraction(1, _TICKS_PER_S))
    clip = {
        "clip_id": clip_id(source.id, span),
        "cutting": CUTTING,
        "source_id": source.id,
        "kind": "video",
        "start_pts": start,
        "end_pts": end,
        "time_base_num": 1,
        "time_base_den": _TICKS_PER_S,
        "start_frame": start,
        "end_frame": end,
        "start_s": start / _TICKS_PER_S,
        "end_s": end / _TICKS_PER_S,
        "duration_s": float(seconds),
        "frames": end - start,
        "fps": float(_TICKS_PER_S),
        "detector": f"{source.mark} detector",
        "run_id": "run-1",
    }
    return clip, source.mark


def _score(clip: dict[str, Any], mark: str) -> dict[str, Any]:
    return {
        "clip_id": clip["clip_id"],
        "op_version": 1,
        "luma_mean_255": 20.0 + 7 * clip["duration_s"],
        "exposure_note": f"{mark} note",
    }


def _caption(clip: dict[str, Any], mark: str) -> dict[str, Any]:
    return {
        "caption_id": clip["clip_id"][::-1],
        "clip_id": clip["clip_id"],
        "kind": "brief",
        "text": f"{mark} caption: somebody walks, ünd “turns”",
        "language": "en",
        "start_s": 0.0,
        "end_s": clip["duration_s"],
        "origin": "rules",
        "model": "rules",
        "revision": "1",
    }


def _signal(source: LicensedSource) -> dict[str, Any]:
    return {
        "source_id": source.id,
        "chunk": 0,
        "set_version": 1,
        "time_base_num": 1,
        "time_base_den": _TICKS_PER_S,
        "pts": [0, 1, 2, 3],
        "luma": [0.0, 1.0, 2.0, 3.0],
    }


def _broken() -> dict[str, Any]:
    return {
        "uri": "/home/someone/videos/BROKEN.mp4",
        "bytes": 0,
        "stage": "probe",
        "error_class": "empty",
        "detail": "the file /home/someone/videos/BROKEN.mp4 has no bytes",
        "host": "workstation-7",
    }
