"""What a Hub remembers: repositories, their commits and the large files they point to.

Kept apart from the HTTP of `catalogs.testing.hub`, so that each can be read on its own.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BlobStore", "Commit", "Entry", "Repo", "RepoError"]

LARGE_SUFFIXES = (
    *(".parquet", ".arrow", ".safetensors", ".bin", ".npz", ".pt", ".tar", ".zip"),
    *(".mp4", ".png", ".jpg", ".webp"),
)
LARGE_BYTES = 10 << 20


class RepoError(Exception):
    """A request that a Hub answers with an error: its HTTP status, error code and words."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a commit. `oid` is git's; `sha256` is set for large files only."""

    size: int
    oid: str
    sha256: str | None = None

    @property
    def identity(self) -> str:
        """What a client compares with its local file to see whether it changed."""
        return self.sha256 or self.oid

    def described(self, path: str) -> dict[str, Any]:
        """As tree listings show it."""
        about: dict[str, Any] = {"type": "file", "path": path, "size": self.size, "oid": self.oid}
        if self.sha256:
            about["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        return about


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a repository: every path with its file."""

    oid: str
    title: str
    files: Mapping[str, Entry]


class BlobStore:
    """Bytes by name (sha256 of large files, git id of small ones) in one folder."""

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self._folder / name

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        staged = self.path(f"{name}.{threading.get_ident()}.partial")
        staged.write_bytes(data)
        staged.replace(self.path(name))


@dataclass
class Repo:
    """A model or dataset repository with a single branch, `main`."""

    kind: str
    name: str
    private: bool
    store: BlobStore
    commits: list[Commit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._append("initial commit", {})

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        if revision == "main":
            return self.head
        for commit in self.commits:
            if commit.oid == revision:
                return commit
        raise RepoError(404, "RevisionNotFound", f"no revision {revision}")

    def entry(self, revision: str, path: str) -> tuple[Commit, Entry]:
        commit = self.at(revision)
        if path not in commit.files:
            raise RepoError(404, "EntryNotFound", f"no file {path}")
        return commit, commit.files[path]

    def preupload(self, files: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """How each file is to be sent, and what is there already."""
        answers = []
        for file in files:
            path = str(file["path"])
            large = path.endswith(LARGE_SUFFIXES) or int(file["size"]) > LARGE_BYTES
            known = self.head.files.get(path)
            answers.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": False,
                    "oid": known.identity if known else None,
                }
            )
        return answers

    def commit(self, lines: Iterable[Mapping[str, Any]]) -> Commit:
        """Apply the lines of a commit request; all of them or none."""
        files = dict(self.head.files)
        title = ""
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header":
                title = value["summary"]
                parent = value.get("parentCommit")
                if parent and not self.head.oid.startswith(parent):
                    raise RepoError(412, "ParentMismatch", "the branch moved on")
            elif key == "file":
                files[value["path"]] = self._small(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                files[value["path"]] = self._large(value["oid"])
            elif key == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise RepoError(
                        404, "EntryNotFound", f"A file with this name doesn't exist: {value}"
                    )
            elif key == "deletedFolder":
                below = value["path"].rstrip("/") + "/"
                files = {path: entry for path, entry in files.items() if not path.startswith(below)}
            else:
                raise RepoError(400, "BadRequest", f"unknown operation {key}")
        return self._append(title, files)

    def _small(self, content: bytes) -> Entry:
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.store.write(oid, content)
        return Entry(len(content), oid)

    def _large(self, sha256: str) -> Entry:
        if not self.store.has(sha256):
            raise RepoError(400, "MissingObject", f"object {sha256} was never uploaded")
        size = self.store.path(sha256).stat().st_size
        return Entry(size, hashlib.sha1(sha256.encode()).hexdigest(), sha256)

    def _append(self, title: str, files: Mapping[str, Entry]) -> Commit:
        lines = [f"{self.kind} {self.name} {len(self.commits)} {title}"]
        lines += [f"{path} {entry.oid}" for path, entry in sorted(files.items())]
        commit = Commit(hashlib.sha1("\n".join(lines).encode()).hexdigest(), title, files)
        self.commits.append(commit)
        return commit
