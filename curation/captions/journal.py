"""Answers that were paid for, on disk before anything else happens.

One line of JSON for each answer, under the hash of the request. It is written and synced before
the answer is used, so whatever ends the process, the next run finds it and does not ask again. The
file goes away once every caption is committed.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from catalogs.errors import ConflictError
from catalogs.storage import Storage

__all__ = ["AnswerJournal", "pending_folder"]


def pending_folder(storage: Storage, catalog_id: str) -> Path:
    """Beside the tables of a local catalog; of a remote one in the user's state folder."""
    if storage.is_local:
        return Path(storage.root) / "pending"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "clipmill" / catalog_id


class AnswerJournal:
    """A file of answers that one process at a time writes."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _locked(path)
        self._answers = self._load()

    def _load(self) -> dict[str, Mapping[str, Any]]:
        """Every whole line; a last line that was cut off is taken back."""
        self._file.seek(0)
        answers, whole = {}, 0
        for line in self._file:
            try:
                entry = json.loads(line)
            except ValueError:
                break
            answers[entry["key"]] = entry["answer"]
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(whole)
        return answers

    def get(self, key: str) -> Mapping[str, Any] | None:
        return self._answers.get(key)

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keep an answer for good."""
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._answers[key] = answer

    def close(self, *, done: bool = False) -> None:
        """Let go of the file; with `done` it is not needed any more."""
        if done:
            self._path.unlink(missing_ok=True)
        self._file.close()


def _locked(path: Path) -> BinaryIO:
    """The file at `path`, open and held by this process alone."""
    while True:
        file = open(path, "a+b")  # noqa: SIM115 - closed in close()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise ConflictError(
                "another run captions this catalog with the same captioner and prompt",
                hint="wait for it; two runs would pay for the same answers",
            ) from error
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()  # whoever held it has just removed it
