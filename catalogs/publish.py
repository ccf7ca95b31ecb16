"""To the Hugging Face Hub, with what licences permit.

    publish(catalog, "me/web-clips", selection="web")     # a dataset
    publish(catalog, "me/corpus")                         # the catalog itself

What is published is first written to a folder of its own, with what the licences permit and a
manifest of every file's sha256, and then uploaded. An interrupted publication goes on where it
stopped when the same call is made again: the folder is still there, and the Hub keeps the files
that it has. The manifest is uploaded last, so a repository without one, or with one that does not
fit, is not complete, and `catalogs.fetch.pull` says so instead of handing out half a dataset.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from catalogs.catalog import Catalog
from catalogs.chosen import choose
from catalogs.copying import copy_permitted, judge_catalog
from catalogs.errors import UsageError
from catalogs.export import export_dataset, write_rebuild
from catalogs.hub import REPO_TYPE, explained, hub_api, remote_file
from catalogs.ids import settings_hash
from catalogs.leaks import Leaks, OnLeaks, find_leaks
from catalogs.licence import Policy, Use, Verdict
from catalogs.query import Session
from catalogs.schema import FAMILIES, TABLES
from catalogs.shards import MANIFEST, staged_folder, write_manifest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Publication", "publish"]

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
    leaks: OnLeaks = "error",
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
        leaks: what to do when clips in different splits show the same: raise `LeakError`, or
            publish them and name them in the manifest.
        replace: overwrite a repository that holds something else.
        endpoint: the Hub's address, else `HF_ENDPOINT`, else huggingface.co.
        staging: where to write before uploading; `~/.cache/clipmill/publish` by default.
    """
    uses: tuple[Use, ...] = ("redistribute", "commercial") if commercial else ("redistribute",)
    policy = Policy.of(*uses, acknowledged=acknowledge)
    verdict, found = _judged(catalog, selection, where, policy)
    if refused == "error":
        verdict.raise_if_refused(f"cannot publish {repo_id}")
    if leaks == "error":
        found.raise_if_any(f"cannot publish {repo_id}")
    api = hub_api(endpoint)
    with explained(f"publishing {repo_id}"):
        is_private = _claim(api, repo_id, str(catalog.about["id"]), private, replace)
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
                leaks="allow",
                about=title,
                overwrite=True,
            )
        else:
            _stage_catalog(catalog, folder, policy, title, with_recipe=refused == "recipe")
    with explained(f"publishing {repo_id}"):
        revision = _upload(api, repo_id, folder)
    shutil.rmtree(folder)
    url = f"{api.endpoint}/datasets/{repo_id}"
    return Publication(repo_id, url, revision, is_private, verdict)


def _judged(
    catalog: Catalog, selection: str | None, where: str | None, policy: Policy
) -> tuple[Verdict, Leaks]:
    """What licences and splits say; a whole catalog has no splits."""
    if selection or where:
        with choose(catalog, selection=selection, where=where, policy=policy) as chosen:
            return chosen.verdict, find_leaks(chosen)
    with Session(catalog, cutting="-") as session:
        return judge_catalog(session, policy), Leaks(searched=True)


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


def _claim(api: HfApi, repo_id: str, catalog_id: str, private: bool, replace: bool) -> bool:
    """Make the repository, or see that we may write to the one there; returns if it is private."""
    api.create_repo(repo_id, repo_type=REPO_TYPE, private=private, exist_ok=True)
    info = api.dataset_info(repo_id)
    if private and not info.private:
        raise UsageError(
            f"{repo_id} exists and is public",
            hint="choose another name, or publish openly with private=False",
        )
    present = {item.rfilename for item in info.siblings or ()} - {".gitattributes"}
    owner = catalog_id if replace or not present else _owner(api, repo_id)
    if owner != catalog_id:
        raise UsageError(
            f"{repo_id} holds " + (f"catalog {owner}" if owner else "something else"),
            hint="choose another name, or overwrite it with replace=True",
        )
    return bool(info.private)


def _owner(api: HfApi, repo_id: str) -> str | None:
    """The id of the catalog that a repository was published from, as far as it can be told.

    A publication that was interrupted has a card, but no manifest yet.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(remote_file(api, repo_id, MANIFEST) or b"")["catalog_id"])
    card = (remote_file(api, repo_id, "README.md") or b"").decode("utf-8", "replace")
    found = re.search(r"^- catalog `(\w+)`", card, re.MULTILINE)
    return found[1] if found and _CARD_TAG.search(card) else None


def _upload(api: HfApi, repo_id: str, folder: Path) -> str:
    """Upload a sealed folder, its manifest last; returns the final commit.

    While files change, the repository has no manifest.
    """
    sealed = remote_file(api, repo_id, MANIFEST) == (folder / MANIFEST).read_bytes()
    ours = [*(f"{name}/*" for name in _OURS), *_OUR_FILES, *([] if sealed else [MANIFEST])]
    api.upload_folder(
        repo_id=repo_id,
        repo_type=REPO_TYPE,
        folder_path=folder,
        ignore_patterns=[MANIFEST],
        delete_patterns=ours,
        commit_message="Publish with clipmill",
    )
    commit = api.upload_file(
        path_or_fileobj=folder / MANIFEST,
        path_in_repo=MANIFEST,
        repo_id=repo_id,
        repo_type=REPO_TYPE,
        commit_message="Seal the publication",
    )
    return str(commit.oid)
