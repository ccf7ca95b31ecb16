"""What to curate: folders, files, globs, lists, tables of URIs, object-store prefixes.

An input is an address and what came with it (collection, licence, free-form metadata). Whether the
bytes are new is decided later, by their hash.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from catalogs.errors import NotFoundError, UsageError
from catalogs.storage import SCHEMES, Storage

__all__ = ["MEDIA_SUFFIXES", "Input", "find_inputs"]

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
        ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv",
    }
)  # fmt: skip
MOCAP_SUFFIXES = frozenset({".amc", ".bvh", ".c3d", ".npy", ".npz", ".txt"})
MEDIA_SUFFIXES = VIDEO_SUFFIXES | MOCAP_SUFFIXES
LIST_SUFFIXES = frozenset({".list", ".lst"})

_TABLE_COLUMNS = ("collection", "license", "license_terms")


@dataclass(frozen=True, slots=True)
class Input:
    """An address to read and what is known about it beforehand."""

    uri: str
    collection: str | None = None
    license: str | None = None
    license_terms: Mapping[str, str] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        return self.uri.partition("://")[0] in SCHEMES

    @property
    def suffix(self) -> str:
        return Path(self.uri).suffix.lower()


def find_inputs(
    paths: Sequence[str | Path],
    *,
    collection: str | None = None,
    license: str | None = None,  # noqa: A002 - the word users know
) -> list[Input]:
    """All inputs below `paths`, each address once, in a stable order.

    Args:
        paths: folders (searched to any depth by suffix), files, globs, `.list` files with one
            address a line, Parquet tables with a column `uri`, `s3://` or `gs://` prefixes.
        collection: name given to all inputs that bring none of their own.
        license: likewise.
    """
    if not paths:
        raise UsageError("nothing to curate was given", allowed="files, folders, globs or tables")
    found: dict[str, Input] = {}
    for path in paths:
        for item in _expand(str(path)):
            found.setdefault(
                item.uri,
                Input(
                    item.uri,
                    item.collection or collection,
                    item.license or license,
                    item.license_terms,
                    item.meta,
                ),
            )
    return [found[uri] for uri in sorted(found)]


def _expand(path: str) -> Iterator[Input]:
    if path.partition("://")[0] in SCHEMES:
        yield from _remote(path)
        return
    if "://" in path:
        raise UsageError(
            f"{path!r} has a scheme that cannot be read",
            allowed="local paths, " + ", ".join(f"{name}://" for name in SCHEMES),
        )
    local = Path(path).expanduser()
    if local.is_dir():
        yield from _folder(local)
    elif local.exists():
        yield from _file(local)
    elif glob.has_magic(path):
        matches = sorted(glob.glob(str(local), recursive=True))
        if not matches:
            raise NotFoundError(f"no file matches {path!r}")
        for match in matches:
            yield from _folder(Path(match)) if Path(match).is_dir() else _file(Path(match))
    else:
        raise NotFoundError(f"{path} does not exist", hint="give a file, folder, glob or table")


def _folder(folder: Path) -> Iterator[Input]:
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        suffix = file.suffix.lower()
        if hidden or suffix not in MEDIA_SUFFIXES or file.is_dir():
            continue
        if suffix != ".txt" or _holds_json(file):
            yield Input(os.path.abspath(file))


def _holds_json(file: Path) -> bool:
    """Whether a .txt file may be a take (DeepMimic's are JSON) and not a note or a list."""
    try:
        with file.open("rb") as stream:
            return stream.read(64).lstrip()[:1] == b"{"
    except OSError:
        return True


def _file(file: Path) -> Iterator[Input]:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        yield from _table(file)
    elif suffix in LIST_SUFFIXES:
        for line in file.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                yield from _expand(_relative_to(file, line.strip()))
    else:
        yield Input(os.path.abspath(file))


def _relative_to(listing: Path, address: str) -> str:
    return address if "://" in address else os.path.abspath(listing.parent / address)


def _table(file: Path) -> Iterator[Input]:
    table = pq.read_table(file)
    if "uri" not in table.column_names:
        raise UsageError(
            f"{file} has no column 'uri'",
            allowed="uri, and optionally collection, license, license_terms; the rest is metadata",
        )
    for row in table.to_pylist():
        known = {name: row[name] for name in _TABLE_COLUMNS if row.get(name) is not None}
        meta = {
            name: value
            for name, value in row.items()
            if name not in {"uri", *_TABLE_COLUMNS} and value is not None
        }
        yield Input(_relative_to(file, row["uri"]), **known, meta=json.loads(_json(meta)))


def _remote(prefix: str) -> Iterator[Input]:
    if Path(prefix).suffix.lower() in MEDIA_SUFFIXES:
        yield Input(prefix)
        return
    storage = Storage(prefix)
    for item in storage.walk(""):
        if Path(item.path).suffix.lower() in MEDIA_SUFFIXES:
            yield Input(storage.uri(item.path))


def _json(value: Any) -> str:
    return json.dumps(value, default=str, sort_keys=True)
