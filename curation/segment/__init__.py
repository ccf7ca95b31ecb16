"""Segmentation over stored signals: boundaries, and the clips between them. Opens no video."""

from curation.segment.base import Boundary, BoundaryKind
from curation.segment.registry import DETECTORS, detector_options, detector_version, run_detector
from curation.segment.settings import SegmentSettings
from curation.segment.spans import ClipSpan, detect, segment, spans

__all__ = [
    "DETECTORS",
    "Boundary",
    "BoundaryKind",
    "ClipSpan",
    "SegmentSettings",
    "detect",
    "detector_options",
    "detector_version",
    "run_detector",
    "segment",
    "spans",
]
