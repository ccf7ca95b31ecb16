"""Folders that appear whole or not at all, their shards, and the manifest that seals them.

A folder is written beside its final place and renamed once its manifest, which names every file
with its size and sha256, is inside. Shards are few and large, and the same rows in the same order
give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from catalogs.errors import FormatError, NotFoundError, UsageError
from catalogs.ids import file_sha256
from catalogs.schema import Column

__all__ = [
    "MANIFEST",
    "SHARD_BYTES",
    "partial_folder",
    "read_manifest",
    "staged_folder",
    "verify_files",
    "write_csv",
    "write_manifest",
    "write_parquet",
]

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
SHARD_BYTES = 512 << 20
GROUP_ROWS = 65_536


def partial_folder(target: Path) -> Path:
    """Where a folder is kept while it is not complete."""
    return target.with_name(f".{target.name}.partial")


def check_absent(target: Path, overwrite: bool = False) -> None:
    """Refuse to write over something that is there already."""
    if target.exists() and not overwrite and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} already exists", hint="choose another path, or overwrite=True")


@contextlib.contextmanager
def staged_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A fresh folder to fill; it becomes `target` when the block ends without an error."""
    check_absent(target, overwrite)
    staged = partial_folder(target)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    publish_folder(staged, target)


def publish_folder(staged: Path, target: Path) -> None:
    """Move a complete folder to its place, over an older one if there is one."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(staged, target)
    shutil.rmtree(old, ignore_errors=True)


def write_parquet(
    folder: Path,
    stem: str,
    batches: Iterable[pa.RecordBatch],
    *,
    columns: Iterable[Column] = (),
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write `<stem>-00000-of-0000N.parquet`; returns the number of rows.

    The units and meanings of `columns` are stored with the columns of these names.
    """
    parts: list[Path] = []
    rows = 0
    writer: pq.ParquetWriter | None = None
    sink: Any = None
    for group in _groups(batches, columns):
        if writer is None:
            parts.append(folder / f"{stem}.part{len(parts)}")
            parts[-1].parent.mkdir(parents=True, exist_ok=True)
            sink = pa.OSFile(str(parts[-1]), "wb")
            writer = pq.ParquetWriter(sink, group.schema, compression="zstd")
        writer.write_table(group)
        rows += group.num_rows
        if sink.tell() >= shard_bytes:
            writer, sink = _closed(writer, sink)
    if writer is not None:
        _closed(writer, sink)
    name = PurePosixPath(stem).name
    for number, part in enumerate(parts):
        part.rename(part.with_name(f"{name}-{number:05d}-of-{len(parts):05d}.parquet"))
    return rows


def _closed(writer: pq.ParquetWriter, sink: Any) -> tuple[None, None]:
    writer.close()
    sink.close()
    return None, None


def _groups(batches: Iterable[pa.RecordBatch], columns: Iterable[Column]) -> Iterator[pa.Table]:
    """Tables of `GROUP_ROWS` rows, so that row groups do not depend on how rows arrive."""
    notes = {column.name: column.field().metadata for column in columns}
    held: list[pa.Table] = []
    rows = 0
    for batch in batches:
        fields = [f.with_metadata(notes.get(f.name)) for f in batch.schema]
        held.append(pa.Table.from_batches([batch]).cast(pa.schema(fields)))
        rows += batch.num_rows
        while rows >= GROUP_ROWS:
            joined = pa.concat_tables(held)
            yield joined.slice(0, GROUP_ROWS).combine_chunks()
            held = [joined.slice(GROUP_ROWS)]
            rows -= GROUP_ROWS
    if rows:
        yield pa.concat_tables(held).combine_chunks()


def write_csv(folder: Path, stem: str, batches: Iterable[pa.RecordBatch]) -> int:
    """Write `<stem>.csv`; returns the number of rows."""
    path = folder / f"{stem}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    writer: pacsv.CSVWriter | None = None
    for group in _groups(batches, ()):
        writer = writer or pacsv.CSVWriter(str(path), group.schema)
        writer.write_table(group)
        rows += group.num_rows
    if writer is not None:
        writer.close()
    return rows


def write_manifest(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Seal a folder: describe it and list every file below it with size and sha256."""
    files = [
        {
            "path": file.relative_to(folder).as_posix(),
            "bytes": file.stat().st_size,
            "sha256": file_sha256(file),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]
    manifest = {"manifest_version": MANIFEST_VERSION, **about, "files": files}
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, refused when its version or a path in it is not understood."""
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFoundError(
            f"{folder} has no {MANIFEST}", hint="it was not written by clipmill, or not completely"
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = int(manifest["manifest_version"])
        paths = [PurePosixPath(item["path"]) for item in manifest["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is damaged: {error!r}") from error
    if version > MANIFEST_VERSION:
        raise FormatError(
            f"{path} has version {version}, this clipmill reads up to {MANIFEST_VERSION}",
            hint="pip install --upgrade clipmill",
        )
    for item in paths:
        if item.is_absolute() or ".." in item.parts or "\\" in str(item):
            raise FormatError(f"{path} names a file outside of its folder: {str(item)!r}")
    return manifest


def verify_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the files that a manifest names, by path; empty when all is well."""
    problems = {}
    for item in manifest["files"]:
        file = folder / item["path"]
        if not file.is_file():
            problems[item["path"]] = "is missing"
        elif file.stat().st_size != item["bytes"]:
            problems[item["path"]] = f"has {file.stat().st_size} bytes, not {item['bytes']}"
        elif file_sha256(file) != item["sha256"]:
            problems[item["path"]] = "does not have the promised sha256"
    return problems
