"""The clips that somebody asked for, ready to be read in a fixed order.

A selection by name or a `where` over the view `clips` becomes one locked session with a relation
`chosen` (clip, source, split) and one `permitted`, which lacks the clips that a licence policy
refuses. Exports, cards and publications all read through it, so none of them can forget to ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UsageError
from catalogs.ledger import Selection, find_selection, ledger_files
from catalogs.licence import Policy, Verdict, judge
from catalogs.query import (
    Result,
    Session,
    source_column,
    sql_text,
    wide_clips,
    wide_columns,
)
from catalogs.schema import TABLES, Column

__all__ = ["ORDER", "Chosen", "choose", "public_uri"]

DEFAULT_SPLIT = "train"
ORDER = "source_id, start_pts, clip_id"
_SPLIT_ORDER = ("train", "val", "validation", "test")
_HIDDEN = {"created", "run_id", "cutting"}


@dataclass(frozen=True)
class Chosen:
    """Chosen clips, judged. `selection` is None for a `where` or a whole catalog."""

    catalog: Catalog
    session: Session
    verdict: Verdict
    selection: Selection | None
    where: str | None

    def splits(self) -> list[str]:
        """Splits that have permitted clips: train, val and test first."""
        found = [row[0] for row in self.sql("select distinct split from permitted").rows()]
        return sorted(found, key=lambda s: (_rank(s), s))

    def columns(self) -> list[Column]:
        """The columns of the view `clips` that make sense outside of the catalog."""
        known = {column.name: column for column in TABLES["clips"].columns}
        for column in TABLES["sources"].columns:
            name = source_column(column.name)
            known.setdefault(name, replace(column, name=name))
        for name, (table, stored) in self.session.operators.items():
            known[name] = replace(self.catalog.spec(table).column(stored), name=name)
        return [known[name] for name in wide_columns(self.session) if name not in _HIDDEN]

    def sql(self, query: str) -> Result:
        """Ask with `chosen` and `permitted` beside the catalog's views."""
        return self.session.sql(query)


def _rank(split: str) -> int:
    return _SPLIT_ORDER.index(split) if split in _SPLIT_ORDER else len(_SPLIT_ORDER)


@contextmanager
def choose(
    catalog: Catalog,
    *,
    selection: str | None = None,
    where: str | None = None,
    policy: Policy | None = None,
    cutting: str | None = None,
    memory: str | None = None,
) -> Iterator[Chosen]:
    """Choose clips by a selection's name or id, by a condition, or all of the newest cutting."""
    if selection and where:
        raise UsageError("both a selection and a condition were given", allowed="one of the two")
    found = find_selection(catalog, selection) if selection else None
    with Session(catalog, cutting=found.cutting if found else cutting, memory=memory) as session:
        query = _selected(session, found) if found else _where(session, where)
        session.connection.execute(f"create view chosen as {query}")
        counts = "select source_id, count() as clips from chosen group by 1"
        verdict = judge(session, counts, policy or Policy())
        refused = pa.table({"source_id": pa.array(verdict.reasons, pa.string())})
        session.keep("refused_sources", refused)
        session.connection.execute(
            "create view permitted as "
            "select * from chosen anti join refused_sources using (source_id)"
        )
        yield Chosen(catalog, session, verdict, found, where)


def _selected(session: Session, selection: Selection) -> str:
    files = ledger_files(session.catalog, "selections", selection.selection_id)
    return (
        f"select clip_id, source_id, coalesce(split, '{DEFAULT_SPLIT}') as split "
        f"from ({session.scan('selections', files)}) "
        f"where selection_id = {sql_text(selection.selection_id)}"
    )


def _where(session: Session, where: str | None) -> str:
    """The condition on a wide view of its own: `clips` is made anew for every query."""
    condition = where or "true"
    session.sql(f"select clip_id from clips where ({condition})")
    words = set(re.findall(r"[a-z_][a-z0-9_]*", condition.lower()))
    clips = wide_clips(session, None if '"' in condition else words)
    return (
        f"select clip_id, source_id, '{DEFAULT_SPLIT}' as split "
        f"from ({clips}) clips where ({condition})"
    )


def public_uri(column: str = "uri") -> str:
    """SQL for an address that may be shown: no local folders, no credentials.

    A local path shrinks to its file name; a link loses its user and a query that signs it.
    """
    signed = "(?i)[?#].*(x-amz-|x-goog-|signature|sig=|token|expires).*$"
    return (
        f"case when regexp_matches({column}, '^[a-z0-9+]+://') and {column} not like 'file:%' "
        f"then regexp_replace(regexp_replace({column}, '{signed}', ''), '://[^/@]*@', '://') "
        f"else regexp_extract({column}, '[^/\\\\]*$') end"
    )
