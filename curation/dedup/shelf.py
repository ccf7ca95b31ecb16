"""Sorted anchors of sources that were searched, kept in files for those that come later.

To compare a thousand new sources with a million old ones, all anchors of the old would have to be
sorted, or looked at. Instead they are sorted once, when they are new, and stay beside the catalog:
each search adds a shelf of its own, and small shelves are put together now and then, as no shelf
may be smaller than twice the next. What is here can be made again from `anchors`, and is when a
catalog comes without it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.catalog import Catalog
from catalogs.ids import settings_hash
from curation.dedup.candidates import sorted_sets
from curation.dedup.index import Asked, Kept, Known
from curation.dedup.sequences import Anchors

__all__ = ["Shelf", "Shelves"]

_LAYOUT = 2
"""Version of what lies on a shelf: what another one wrote is not opened, but sorted anew."""
_ABOUT, _IDS = "about.json", "ids.npy"


@dataclass(frozen=True)
class Shelf:
    """Sorted anchors of the sources of some runs."""

    folder: Path
    runs: frozenset[str]
    sources: int

    @classmethod
    def open(cls, folder: Path) -> Shelf:
        about = json.loads((folder / _ABOUT).read_text())
        return cls(folder, frozenset(about["runs"]), about["sources"])

    @cached_property
    def ids(self) -> NDArray[np.bytes_]:
        """Ids of the sources, by position."""
        return np.load(self.folder / _IDS, mmap_mode="r" if self.sources else None)

    @cached_property
    def sets(self) -> Mapping[str, Known]:
        return {path.name: Kept.open(path) for path in self.folder.iterdir() if path.is_dir()}


class Shelves:
    """The shelves of one search of a catalog."""

    def __init__(self, catalog: Catalog, search: str, threads: int):
        self._folder = _place(catalog) / f"{search}.{_LAYOUT}"
        self._threads = threads

    def of(self, runs: Mapping[str, int]) -> list[Shelf]:
        """Shelves that hold runs of these, none of them twice, the largest first.

        Args:
            runs: how many sources each run has searched.
        """
        found = (Shelf.open(path.parent) for path in self._folder.glob(f"*/{_ABOUT}"))
        usable = [
            shelf
            for shelf in found
            if shelf.runs <= runs.keys() and shelf.sources == sum(runs[run] for run in shelf.runs)
        ]
        chosen: list[Shelf] = []
        for shelf in sorted(usable, key=lambda item: (-item.sources, item.folder.name)):
            if not any(shelf.runs & other.runs for other in chosen):
                chosen.append(shelf)
        return chosen

    def add(self, runs: Sequence[str], ids: Sequence[str], anchors: Anchors) -> Shelf:
        """Sort the anchors of sources that were searched in some runs."""
        return self._write(frozenset(runs), np.array(ids, np.bytes_), dict(sorted_sets(anchors)))

    def tidy(self, runs: Mapping[str, int]) -> None:
        """Put shelves together until each is at least twice as large as the next."""
        shelves = self.of(runs)
        while len(shelves) > 1 and shelves[-2].sources < 2 * shelves[-1].sources:
            small, large = shelves.pop(), shelves.pop()
            shelves.append(self._joined(large, small))
            for old in (small, large):
                shutil.rmtree(old.folder, ignore_errors=True)

    def _joined(self, one: Shelf, other: Shelf) -> Shelf:
        sets = {name: _joined(one.sets[name], other.sets[name], one.sources) for name in one.sets}
        ids = np.concatenate([one.ids, other.ids])
        return self._write(one.runs | other.runs, ids, sets)

    def _write(
        self, runs: frozenset[str], ids: NDArray[np.bytes_], sets: Mapping[str, Asked]
    ) -> Shelf:
        """A new shelf, which is there as a whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / settings_hash({"runs": sorted(runs)})
        staged = Path(tempfile.mkdtemp(prefix=".new-", dir=self._folder))
        try:
            np.save(staged / _IDS, ids)
            for name, asked in sets.items():
                Kept.write(staged / name, asked, self._threads)
            about = {"runs": sorted(runs), "sources": len(ids)}
            (staged / _ABOUT).write_text(json.dumps(about))
            with suppress(OSError):  # another process has made the same shelf
                os.rename(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return Shelf.open(target)


def _joined(one: Known, other: Known, first: int) -> Asked:
    """What two hold, in the view in which it was sorted; positions of the other begin later."""
    return Asked(
        np.concatenate([one.hashes, other.hashes]),
        np.concatenate([one.of, other.of + np.int32(first)]),
    )


def _place(catalog: Catalog) -> Path:
    """Below a local catalog, else among the user's caches."""
    if catalog.storage.is_local:
        return Path(catalog.storage.root) / ".cache" / "duplicates"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "clipmill" / "duplicates" / str(catalog.about["id"])
