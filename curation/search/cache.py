"""Indexes on disk, beside the catalog that they were built from.

An index is named by what it was built from: the table's data files, which are never changed, and
the settings. Whoever asks for other files finds no index, so an answer is never stale. Indexes hold
nothing that cannot be built again; the folder `.cache` of a catalog may be deleted at any time. A
catalog in an object store, or one that cannot be written to, has its cache in the user's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.ids import settings_hash

__all__ = ["Entry", "IndexCache"]

_DIGITS = 16


@dataclass(frozen=True)
class Entry:
    """A stored index: its description, its arrays and its clips. These are mapped, not read."""

    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    clips: pa.Table
    """clip_id, and what else is told of each."""

    @property
    def ids(self) -> pa.Array:
        return self.clips["clip_id"].combine_chunks()


class IndexCache:
    """The indexes of one catalog."""

    def __init__(self, catalog: Catalog):
        self._folders = list(_folders(catalog))

    def load(self, name: str, key: Mapping[str, Any]) -> Entry | None:
        """The index of this name that was built from exactly `key`."""
        for folder in self._folders:
            entry = folder / _entry_name(name, key)
            if (entry / "about.json").is_file():
                return _read(entry)
        return None

    def entries(self, name: str) -> Iterator[Entry]:
        """All indexes of this name."""
        for folder in self._folders:
            for about in sorted(folder.glob(f"{name}~*/about.json")):
                yield _read(about.parent)

    def save(
        self,
        name: str,
        key: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        clips: pa.Table,
        about: Mapping[str, Any],
    ) -> Entry:
        """Store an index in place of the older ones of its name."""
        folder = self._writable()
        target = folder / _entry_name(name, key)
        staged = folder / f"staged~{uuid.uuid4().hex}"
        staged.mkdir()
        for part, values in arrays.items():
            np.save(staged / f"{part}.npy", values)
        path = str(staged / "clips.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, clips.schema) as writer:
            writer.write_table(clips)
        (staged / "about.json").write_text(json.dumps({**about, "key": dict(key)}))
        with contextlib.suppress(OSError):  # somebody else stored the same meanwhile
            os.rename(staged, target)
        for other in [*folder.glob(f"{name}~*"), staged]:
            if other != target:
                shutil.rmtree(other, ignore_errors=True)
        return _read(target)

    def _writable(self) -> Path:
        for folder in self._folders[:-1]:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                if os.access(folder, os.W_OK):
                    return folder
        self._folders[-1].mkdir(parents=True, exist_ok=True)
        return self._folders[-1]


def _folders(catalog: Catalog) -> Iterator[Path]:
    """Where indexes may lie, the preferred place first."""
    if catalog.storage.is_local:
        yield Path(catalog.storage.root) / ".cache" / "search"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    yield home / "clipmill" / str(catalog.about["id"]) / "search"


def _entry_name(name: str, key: Mapping[str, Any]) -> str:
    return f"{name}~{settings_hash(dict(key), _DIGITS)}"


def _read(folder: Path) -> Entry:
    about = json.loads((folder / "about.json").read_text())
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    with pa.memory_map(str(folder / "clips.arrow")) as file:
        clips = pa.ipc.open_file(file).read_all()
    return Entry(about, arrays, clips)
