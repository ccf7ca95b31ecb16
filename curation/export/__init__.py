"""Clips as files: MP4, tar shards, pictures, LeRobot; exact, resumable, with their metadata."""

from curation.export.made import Failure
from curation.export.run import ClipExport, export_clips
from curation.export.settings import ClipFormat, MediaSettings

__all__ = ["ClipExport", "ClipFormat", "Failure", "MediaSettings", "export_clips"]
