"""Where clips are made: sources found and checked, each clip behind the guard."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from catalogs.errors import ClipmillError
from catalogs.ids import file_sha256
from catalogs.storage import SCHEMES, Storage
from curation.export.made import Failure, Made
from curation.export.make import make_clip
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan
from curation.media.errors import MediaError
from curation.media.guard import run_guarded

__all__ = ["Workshop"]


class Workshop:
    """Makes the clips of one unit, one after another, in a folder of its own."""

    def __init__(self, folder: Path, settings: MediaSettings, verified: set[str]):
        self.folder = folder
        self._settings = settings
        self._verified = verified
        """Sources whose bytes were compared with the catalog; shared by all workshops."""
        self._fetched: tuple[str, Path] | None = None

    def __enter__(self) -> Workshop:
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_all(self, clips: Iterable[ClipSpan]) -> tuple[list[Made], list[Failure]]:
        """What could be made, and what could not."""
        done = [self.make(clip) for clip in clips]
        made = [item for item in done if isinstance(item, Made)]
        return made, [item for item in done if isinstance(item, Failure)]

    def make(self, clip: ClipSpan) -> Made | Failure:
        """The files of one clip, in this folder."""
        try:
            path = self._source(clip)
            try:
                return self._guarded(path, clip, self._settings)
            except MediaError as error:
                if error.stage != "guard" or not self._settings.may_copy:
                    raise
                return self._guarded(path, clip, replace(self._settings, copy=False))
        except ClipmillError as error:
            stage, name = "export", type(error).__name__.removesuffix("Error").lower()
            detail = error.problem
            if isinstance(error, MediaError):
                stage, name, detail = error.stage, error.error_class, error.detail
            return Failure(clip.clip_id, clip.source_id, stage, name, detail)

    def _guarded(self, path: Path, clip: ClipSpan, settings: MediaSettings) -> Made:
        return run_guarded(
            make_clip,
            str(path),
            clip,
            str(self.folder),
            settings,
            wall_s=settings.wall_s,
            memory_mb=settings.memory_mb,
        )

    def _source(self, clip: ClipSpan) -> Path:
        """The source as a local file that has the bytes that the catalog knows."""
        path = self._local(clip)
        if not path.is_file():
            raise MediaError("open", "missing", "the file is not where the catalog saw it last")
        if clip.sha256 and clip.source_id not in self._verified:
            if file_sha256(path) != clip.sha256:
                raise MediaError(
                    "open", "mismatch", "the file has other bytes than the catalog knows"
                )
            self._verified.add(clip.source_id)
        return path

    def _local(self, clip: ClipSpan) -> Path:
        """One source from an object store is kept at a time: clips come ordered by source."""
        prefix, _, name = clip.uri.rpartition("/")
        if prefix.partition("://")[0] not in SCHEMES:
            return Path(clip.uri)
        if self._fetched is None or self._fetched[0] != clip.source_id:
            if self._fetched is not None:
                self._fetched[1].unlink()
            path = self.folder / f"source{Path(name).suffix}"
            Storage(prefix).fetch(name, path)
            self._fetched = clip.source_id, path
        return self._fetched[1]
