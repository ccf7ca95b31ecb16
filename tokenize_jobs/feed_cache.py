"""Shards of distant catalogs on this machine's disk, within a bound.

Several processes may share the folder. A file appears under its final name once it is whole; who
needs one that another process is fetching waits for it. When the bound is reached, the files that
were not used for longest go. A file that is still mapped somewhere lives on until it is let go.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from catalogs.errors import FormatError, UsageError

__all__ = ["DEFAULT_BYTES", "ShardCache", "ShardSource", "default_folder"]

DEFAULT_BYTES = 20 << 30
_LOCKS = 16
_TRIES = 5


class ShardSource(Protocol):
    """Somewhere that shards can be fetched from; it is pickled to workers."""

    @property
    def name(self) -> str:
        """What tells this source from every other."""

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file to a local path."""


def default_folder() -> Path:
    """Where shards are kept unless somebody says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return Path(base) / "clipmill" / "shards"


@dataclass(frozen=True, slots=True)
class ShardCache:
    """A folder that never holds more than `limit_bytes`, and the source that fills it."""

    source: ShardSource
    folder: Path
    limit_bytes: int = DEFAULT_BYTES

    @contextlib.contextmanager
    def open(self, path: str, size: int) -> Iterator[BinaryIO]:
        """The file of this size at a path of the source, fetched if it is not here."""
        if size > self.limit_bytes:
            raise UsageError(
                f"shard {path} has {size:,} bytes, more than the cache may hold",
                allowed=f"shards of up to {self.limit_bytes:,} bytes",
                hint="raise cache_bytes",
            )
        with self._opened(path, size) as file:
            yield file

    def _opened(self, path: str, size: int) -> BinaryIO:
        key = hashlib.sha256(f"{self.source.name}\n{path}".encode()).hexdigest()
        target = self.folder / f"{key[:32]}.parquet"
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                file = open(target, "rb")  # noqa: SIM115 - the caller closes it
                os.utime(target)
                return file
            with self._locked(f"{int(key[:8], 16) % _LOCKS:02d}"):
                if not target.exists():
                    self._fetch(path, target, size)
        raise UsageError(
            f"shard {path} was evicted {_TRIES} times before it could be read",
            hint="raise cache_bytes: several processes want more shards at once than it holds",
        )

    def _fetch(self, path: str, target: Path, size: int) -> None:
        part = target.with_suffix(".part")
        self._make_room(size)
        self.source.fetch(path, part)
        found = part.stat().st_size
        if found != size:
            part.unlink()
            raise FormatError(
                f"{self.source.name}/{path} has {found:,} bytes, the catalog says {size:,}",
                hint="the catalog's files were changed: open it anew",
            )
        os.replace(part, target)

    def _make_room(self, size: int) -> None:
        """Delete what was used longest ago until `size` more bytes fit."""
        with self._locked("room"):
            files = []
            for entry in os.scandir(self.folder):
                if entry.name.endswith((".parquet", ".part")):
                    with contextlib.suppress(FileNotFoundError):
                        stat = entry.stat()
                        files.append((stat.st_mtime_ns, stat.st_size, entry.path))
            held = sum(file[1] for file in files)
            for _, bytes_here, name in sorted(files):
                if held + size <= self.limit_bytes:
                    break
                Path(name).unlink(missing_ok=True)
                held -= bytes_here

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with open(self.folder / f".{name}.lock", "a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
