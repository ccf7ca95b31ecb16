"""The files of a published pipeline: which there are, which are read, which are refused.

`model_index.json` names the class of a pipeline and of each of its parts. Only classes that
diffusers and transformers bring themselves are built, and only safetensors are read as weights: a
repository with code of its own, or with pickles alone, is refused before anything big is fetched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.errors import NotFoundError, UnsafeFileError

__all__ = ["INDEX", "PipelineFiles", "find_pipeline", "parse_address"]

INDEX = "model_index.json"

_LIBRARIES = ("diffusers", "transformers")
_READ = (".json", ".safetensors", ".txt", ".model", ".jinja")
_UNSAFE = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
_UNUSED = "safety_checker"
"""A part of image pipelines that no video pipeline takes."""
_VARIANTS = (".fp16.", ".bf16.", ".non_ema.")
"""Copies of the weights that are not needed beside the plain ones."""


@dataclass(frozen=True)
class PipelineFiles:
    """A pipeline in a folder: the class that it names, and its parts by name."""

    folder: Path
    pipeline: str
    parts: Mapping[str, tuple[str, str]]
    """Library and class."""


def parse_address(address: str) -> tuple[str, str, str]:
    """Repository or folder, subfolder and revision; the last two may be empty."""
    if Path(address).is_dir():
        return address, "", ""
    rest, _, revision = address.partition("@")
    repo, _, subfolder = rest.partition(":")
    return repo, subfolder, revision


def find_pipeline(address: str) -> PipelineFiles | None:
    """The pipeline at an address, fetched if need be; None where there is another thing."""
    repo, subfolder, revision = parse_address(address)
    if subfolder:
        return None
    if Path(repo).is_dir():
        return _checked(Path(repo)) if (Path(repo) / INDEX).is_file() else None
    return _fetched(repo, revision or None)


def _fetched(repo: str, revision: str | None) -> PipelineFiles | None:
    """The files of a repository that are read, in the client's cache."""
    from huggingface_hub import (
        HfApi,
        hf_hub_download,
        snapshot_download,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from zoo.hub import explained

    where: dict[str, Any] = {"revision": revision, "endpoint": os.environ.get("HF_ENDPOINT")}
    with explained(f"fetching {repo}"):
        try:
            index = Path(hf_hub_download(repo, INDEX, **where))
        except LocalEntryNotFoundError:
            if isinstance(try_to_load_from_cache(repo, "config.json", revision=revision), str):
                return None  # offline, with a single network in the cache
            raise
        except EntryNotFoundError:
            return None
        parts = _parts(_read(index), repo)
        cached = all(any((index.parent / part).glob("*.json")) for part in parts)
        if not cached:
            files = HfApi(endpoint=where["endpoint"]).list_repo_files(repo, revision=revision)
            _check_weights(files, parts, repo)
        wanted = [f"{part}/*{suffix}" for part in parts for suffix in _READ]
        ignored = [f"*{mark}*" for mark in _VARIANTS]
        folder = snapshot_download(
            repo, allow_patterns=[INDEX, *wanted], ignore_patterns=ignored, **where
        )
    return _checked(Path(folder))


def _checked(folder: Path) -> PipelineFiles:
    """What a folder holds, if everything in it can be read safely."""
    known = _read(folder / INDEX)
    parts = _parts(known, str(folder))
    files = [str(path.relative_to(folder).as_posix()) for path in folder.glob("*/*")]
    _check_weights(files, parts, str(folder))
    return PipelineFiles(folder, str(known["_class_name"]), parts)


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UnsafeFileError(f"{path} is not JSON: {error}") from None
    if not isinstance(known, dict) or "_class_name" not in known:
        raise UnsafeFileError(f"{path} names no pipeline", allowed="what save_pretrained writes")
    return known


def _parts(known: Mapping[str, Any], where: str) -> dict[str, tuple[str, str]]:
    """The parts of an index, none of which needs code that the repository brings."""
    if not isinstance(known["_class_name"], str):
        raise UnsafeFileError(
            f"{where} is a pipeline with code of its own ({known['_class_name'][0]}.py), which "
            "would have to be run",
            allowed="pipelines whose class is in diffusers",
        )
    named = {
        name: tuple(value)
        for name, value in known.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2
    }
    parts = {name: pair for name, pair in named.items() if all(pair)}
    for name, (library, what) in parts.items():
        if library not in _LIBRARIES and name != _UNUSED:
            raise UnsafeFileError(
                f"{where} takes its {name} from {library}.{what}, code that diffusers does not "
                "bring",
                allowed=f"parts from {' and '.join(_LIBRARIES)}",
            )
    return {name: pair for name, pair in parts.items() if name != _UNUSED}


def _check_weights(files: Iterable[str], parts: Iterable[str], where: str) -> None:
    """Refuse a part whose weights are pickles alone."""
    held: dict[str, set[str]] = {part: set() for part in parts}
    for file in files:
        path = PurePosixPath(file)
        if len(path.parts) == 2 and path.parts[0] in held:
            held[path.parts[0]].add(path.suffix)
    for part, suffixes in held.items():
        if not suffixes:
            raise NotFoundError(
                f"{where} lacks its {part}", hint="fetch or save the whole pipeline again"
            )
        unsafe = sorted(suffixes.intersection(_UNSAFE))
        if unsafe and ".safetensors" not in suffixes:
            raise UnsafeFileError(
                f"{where} keeps the weights of its {part} in {unsafe[0]} files, which would have "
                "to run code to be read",
                allowed="safetensors",
                hint="ask its authors for safetensors, or convert them in a place you trust",
            )
