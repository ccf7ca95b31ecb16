"""How clips lie in a folder: one by one, or in tar shards.

A layout says which clips are made together, and puts what was made into its final place under a
name that depends on nothing but the clip or the number of the shard.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from curation.export.journal import Entry, Journal
from curation.export.made import Made
from curation.export.plan import Unit, by_source, in_shards
from curation.export.rows import Rows, best_caption, plain_row
from curation.export.settings import MediaSettings
from curation.export.spans import ClipSpan
from curation.export.workshop import Workshop

__all__ = ["Folder", "Layout", "Shards", "main_file"]


class Layout(Protocol):
    """Where things go."""

    media: str
    """Folder of the media below the export's root."""
    rows: str
    """Folder of the rows below the export's root."""

    def units(self, clips: Mapping[str, Sequence[ClipSpan]]) -> list[Unit]:
        """What is made together, in order."""

    def keys(self, unit: Unit) -> list[str]:
        """The journal's keys of a unit."""

    def run(self, unit: Unit, journal: Journal, workshop: Workshop, rows: Rows) -> None:
        """Make what is not finished of a unit."""

    def file_name(self, unit: Unit, made: Made) -> str:
        """Where to find a clip, relative to the root."""


def main_file(made: Made) -> str:
    """What stands for a clip: its video, its arrays, or the folder of its pictures."""
    if made.how == "frames":
        return made.clip_id
    return next(name for name in made.files if name.endswith((".mp4", ".npz")))


class Folder:
    """`clips/<two digits>/<clip>.mp4`: every clip for itself."""

    media = "clips"
    rows = "data"

    def units(self, clips: Mapping[str, Sequence[ClipSpan]]) -> list[Unit]:
        return by_source(clip for split in clips.values() for clip in split)

    def keys(self, unit: Unit) -> list[str]:
        return [clip.clip_id for clip in unit.clips]

    def file_name(self, unit: Unit, made: Made) -> str:
        return f"{self._inside(made.clip_id)}/{main_file(made)}"

    def run(self, unit: Unit, journal: Journal, workshop: Workshop, rows: Rows) -> None:
        for clip in unit.clips:
            if journal.finished(clip.clip_id, [clip.clip_id]):
                continue
            made = workshop.make(clip)
            if isinstance(made, Made):
                journal.add(self._placed(made, journal.folder, workshop.folder))
            else:
                journal.add(Entry(clip.clip_id, (), (), (made,)))

    def _inside(self, clip_id: str) -> str:
        return f"{self.media}/{clip_id[:2]}"

    def _placed(self, made: Made, folder: Path, work: Path) -> Entry:
        inside = self._inside(made.clip_id)
        (folder / inside).mkdir(parents=True, exist_ok=True)
        for name in dict.fromkeys(name.partition("/")[0] for name in made.files):
            place = folder / inside / name
            if place.is_dir():
                shutil.rmtree(place)
            os.replace(work / name, place)
        paths = [f"{inside}/{name}" for name in made.files]
        return Entry.of(folder, made.clip_id, paths, [made])


class Shards:
    """`shards/<split>-000000.tar` for WebDataset: each sample is media, `.json` and `.txt`."""

    media = "shards"
    rows = "data"

    def __init__(self, settings: MediaSettings):
        self._settings = settings

    def units(self, clips: Mapping[str, Sequence[ClipSpan]]) -> list[Unit]:
        samples, size = self._settings.shard_samples, self._settings.shard_bytes
        return [
            unit
            for split, spans in clips.items()
            for unit in in_shards(split, spans, samples, size)
        ]

    def keys(self, unit: Unit) -> list[str]:
        return [f"{self.media}/{unit.split}-{unit.number:06d}.tar"]

    def file_name(self, unit: Unit, made: Made) -> str:
        return self.keys(unit)[0]

    def run(self, unit: Unit, journal: Journal, workshop: Workshop, rows: Rows) -> None:
        (key,) = self.keys(unit)
        if journal.finished(key, [clip.clip_id for clip in unit.clips]):
            return
        made, failures = workshop.make_all(unit.clips)
        staged = workshop.folder / "shard.tar"
        _write_tar(staged, workshop.folder, made, rows.of(unit))
        place = journal.folder / key
        place.parent.mkdir(exist_ok=True)
        os.replace(staged, place)
        journal.add(Entry.of(journal.folder, key, [key], made, failures))


def _write_tar(
    target: Path, work: Path, made: Sequence[Made], rows: Mapping[str, Mapping[str, Any]]
) -> None:
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for clip in made:
            for name, data in _members(work, clip, rows[clip.clip_id]):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _members(work: Path, made: Made, row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """One sample: everything up to the first dot of a name is the clip's id."""
    about = {**plain_row(row), "file": made.to_dict()}
    members = [(name.replace("/", "."), work / name) for name in made.files]
    for name, path in sorted(members):
        yield name, path.read_bytes()
    yield f"{made.clip_id}.json", json.dumps(about, ensure_ascii=False).encode()
    yield f"{made.clip_id}.txt", best_caption(row.get("captions")).encode()
