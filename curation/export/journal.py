"""What is finished in a folder: the memory that lets an interrupted export go on.

`files.jsonl` begins with what the export is of; every line after that is one finished piece: its
files with size and sha256, the clips in it, and those that failed. A line is written when the
files are in place, so a kill loses at most the pieces that were being made. A piece counts as
finished when its files still have the recorded bytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalogs.errors import UsageError
from catalogs.ids import file_sha256
from catalogs.shards import check_absent
from curation.export.made import Failure, Made

__all__ = ["JOURNAL", "Entry", "Journal", "open_journal"]

JOURNAL = "files.jsonl"
WORK = ".work"


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished piece: a clip, or a shard of clips."""

    key: str
    files: tuple[Mapping[str, Any], ...]
    made: tuple[Made, ...]
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of(
        cls,
        folder: Path,
        key: str,
        paths: Iterable[str],
        made: Iterable[Made],
        failures: Iterable[Failure] = (),
    ) -> Entry:
        """An entry about files that are in place, relative to `folder`."""
        files = [
            {
                "path": path,
                "bytes": (folder / path).stat().st_size,
                "sha256": file_sha256(folder / path),
            }
            for path in paths
        ]
        return cls(key, tuple(files), tuple(made), tuple(failures))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Entry:
        return cls(
            plain["key"],
            tuple(plain["files"]),
            tuple(Made.from_dict(made) for made in plain["clips"]),
            tuple(Failure(**failure) for failure in plain["failures"]),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "files": list(self.files),
            "clips": [made.to_dict() for made in self.made],
            "failures": [failure.to_dict() for failure in self.failures],
        }


class Journal:
    """The record of one folder; `add` may be called by several threads."""

    def __init__(self, folder: Path, about: Mapping[str, Any], entries: Iterable[Entry]):
        self.folder = folder
        self.work = folder / WORK
        """Where files are made; empty when nothing is being made."""
        self._about = dict(about)
        self._entries = {entry.key: entry for entry in entries}
        self._lock = threading.Lock()

    def finished(self, key: str, clip_ids: Sequence[str]) -> bool:
        """Whether a piece with exactly these clips lies there undamaged and complete."""
        entry = self._entries.get(key)
        if entry is None or entry.failures or [m.clip_id for m in entry.made] != list(clip_ids):
            return False
        for item in entry.files:
            file = self.folder / item["path"]
            if not file.is_file() or file.stat().st_size != item["bytes"]:
                return False
            if file_sha256(file) != item["sha256"]:
                return False
        return True

    def add(self, entry: Entry) -> None:
        line = json.dumps(entry.to_dict()) + "\n"
        with self._lock, (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(line)
            self._entries[entry.key] = entry

    def __getitem__(self, key: str) -> Entry:
        return self._entries[key]

    def write(self, keys: Iterable[str] | None = None) -> None:
        """Write the record anew, without torn lines; with `keys`, these entries in this order."""
        if keys is not None:
            self._entries = {key: self._entries[key] for key in keys}
        plain = [self._about, *(entry.to_dict() for entry in self._entries.values())]
        staged = self.folder / f"{JOURNAL}.part"
        staged.write_text("".join(json.dumps(line) + "\n" for line in plain), encoding="utf-8")
        os.replace(staged, self.folder / JOURNAL)


@contextmanager
def open_journal(folder: Path, about: Mapping[str, Any], overwrite: bool) -> Iterator[Journal]:
    """The record of `folder`, begun if there is none, locked against another export."""
    known = None if overwrite else _read(folder)
    if known is None:
        check_absent(folder, overwrite)
    elif known[0] != json.loads(json.dumps(about)):
        changed = sorted(name for name in about if about[name] != known[0].get(name))
        raise UsageError(
            f"{folder} holds another export (different: {', '.join(changed)})",
            hint="choose another folder, or overwrite=True",
        )
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        journal = Journal(folder, about, known[1] if known else ())
        if known is None:
            _empty(folder)
        journal.write()
        shutil.rmtree(journal.work, ignore_errors=True)
        journal.work.mkdir()
        yield journal
    finally:
        shutil.rmtree(folder / WORK, ignore_errors=True)
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"another export is writing to {folder}", hint="wait for it, or choose another folder"
        ) from error


def _read(folder: Path) -> tuple[dict[str, Any], list[Entry]] | None:
    """What the record says; a last line that a kill cut short is not part of it."""
    try:
        lines = (folder / JOURNAL).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    plain = []
    for line in lines:
        try:
            plain.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    if not plain:
        return None
    return plain[0], [Entry.from_dict(item) for item in plain[1:]]


def _empty(folder: Path) -> None:
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
