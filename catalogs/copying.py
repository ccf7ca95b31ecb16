"""A copy of a catalog that holds only what may be passed on.

Rows of refused sources are left out of every table, and with them their clips' scores, captions,
signals, tokens, selections and verdicts. So are older versions, quarantined files, exported media,
and what tells about the machines: local folders, host names, arguments of runs. The copy keeps
the catalog's id and is made of few files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.chosen import public_uri
from catalogs.licence import Policy, Verdict, judge
from catalogs.query import Session
from catalogs.schema import Column, spec_of

__all__ = ["copy_permitted"]

PRIVATE_TABLES = ("commits", "quarantine")
_APPEND_BYTES = 64 << 20
_READ_ROWS = 2048
_ALL_CLIPS = (
    "select clip_id, source_id from clips_all union select clip_id, source_id from selections"
)
_SHOWN = {
    ("sources", "uri"): f"{public_uri()} as uri",
    ("runs", "hosts"): "null as hosts",
    ("runs", "settings"): "case when verb = 'select' then settings end as settings",
}


def judge_catalog(session: Session, policy: Policy) -> Verdict:
    """Judge every source of a catalog, with its clips of all cuttings."""
    session.prepare("clips_all selections sources")
    counts = (
        "select source_id, count(clip_id) as clips from (select source_id from sources) "
        f"full join ({_ALL_CLIPS}) using (source_id) group by 1"
    )
    return judge(session, counts, policy)


def copy_permitted(catalog: Catalog, folder: Path, policy: Policy) -> Catalog:
    """Write what a policy permits of this catalog version as a new catalog in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catalog.json").write_text(json.dumps(catalog.about, indent=2) + "\n")
    copy = Catalog.open(folder)
    with Session(catalog, cutting="-") as session:
        verdict = judge_catalog(session, policy)
        _register(session, verdict)
        with copy.transaction(f"copy of version {catalog.version}") as txn:
            txn.author = "clipmill"
            for table in catalog.tables():
                if table in PRIVATE_TABLES:
                    continue
                declared = _declared(catalog, table)
                for rows in _chunks(session.sql(_permitted(session, table)).batches(_READ_ROWS)):
                    txn.append(table, rows, declared)
    copy.compact(vacuum=True)
    shutil.rmtree(folder / ".staging", ignore_errors=True)
    for lock in folder.glob(".*.lock"):
        lock.unlink()
    return copy


def _register(session: Session, verdict: Verdict) -> None:
    allowed = pa.table({"source_id": pa.array(sorted(verdict.allowed_sources), pa.string())})
    session.keep("allowed_sources", allowed)
    session.connection.execute(
        "create view allowed_clips as "
        f"select clip_id from ({_ALL_CLIPS}) semi join allowed_sources using (source_id)"
    )


def _permitted(session: Session, table: str) -> str:
    """SQL of a table's permitted rows."""
    names = [column.name for column in session.catalog.columns(table)]
    shown = ", ".join(_SHOWN.get((table, name), f'"{name}"') for name in names)
    query = f"select {shown} from ({session.scan(table)}) rows"
    if "source_id" in names:
        return f"{query} semi join allowed_sources using (source_id)"
    if "clip_id" in names:
        return f"{query} semi join allowed_clips using (clip_id)"
    return query


def _declared(catalog: Catalog, table: str) -> list[Column]:
    fixed = {column.name for column in spec_of(table).columns}
    return [column for column in catalog.columns(table) if column.name not in fixed]


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches joined to tables of about `_APPEND_BYTES`."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= _APPEND_BYTES:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)
