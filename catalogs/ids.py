"""Identity by content.

A source is the hash of its bytes, a clip is its source and exact time span. The same input has
the same ids on every machine, whatever its path and however it was cut.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from catalogs.timebase import Span

__all__ = ["ID_LENGTH", "clip_id", "file_sha256", "settings_hash", "source_id"]

ID_LENGTH = 32
_CHUNK_BYTES = 4 << 20


def file_sha256(file: str | Path | BinaryIO) -> str:
    """The sha256 of a file's bytes as 64 hex digits, read in chunks."""
    if isinstance(file, str | Path):
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def source_id(sha256: str) -> str:
    """The id of a source, from the sha256 of its bytes."""
    return sha256[:ID_LENGTH]


def clip_id(source: str, span: Span) -> str:
    """The id of a clip: its source and its exact span in lowest terms.

    The span is named by instants, not by ticks, so that two time bases which describe the same
    stretch of time give the same clip.
    """
    start, end = span.start.seconds, span.end.seconds
    name = f"{source}:{start.numerator}/{start.denominator}:{end.numerator}/{end.denominator}"
    return hashlib.sha256(name.encode()).hexdigest()[:ID_LENGTH]


def settings_hash(settings: dict[str, Any], length: int = 12) -> str:
    """A short hash of plain settings, independent of key order."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
