"""Segmentation over stored signals: boundaries, and the clips between them. Opens no video."""

from curation.segment.base import Boundary, BoundaryKind
from curation.segment.registry import DETECTORS, detector_options, detector_version, run_detector
from curation.segment.settings import SegmentSettings
from curation.segment.spans import EDGES, ClipSpan, ClipTable, clip_table, detect, segment, spans

__all__ = [
    "DETECTORS",
    "EDGES",
    "Boundary",
    "BoundaryKind",
    "ClipSpan",
    "ClipTable",
    "SegmentSettings",
    "clip_table",
    "detect",
    "detector_options",
    "detector_version",
    "run_detector",
    "segment",
    "spans",
]
