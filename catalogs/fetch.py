"""From the Hugging Face Hub: published datasets and catalogs, verified file by file.

    pull("me/corpus", "corpus").catalog()

Files are gathered in a folder beside the target, which stays when a call is interrupted, so that
the next call goes on there. The target appears once every file has the sha256 that the
publication's manifest promises.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from catalogs.catalog import Catalog
from catalogs.errors import FormatError, NotFoundError
from catalogs.hub import REPO_TYPE, explained, hub_api
from catalogs.shards import (
    MANIFEST,
    check_absent,
    partial_folder,
    publish_folder,
    read_manifest,
    verify_files,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Pulled", "pull"]


@dataclass(frozen=True)
class Pulled:
    """What was fetched: a dataset's folder or a catalog, verified."""

    path: Path
    kind: Literal["dataset", "catalog"]
    revision: str
    files: int
    bytes: int

    def catalog(self) -> Catalog:
        """The fetched catalog, opened."""
        return Catalog.open(self.path)


def pull(
    repo_id: str,
    to: str | Path,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
) -> Pulled:
    """Fetch a published dataset or catalog to the folder `to` and verify every file.

    An interrupted call goes on where it stopped when it is made again. The folder appears once
    all is there and each file has the sha256 that its manifest promises.
    """
    target = Path(to).expanduser().absolute()
    check_absent(target)
    partial = partial_folder(target)
    api = hub_api(endpoint)
    with explained(f"pulling {repo_id}"):
        commit = str(api.dataset_info(repo_id, revision=revision).sha)
        manifest = _fetch_manifest(api, repo_id, commit, partial)
        api.snapshot_download(
            repo_id,
            repo_type=REPO_TYPE,
            revision=commit,
            local_dir=partial,
            cache_dir=partial / ".cache" / "hub",
            allow_patterns=[glob.escape(item["path"]) for item in manifest["files"]],
        )
    _verify(partial, manifest, repo_id)
    _prune(partial, manifest)
    publish_folder(partial, target)
    if manifest["kind"] == "catalog":
        Catalog.open(target)
    size = sum(item["bytes"] for item in manifest["files"])
    return Pulled(target, manifest["kind"], commit, len(manifest["files"]), size)


def _fetch_manifest(api: HfApi, repo_id: str, commit: str, folder: Path) -> dict[str, Any]:
    from huggingface_hub.errors import EntryNotFoundError

    try:
        api.hf_hub_download(
            repo_id,
            MANIFEST,
            repo_type=REPO_TYPE,
            revision=commit,
            local_dir=folder,
            cache_dir=folder / ".cache" / "hub",
        )
    except EntryNotFoundError as error:
        raise NotFoundError(
            f"{repo_id} has no {MANIFEST}: clipmill did not publish it, or has not finished",
            hint="run the publication again, or fetch it with `hf download`",
        ) from error
    return read_manifest(folder)


def _verify(folder: Path, manifest: Mapping[str, Any], repo_id: str) -> None:
    problems = verify_files(folder, manifest)
    if not problems:
        return
    for path in problems:
        (folder / path).unlink(missing_ok=True)
    listed = "; ".join(f"{path} {problem}" for path, problem in list(problems.items())[:5])
    raise FormatError(
        f"{repo_id} is not what its manifest promises: {listed}",
        hint="it may be about to be republished: pull again, and only the bad files are fetched",
    )


def _prune(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Delete what the manifest does not name, such as the downloader's notes."""
    kept = {MANIFEST, *(item["path"] for item in manifest["files"])}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in kept:
            path.unlink()
