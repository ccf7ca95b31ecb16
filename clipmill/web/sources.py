"""The files that clips are of: reached by the catalog's record alone, and checked against it.

No path ever comes from a client. A file counts as the source when it has the size that was recorded
and, where reading it all is cheap or it was written to since it was measured, the very bytes. What
was found is remembered for as long as the file's size and times stay as they are.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalogs.errors import NotFoundError
from catalogs.ids import file_sha256
from catalogs.query import Session
from catalogs.storage import SCHEMES, Storage
from curation.media.errors import MediaError

__all__ = ["FoundClip", "SourceFiles", "find_clip"]

HASHED_BYTES = 256 << 20
"""Files up to this size are read and compared in full before they are first used."""

MOST_BYTES = 4 << 30
"""A larger source of an object store is not fetched for a look."""

FETCHED = 4
"""Sources of object stores that are kept here at a time."""


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A clip's row of `clips_all`, and its source's row of `sources`."""

    clip: Mapping[str, Any]
    source: Mapping[str, Any]


def find_clip(session: Session, clip_id: str) -> FoundClip:
    """The records of a clip of any cutting, given by its whole id."""
    clips = session.sql(
        "select * from clips_all where clip_id = ? order by created desc limit 1", [clip_id]
    ).dicts()
    if not clips:
        raise NotFoundError(f"the catalog has no clip {clip_id}")
    source_id = clips[0]["source_id"]
    sources = session.sql("select * from sources where source_id = ?", [source_id]).dicts()
    if not sources:
        raise NotFoundError(f"the catalog has no source {source_id}, which clip {clip_id} is of")
    return FoundClip(clips[0], sources[0])


class SourceFiles:
    """Local files of sources. `folder` takes those that are fetched from object stores."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._checked: dict[str, tuple[int, ...]] = {}
        self._fetched: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, source: Mapping[str, Any]) -> Path:
        """A source's file, given its row of `sources`; raises `MediaError` if it is not there."""
        uri = str(source["uri"] or "")
        path = self._fetch(source, uri) if uri.partition("://")[0] in SCHEMES else Path(uri)
        try:
            state = path.stat()
        except OSError as error:
            raise MediaError(
                "open", "missing", "the file is not where the catalog saw it last", source=uri
            ) from error
        if not stat.S_ISREG(state.st_mode):
            raise MediaError("open", "unreadable", "not a regular file", source=uri)
        self._check(source, path, state)
        return path

    def _check(self, source: Mapping[str, Any], path: Path, state: os.stat_result) -> None:
        key, uri = str(source["source_id"]), str(source["uri"])
        seen = (state.st_ino, state.st_size, state.st_mtime_ns)
        if self._checked.get(key) == seen:
            return
        if source["bytes"] is not None and state.st_size != source["bytes"]:
            raise MediaError(
                "open",
                "mismatch",
                f"the file has {state.st_size:,} bytes, the catalog knows {source['bytes']:,}: "
                "it is another file now",
                source=uri,
            )
        if self._is_doubtful(source, state) and file_sha256(path) != source["sha256"]:
            raise MediaError(
                "open",
                "mismatch",
                "the file has other bytes than the catalog knows: it is another file now",
                source=uri,
            )
        self._checked[key] = seen

    @staticmethod
    def _is_doubtful(source: Mapping[str, Any], state: os.stat_result) -> bool:
        """Whether the bytes have to be compared."""
        created = source["created"]
        untouched = created is not None and state.st_mtime <= created.timestamp()
        return state.st_size <= HASHED_BYTES or not untouched

    def _fetch(self, source: Mapping[str, Any], uri: str) -> Path:
        key = str(source["source_id"])
        if (source["bytes"] or 0) > MOST_BYTES:
            raise MediaError(
                "open",
                "unreadable",
                f"it has {source['bytes']:,} bytes; the viewer fetches {MOST_BYTES:,} at most",
                source=uri,
            )
        with self._lock:
            if key not in self._fetched:
                prefix, _, name = uri.rpartition("/")
                path = self._folder / f"source-{key}"
                Storage(prefix).fetch(name, path)
                self._fetched[key] = path
                while len(self._fetched) > FETCHED:
                    self._fetched.popitem(last=False)[1].unlink(missing_ok=True)
            self._fetched.move_to_end(key)
            return self._fetched[key]
