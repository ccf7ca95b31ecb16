"""To the Hugging Face Hub and back.

    publish(catalog, "me/web-clips", selection="web")     # a dataset
    publish(catalog, "me/corpus")                         # the catalog itself
    pull("me/corpus", "corpus")

What is published is first written to a folder of its own, with what the licences permit and a
manifest of every file's sha256, and then uploaded. An interrupted publication goes on where it
stopped when the same call is made again: the folder is still there, and the Hub keeps the files
that it has. The manifest is uploaded last, so a repository without one, or with one that does not
fit, is not complete, and `pull` says so instead of handing out half a dataset.

The token comes from the environment or from `hf auth login`; it is neither read nor kept here.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from catalogs.catalog import Catalog
from catalogs.chosen import choose
from catalogs.copying import copy_permitted, judge_catalog
from catalogs.errors import ClipmillError, FormatError, NotFoundError, UsageError
from catalogs.export import export_dataset, write_rebuild
from catalogs.ids import settings_hash
from catalogs.licence import Policy, Use, Verdict
from catalogs.query import Session
from catalogs.schema import FAMILIES, TABLES
from catalogs.shards import (
    MANIFEST,
    check_absent,
    partial_folder,
    publish_folder,
    read_manifest,
    staged_folder,
    verify_files,
    write_manifest,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Publication", "Pulled", "publish", "pull"]

_KIND = "dataset"
"""The Hub's word for repositories of data, be it a dataset or a catalog."""

_OURS = ("data", "rebuild", "charts", *TABLES, *FAMILIES)
_OUR_FILES = ("catalog.json", "README.md", "DATASHEET.md")
_CARD_TAG = re.compile(r"^- clipmill$", re.MULTILINE)


@dataclass(frozen=True)
class Publication:
    """What was published, and what the licences kept out."""

    repo_id: str
    url: str
    revision: str
    private: bool
    verdict: Verdict


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


def publish(
    catalog: Catalog,
    repo_id: str,
    *,
    selection: str | None = None,
    where: str | None = None,
    private: bool = True,
    commercial: bool = False,
    acknowledge: Collection[str] = (),
    refused: Literal["error", "recipe", "drop"] = "error",
    columns: Sequence[str] | None = None,
    about: Mapping[str, str] | None = None,
    replace: bool = False,
    endpoint: str | None = None,
    staging: str | Path | None = None,
) -> Publication:
    """Publish chosen clips as a dataset, or the whole catalog when nothing is chosen.

    Args:
        repo_id: `user/name` on the Hub; made when it is not there.
        private: whether only you can see it. A public repository is never used as a private one.
        commercial: offer it for commercial use too, which refuses non-commercial sources.
        acknowledge: licences, collections or source ids whose unknown terms you answer for.
        refused: what to do when licences refuse some clips: raise `LicenceError`, publish a
            rebuild recipe for them, or drop them.
        replace: overwrite a repository that holds something else.
        endpoint: the Hub's address, else `HF_ENDPOINT`, else huggingface.co.
        staging: where to write before uploading; `~/.cache/clipmill/publish` by default.
    """
    uses: tuple[Use, ...] = ("redistribute", "commercial") if commercial else ("redistribute",)
    policy = Policy.of(*uses, acknowledged=acknowledge)
    verdict = _judged(catalog, selection, where, policy)
    if refused == "error":
        verdict.raise_if_refused(f"cannot publish {repo_id}")
    api = _api(endpoint)
    with _explained(f"publishing {repo_id}"):
        _claim(api, repo_id, str(catalog.about["id"]), private=private, replace=replace)
    plan = {
        "catalog": catalog.about["id"],
        "version": catalog.version,
        "repo": repo_id,
        "chosen": [selection, where],
        "policy": [sorted(policy.uses), sorted(policy.acknowledged)],
        "refused": refused,
        "columns": list(columns) if columns else None,
        "about": dict(about or {}),
    }
    folder = Path(staging or _staging_root()).expanduser().absolute() / settings_hash(plan, 24)
    if not (folder / MANIFEST).is_file():
        title = {"title": repo_id.split("/")[-1], **(about or {})}
        if selection or where:
            export_dataset(
                catalog,
                folder,
                selection=selection,
                where=where,
                columns=columns,
                uses=uses,
                acknowledge=acknowledge,
                refused=refused,
                about=title,
                overwrite=True,
            )
        else:
            _stage_catalog(catalog, folder, policy, title, with_recipe=refused == "recipe")
    with _explained(f"publishing {repo_id}"):
        revision = _upload(api, repo_id, folder)
    shutil.rmtree(folder)
    url = f"{api.endpoint}/datasets/{repo_id}"
    return Publication(repo_id, url, revision, private, verdict)


def _judged(catalog: Catalog, selection: str | None, where: str | None, policy: Policy) -> Verdict:
    if selection or where:
        with choose(catalog, selection=selection, where=where, policy=policy) as chosen:
            return chosen.verdict
    with Session(catalog, cutting="-") as session:
        return judge_catalog(session, policy)


def _staging_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "clipmill" / "publish"


