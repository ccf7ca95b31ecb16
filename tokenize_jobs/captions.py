"""Captions of clips as tokens, as far as the catalog lacks them.

    report = tokenize_captions(catalog, "bytes", selection="web", kind="brief")

A row belongs to a clip and to the text of one of its captions, by the hash of the text: a caption
that was changed has no tokens and is encoded alone by the next run, and several captions of the
same words share a row. `TokenFeed(..., text=TABLE)` finds rows the same way, so that tokens of
texts that are gone are never given out.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, TextIO

from catalogs.catalog import Catalog
from catalogs.chosen import choose
from catalogs.errors import NotFoundError
from catalogs.query import Session, sql_text
from catalogs.schema import view_name
from catalogs.timebase import Span
from curation.jobs.uninterrupted import uninterrupted
from tokenize_jobs.shards import ShardWriter, TokenTable, Window
from tokenize_jobs.text_encoders import TEXT_HASH, TextEncoder, text_encoder

__all__ = ["TextReport", "tokenize_captions"]

COMMIT_EVERY_S = 10.0
COMMIT_BYTES = 64 << 20
_AT_ONCE = 1000

Row = dict[str, Any]


@dataclass(slots=True)
class TextReport:
    """What a run did."""

    table: str
    status: str = "failed"
    missing: int = 0
    """Texts without tokens when the run began."""
    present: int = 0
    texts: int = 0
    tokens: int = 0
    bytes: int = 0
    wall_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The closing summary."""
        yield f"{self.texts} texts encoded into {self.table}, {self.present} were there"
        if self.texts:
            rate = self.texts / max(self.wall_s, 1e-6)
            yield f"{self.tokens:,} tokens, {self.bytes:,} bytes, {rate:,.0f} texts/s"
        if self.status != "done":
            yield f"the run was {self.status}; run it again to go on from here"


def tokenize_captions(
    catalog: str | Catalog,
    encoder: str | TextEncoder,
    *,
    selection: str | None = None,
    where: str | None = None,
    kind: str | None = None,
    dry_run: bool = False,
    progress: TextIO | None = None,
) -> TextReport:
    """Encode the captions of the chosen clips.

    Args:
        catalog: that holds the captions and takes the tokens.
        encoder: as `text_encoder` takes it.
        selection: name or id of a selection; `where` is a condition on clips instead.
        where: see `selection`; without both, every clip of the newest cutting is taken.
        kind: of captions, such as `brief`; all kinds if None.
        dry_run: only count.
        progress: where progress is shown, None for silence.
    """
    cat = catalog if isinstance(catalog, Catalog) else Catalog.open(catalog)
    made = text_encoder(encoder) if isinstance(encoder, str) else encoder
    report = TextReport(made.table.name)
    began, started = datetime.now(UTC), time.monotonic()
    run = uuid.uuid4().hex
    with choose(cat, selection=selection, where=where) as chosen:
        _list_missing(chosen.session, made.table, kind)
        counts = "select count(*) filter (missing), count(*) filter (not missing) from __texts"
        report.missing, report.present = chosen.session.sql(counts).rows()[0]
        if not report.missing + report.present:
            raise NotFoundError(
                f"the chosen clips have no captions{f' of kind {kind!r}' if kind else ''}",
                hint="clipmill caption CATALOG writes them",
            )
        if dry_run or not report.missing:
            report.status = "planned" if dry_run else "done"
            return report
        try:
            _encode(cat, made, _missing(chosen.session), report, run, progress)
            report.status = "done"
        except KeyboardInterrupt:
            report.status = "interrupted"
        finally:
            report.wall_s = time.monotonic() - started
            asked = {"encoder": made.name, "selection": selection, "where": where, "kind": kind}
            with uninterrupted():
                cat.append("runs", [_run_row(report, run, began, asked, made)])
    return report


def _list_missing(session: Session, table: TokenTable, kind: str | None) -> None:
    """A relation `__texts`: each distinct text of each chosen clip, and whether it is missing."""
    if "captions" not in session.catalog.tables():
        raise NotFoundError("there are no captions", hint="clipmill caption CATALOG writes them")
    present = "select '' as clip_id, '' as transform_hash"
    if table.name in session.catalog.tables():
        present = f'select clip_id, transform_hash from "{view_name(table.name)}"'
    of_kind = f"and t.kind = {sql_text(kind)}" if kind else ""
    query = (
        "select t.*, p.clip_id is null as missing from ("
        f"select distinct t.clip_id, t.text, {TEXT_HASH.format('t.text')} as text_hash "
        "from captions t semi join chosen k on k.clip_id = t.clip_id "
        f"where t.text is not null {of_kind}) t "
        f"left join ({present}) p on p.clip_id = t.clip_id and p.transform_hash = t.text_hash"
    )
    session.sql(query)  # makes the views that it names
    session.connection.execute(f"create temp table __texts as {query}")


def _missing(session: Session) -> Iterator[Row]:
    """Texts without tokens, in a fixed order, with their clips' time."""
    rows = session.sql(
        "select t.text, t.text_hash, c.clip_id, coalesce(c.start_pts, 0) as start_pts, "
        "coalesce(c.end_pts, 1) as end_pts, coalesce(c.time_base_num, 1) as time_base_num, "
        "coalesce(c.time_base_den, 1) as time_base_den from __texts t "
        "join clips c on c.clip_id = t.clip_id where t.missing order by c.clip_id, t.text_hash"
    ).arrow()
    for batch in rows.to_batches(max_chunksize=_AT_ONCE):
        yield from batch.to_pylist()


def _encode(
    catalog: Catalog,
    encoder: TextEncoder,
    rows: Iterator[Row],
    report: TextReport,
    run: str,
    progress: TextIO | None,
) -> None:
    writer = ShardWriter(encoder.table, run_id=run)
    since, committed = catalog.version, time.monotonic()
    try:
        for row in rows:
            array = encoder.encode(row["text"])
            before = writer.bytes
            writer.add(_window(row), {encoder.stream.name: array})
            report.texts += 1
            report.tokens += len(array)
            report.bytes += writer.bytes - before
            due = time.monotonic() - committed >= COMMIT_EVERY_S
            if due or writer.bytes >= COMMIT_BYTES:
                _commit(catalog, writer, since)
                committed = time.monotonic()
                if progress:
                    print(f"captions {report.texts}/{report.missing}", file=progress, flush=True)
    finally:
        with uninterrupted():
            _commit(catalog, writer, since)


def _window(row: Row) -> Window:
    """A text stands for its whole clip; no frame of it was looked at."""
    base = Fraction(row["time_base_num"], row["time_base_den"])
    span = Span(row["start_pts"], row["end_pts"], base)
    return Window(row["clip_id"], 0, span, 0, 0.0, row["text_hash"])


def _commit(catalog: Catalog, writer: ShardWriter, since: int) -> None:
    if len(writer):
        with catalog.transaction(f"tokenize: {len(writer)} texts") as txn:
            writer.finish().insert(txn, since=since)


def _run_row(
    report: TextReport, run: str, began: datetime, asked: Row, encoder: TextEncoder
) -> Row:
    counts = {"texts": report.texts, "present": report.present, "tokens": report.tokens}
    return {
        "run_id": run,
        "verb": "tokenize",
        "status": report.status,
        "started": began,
        "finished": datetime.now(UTC),
        "settings": json.dumps(asked, sort_keys=True),
        "versions": json.dumps(dict(encoder.versions), sort_keys=True),
        "counts": json.dumps(counts, sort_keys=True),
    }
