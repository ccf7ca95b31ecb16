"""Distant catalogs for a feed: object stores, and repositories of the Hugging Face Hub.

    feed = TokenFeed("hf://datasets/me/corpus", "vq", ...)
    feed = TokenFeed(Catalog.open("s3://bucket/corpus"), "vq", ...)

A catalog on an object store is read where it is. Of one on the Hub everything but token shards and
media is fetched to the cache once for each revision, and opened there; shards follow one by one
while an epoch needs them.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.catalog import Catalog
from catalogs.errors import NotFoundError, UsageError
from catalogs.hub import REPO_TYPE, explained, hub_api
from catalogs.storage import Storage

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["HubRepo", "ObjectStore", "open_hub", "read_columns"]

_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@(.+))?")
_FETCHED_LATER = ("tokens/*.parquet", "media/*")
_LOG = "*/_delta_log/*"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Shards of a catalog in an object store."""

    root: str

    @property
    def name(self) -> str:
        return self.root

    def fetch(self, path: str, target: Path) -> None:
        Storage(self.root).fetch(path, target)


@dataclass(frozen=True, slots=True)
class HubRepo:
    """Shards of a catalog in a repository of the Hub, at one commit."""

    repo_id: str
    revision: str
    endpoint: str | None = None

    @property
    def name(self) -> str:
        return f"hf://datasets/{self.repo_id}@{self.revision}"

    @property
    def _api(self) -> HfApi:
        return hub_api(self.endpoint)

    def fetch(self, path: str, target: Path) -> None:
        """Into a folder beside the target, where an interrupted fetch goes on, and then there."""
        folder = target.with_suffix(".hub")
        with explained(f"fetching {path} of {self.repo_id}"):
            file = self._api.hf_hub_download(
                self.repo_id,
                path,
                repo_type=REPO_TYPE,
                revision=self.revision,
                local_dir=folder,
                cache_dir=folder / ".cache",
            )
        os.replace(file, target)
        shutil.rmtree(folder)

    def fetch_all_but_shards(self, folder: Path) -> None:
        """Everything that a catalog needs to be opened and asked."""
        with explained(f"fetching the catalog {self.repo_id}"):
            names = self._api.list_repo_files(
                self.repo_id, repo_type=REPO_TYPE, revision=self.revision
            )
            wanted = [name for name in names if not _comes_later(name)]
            if "catalog.json" not in wanted:
                raise NotFoundError(
                    f"{self.repo_id} holds no catalog",
                    hint="publish one with: clipmill publish CATALOG REPO",
                )
            self._api.snapshot_download(
                self.repo_id,
                repo_type=REPO_TYPE,
                revision=self.revision,
                local_dir=folder,
                cache_dir=folder / ".cache" / "hub",
                allow_patterns=[glob.escape(name) for name in wanted],
            )

    def open_file(self, path: str) -> Any:
        """A file to read parts of, without fetching the rest."""
        from huggingface_hub import HfFileSystem

        files = HfFileSystem(endpoint=self._api.endpoint, token=self._api.token)
        return files.open(f"datasets/{self.repo_id}@{self.revision}/{path}", block_size=1 << 20)


def _comes_later(name: str) -> bool:
    later = any(fnmatch.fnmatchcase(name, pattern) for pattern in _FETCHED_LATER)
    return later and not fnmatch.fnmatchcase(name, _LOG)


def open_hub(address: str, cache: Path, endpoint: str | None = None) -> tuple[Catalog, HubRepo]:
    """A catalog on the Hub without its shards, and where these come from."""
    match = _HUB.fullmatch(address)
    if match is None:
        raise UsageError(
            f"{address!r} is not an address of the Hub",
            allowed="hf://datasets/OWNER/NAME or hf://datasets/OWNER/NAME@REVISION",
        )
    repo_id, revision = match[1], match[2]
    with explained(f"looking for {repo_id}"):
        commit = str(hub_api(endpoint).dataset_info(repo_id, revision=revision).sha)
    repo = HubRepo(repo_id, commit, endpoint)
    folder = cache / "catalogs" / f"{repo_id.replace('/', '--')}@{commit}"
    repo.fetch_all_but_shards(folder)
    return Catalog.open(folder), repo


def read_columns(file: Any, columns: list[str]) -> pa.Table:
    """Some columns of a distant shard, and the number of each row."""
    with pq.ParquetFile(file, pre_buffer=False) as parquet:
        rows = parquet.read(columns, use_threads=False)
    return rows.append_column("file_row_number", pa.array(range(rows.num_rows), pa.int64()))