def _stage_catalog(
    catalog: Catalog,
    target: Path,
    policy: Policy,
    about: Mapping[str, str],
    *,
    with_recipe: bool,
) -> None:
    """Write a permitted copy of the catalog with a card and a manifest."""
    from catalogs.card import write_card

    with staged_folder(target, overwrite=True) as folder:
        copy = copy_permitted(catalog, folder, policy)
        tables = [table for table in copy.tables() if copy.rows(table)]
        with choose(catalog, policy=policy) as whole:
            columns = whole.columns()
            write_card(
                folder, whole, title=about["title"], about=about, columns=columns, tables=tables
            )
            if with_recipe and whole.verdict.reasons:
                write_rebuild(folder, whole)
        write_manifest(
            folder,
            {
                "kind": "catalog",
                "catalog_id": catalog.about["id"],
                "catalog_version": catalog.version,
                "uses": sorted(policy.uses),
                "acknowledged": sorted(policy.acknowledged),
            },
        )


def _api(endpoint: str | None) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint or os.environ.get("HF_ENDPOINT"), library_name="clipmill")


def _claim(api: HfApi, repo_id: str, catalog_id: str, *, private: bool, replace: bool) -> None:
    """Make the repository, or see that the one that is there is ours to write to."""
    api.create_repo(repo_id, repo_type=_KIND, private=private, exist_ok=True)
    info = api.dataset_info(repo_id)
    if private and not info.private:
        raise UsageError(
            f"{repo_id} exists and is public",
            hint="choose another name, or publish openly with private=False",
        )
    present = {item.rfilename for item in info.siblings or ()} - {".gitattributes"}
    if not present or replace:
        return
    owner = _owner(api, repo_id)
    if owner != catalog_id:
        raise UsageError(
            f"{repo_id} holds " + (f"catalog {owner}" if owner else "something else"),
            hint="choose another name, or overwrite it with replace=True",
        )


def _owner(api: HfApi, repo_id: str) -> str | None:
    """The id of the catalog that a repository was published from, as far as it can be told.

    A publication that was interrupted has a card, but no manifest yet.
    """
    if (manifest := _remote_manifest(api, repo_id)) is not None:
        return str(json.loads(manifest).get("catalog_id"))
    card = (_remote_file(api, repo_id, "README.md") or b"").decode("utf-8", "replace")
    found = re.search(r"^- catalog `(\w+)`", card, re.MULTILINE)
    return found[1] if found and _CARD_TAG.search(card) else None


def _remote_manifest(api: HfApi, repo_id: str) -> bytes | None:
    return _remote_file(api, repo_id, MANIFEST)


def _remote_file(api: HfApi, repo_id: str, path: str) -> bytes | None:
    from huggingface_hub.errors import EntryNotFoundError

    with tempfile.TemporaryDirectory() as folder:
        try:
            file = api.hf_hub_download(
                repo_id, path, repo_type=_KIND, local_dir=folder, cache_dir=f"{folder}/.cache"
            )
        except EntryNotFoundError:
            return None
        return Path(file).read_bytes()


def _upload(api: HfApi, repo_id: str, folder: Path) -> str:
    """Upload a sealed folder, its manifest last; returns the final commit.

    While files change, the repository has no manifest.
    """
    sealed = _remote_manifest(api, repo_id) == (folder / MANIFEST).read_bytes()
    ours = [*(f"{name}/*" for name in _OURS), *_OUR_FILES, *([] if sealed else [MANIFEST])]
    api.upload_folder(
        repo_id=repo_id,
        repo_type=_KIND,
        folder_path=folder,
        ignore_patterns=[MANIFEST],
        delete_patterns=ours,
        commit_message="Publish with clipmill",
    )
    commit = api.upload_file(
        path_or_fileobj=folder / MANIFEST,
        path_in_repo=MANIFEST,
        repo_id=repo_id,
        repo_type=_KIND,
        commit_message="Seal the publication",
    )
    return str(commit.oid)


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
    api = _api(endpoint)
    with _explained(f"pulling {repo_id}"):
        commit = str(api.dataset_info(repo_id, revision=revision).sha)
        manifest = _fetch_manifest(api, repo_id, commit, partial)
        api.snapshot_download(
            repo_id,
            repo_type=_KIND,
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
            repo_type=_KIND,
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


@contextlib.contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Turn what the Hub's client raises into errors that say what to do next."""
    from huggingface_hub import errors

    try:
        yield
    except ClipmillError:
        raise
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
        status = _status(error)
        if status in (401, 403):
            hint = "log in with `hf auth login` or set HF_TOKEN, with write access to publish"
        elif status == 404:
            hint = "check the name; a private repository needs `hf auth login` or HF_TOKEN"
        else:
            hint = "run the same call again: what has arrived is not sent twice"
        raise ClipmillError(f"{doing} failed: {_words(error)}", hint=hint) from error


def _status(error: BaseException | None) -> int | None:
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None


def _words(error: BaseException) -> str:
    """What happened, without the query strings of signed links."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if error.__cause__ is not None and isinstance(error, RuntimeError):
        text += " " + _words(error.__cause__)
    return re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", text)
