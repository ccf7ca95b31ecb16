"""Catalogs filled by hand: clips with given measurements, without any media.

catalog = record_clips(
    tmp_path / "corpus",
    [{"clip_id": "a", "duration_s": 4.0, "motion_px": 2.0}],
    {"motion": ["motion_px"]},
)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.catalog import Catalog
from catalogs.schema import TABLES, Column

__all__ = ["record_clips"]


def record_clips(
    path: str | Path | Catalog,
    clips: Sequence[Mapping[str, Any]] | pa.Table,
    operators: Mapping[str, Sequence[str]] | None = None,
    *,
    cutting: str = "cutting-1",
) -> Catalog:
    """Write clips, their sources and their scores in one commit; returns the catalog.

    A clip is a flat row of columns of `clips`, of `sources`, and of operators, as `operators` maps
    them. A clip without `source_id` is a source of its own. A clip whose first column of an
    operator is missing was not measured: it gets no row in that operator's table.
    """
    catalog = path if isinstance(path, Catalog) else Catalog.create(path, exist_ok=True)
    rows = clips if isinstance(clips, pa.Table) else _table(clips)
    for name, default in (
        ("source_id", rows["clip_id"]),
        ("cutting", pa.repeat(cutting, rows.num_rows)),
        ("kind", pa.repeat("video", rows.num_rows)),
    ):
        rows = _filled(rows, name, default)
    with catalog.transaction("record clips") as txn:
        txn.append("clips", _select(rows, TABLES["clips"].schema.names))
        txn.insert("sources", _select(rows, _SOURCE_NAMES))
        for operator, owned in (operators or {}).items():
            scores = _select(rows, ["clip_id", *owned])
            scores = scores.filter(pc.is_valid(scores.column(1)))
            if not scores.num_rows:
                continue
            version = pa.repeat(pa.scalar(1, pa.int32()), scores.num_rows)
            declared = [Column(name, scores[name].type, f"{operator}'s {name}") for name in owned]
            txn.append(f"scores/{operator}", scores.append_column("op_version", version), declared)
    return catalog


_SOURCE_NAMES = [
    name
    for name in TABLES["sources"].schema.names
    if name in {"source_id", "kind"} or name not in TABLES["clips"].schema.names
]


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Dicts as a table of every name that any of them has."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _filled(rows: pa.Table, name: str, default: pa.Array | pa.ChunkedArray) -> pa.Table:
    """`rows` with `default` where a column is missing or NULL."""
    if name not in rows.column_names:
        return rows.append_column(name, default)
    values = pc.coalesce(rows[name].cast(pa.string()), default)
    return rows.set_column(rows.column_names.index(name), name, values)


def _select(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    return rows.select([name for name in names if name in rows.column_names])
