"""The rows of a dataset beside its media: read for samples, and told where the files are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from catalogs.schema import Column
from curation.export.plan import Unit

__all__ = ["FILE_COLUMNS", "Rows", "best_caption", "name_files", "plain_row"]

FILE_COLUMNS = (
    Column("file_name", pa.string(), "the clip's file in this dataset, NULL where it failed"),
    Column("file_how", pa.string(), "copy, encode, frames or take: how the file was made"),
)

_CAPTION_KINDS = ("detailed", "brief", "motion", "label", "camera")


class Rows:
    """The rows of `data/<split>-*.parquet`, found by their place in the split."""

    def __init__(self, folder: Path):
        self._folder = folder

    def of(self, unit: Unit) -> dict[str, dict[str, Any]]:
        """The rows of a unit's clips, by clip id."""
        files = sorted(str(path) for path in self._folder.glob(f"{unit.split}-*-of-*.parquet"))
        places = list(range(unit.offset, unit.offset + len(unit.clips)))
        rows = ds.dataset(files).take(places).to_pylist()
        return {row["clip_id"]: row for row in rows}


def best_caption(captions: Sequence[Mapping[str, Any]] | None) -> str:
    """The caption that says most: detailed before brief, the whole clip before a part of it."""

    def rank(caption: Mapping[str, Any]) -> tuple[int, float, int, str]:
        kind = caption["kind"]
        order = _CAPTION_KINDS.index(kind) if kind in _CAPTION_KINDS else len(_CAPTION_KINDS)
        length = (caption["end_s"] or math.inf) - (caption["start_s"] or 0.0)
        return order, -length, -len(caption["text"]), caption["text"]

    return str(min(captions, key=rank)["text"]) if captions else ""


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that JSON can hold."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return plain_row(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else value


def name_files(folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    """Add the columns `file_name` and `file_how` to the Parquet files of a folder."""
    fields = [column.field() for column in FILE_COLUMNS]
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path)
        ids = table.column("clip_id").to_pylist()
        for place, field in enumerate(fields):
            values = [files[clip_id][place] if clip_id in files else None for clip_id in ids]
            table = table.add_column(1 + place, field, pa.array(values, field.type))
        pq.write_table(table, path, compression="zstd")
