"""Where a catalog's bytes are: a local folder or an object-store prefix, behind one small door.

Local paths use the file system directly, so that publishing a file is an atomic rename. Object
stores (`s3://`, `gs://`, `az://`) go through `obstore`, configured by the usual environment
variables (`AWS_ENDPOINT_URL`, `AWS_REGION`, ...).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from catalogs.errors import NotFoundError, UsageError

__all__ = ["DAY_S", "SCHEMES", "Storage", "StoredFile", "local_copy"]

DAY_S = 86_400.0
SCHEMES = ("s3", "gs", "az")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below a storage root: its path relative to the root, size and age."""

    path: str
    bytes: int
    modified: float


class Storage:
    """Read, write, list and delete below one root."""

    def __init__(self, root: str | Path):
        text = str(root)
        scheme = re.match(r"([a-z0-9+]+)://", text)
        if scheme and scheme.group(1) not in SCHEMES:
            raise UsageError(
                f"{text!r} uses the scheme {scheme.group(1)!r}",
                allowed="a local folder, " + ", ".join(f"{name}://" for name in SCHEMES),
            )
        self.is_local = scheme is None
        self.root = str(Path(text).expanduser().absolute()) if self.is_local else text.rstrip("/")

    def __repr__(self) -> str:
        return f"Storage({self.root!r})"

    @cached_property
    def _store(self) -> Any:
        from obstore.store import from_url

        options: dict[str, Any] = {}
        if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            options["client_options"] = {"allow_http": True}
        return from_url(self.root, **options)

    def uri(self, path: str = "") -> str:
        """The full address of a path below the root."""
        return f"{self.root}/{path}" if path else self.root

    def read(self, path: str) -> bytes:
        try:
            if self.is_local:
                return Path(self.uri(path)).read_bytes()
            return bytes(self._store.get(path).bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.uri(path)} does not exist") from error

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file to a local path, in pieces."""
        if self.is_local:
            shutil.copyfile(self.uri(path), target)
            return
        with open(target, "wb") as file:
            for piece in self._store.get(path).stream():
                file.write(piece)

    def exists(self, path: str) -> bool:
        if self.is_local:
            return os.path.exists(self.uri(path))
        try:
            self._store.head(path)
        except FileNotFoundError:
            return False
        return True

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that must not exist yet; False when somebody else was first."""
        if self.is_local:
            staged = self._staged()
            staged.write_bytes(data)
            target = Path(self.uri(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(staged, target)
            except FileExistsError:
                return False
            finally:
                staged.unlink()
            return True
        from obstore.exceptions import AlreadyExistsError

        try:
            self._store.put(path, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Write a file in one step, over an older one if there is one."""
        if self.is_local:
            staged = self._staged()
            staged.write_bytes(data)
            self._rename(staged, path)
        else:
            self._store.put(path, data)

    def publish(self, staged: Path, path: str) -> None:
        """Make a finished local file visible at `path`; `staged` is gone afterwards."""
        if self.is_local:
            self._rename(staged, path)
        else:
            self._store.put(path, staged)
            staged.unlink()

    def _rename(self, staged: Path, path: str) -> None:
        target = Path(self.uri(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, target)

    def staging_file(self, suffix: str) -> Path:
        """A private local path to write to before `publish`."""
        return self._staged(suffix)

    def _staged(self, suffix: str = "") -> Path:
        folder = self._staging_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{_private_name()}{suffix}"

    def spill_folder(self) -> Path:
        """A private local folder, not made yet, for what a query cannot hold in memory."""
        return _local_scratch() / _private_name()

    def _staging_folder(self) -> Path:
        if self.is_local:
            return Path(self.root) / ".staging"
        return _local_scratch()

    def sweep_staging(self) -> int:
        """Delete what dead processes left in the staging folder; returns how many files."""
        folders = {self._staging_folder(), _local_scratch()}
        leftovers = [file for folder in folders for file in folder.glob("*~*~*")]
        leftovers = [file for file in leftovers if _is_orphan(file)]
        for file in leftovers:
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)
        return len(leftovers)

    def delete(self, path: str) -> None:
        if self.is_local:
            Path(self.uri(path)).unlink(missing_ok=True)
        else:
            self._store.delete(path)

    def walk(self, prefix: str) -> Iterator[StoredFile]:
        """All files below a folder, sorted by path."""
        if self.is_local:
            base = Path(self.root)
            for file in sorted((base / prefix).rglob("*")):
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    if file.is_file():
                        yield StoredFile(
                            file.relative_to(base).as_posix(), stat.st_size, stat.st_mtime
                        )
            return
        found = [entry for batch in self._store.list(prefix) for entry in batch]
        for entry in sorted(found, key=lambda entry: entry["path"]):
            yield StoredFile(entry["path"], entry["size"], entry["last_modified"].timestamp())

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below `prefix`, sorted."""
        if self.is_local:
            base = Path(self.uri(prefix))
            return (
                sorted(entry.name for entry in base.iterdir() if entry.is_dir())
                if (base.is_dir())
                else []
            )
        listing = self._store.list_with_delimiter(prefix or None)
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in listing["common_prefixes"])

    @contextlib.contextmanager
    def queue(self, name: str) -> Iterator[None]:
        """Wait in line behind other local writers.

        Commits are safe without it (they compare and swap); the lock spares losers the retry. It
        dies with its process. Object stores have no such lock and rely on retries alone.
        """
        if not self.is_local:
            yield
            return
        Path(self.root).mkdir(parents=True, exist_ok=True)
        with open(Path(self.root) / f".{name}.lock", "a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _local_scratch() -> Path:
    return Path(tempfile.gettempdir()) / f"clipmill-{os.getuid()}"


def _private_name() -> str:
    """A name nobody else uses, from which `_is_orphan` reads whose it is."""
    return f"{_process_space()}~{os.getpid()}~{uuid.uuid4().hex}"


@lru_cache(maxsize=1)
def _process_space() -> str:
    """Where a process id means something: the host and, in a container, its own numbering."""
    try:
        numbering = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        numbering = 0
    return f"{socket.gethostname()}-{numbering}"


def _is_orphan(staged: Path) -> bool:
    """Whether the process that staged a file is gone; elsewhere that is assumed after a day."""
    space, pid, _ = staged.name.split("~", 2)
    if space != _process_space():
        with contextlib.suppress(FileNotFoundError):
            return time.time() - staged.stat().st_mtime > DAY_S
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@contextlib.contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A file by its address as a local one; from an object store it is fetched meanwhile."""
    if uri.partition("://")[0] not in SCHEMES:
        yield Path(uri)
        return
    prefix, _, name = uri.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="clipmill-") as folder:
        path = Path(folder) / name
        Storage(prefix).fetch(name, path)
        yield path
