"""What changed in a table between two versions: rows gained, lost and changed, by key.

Versions share most of their files. Those are left out by name, and only the rest is read, so that
the difference of two neighbouring versions costs what the commit between them wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from catalogs.query import Session, sql_name

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["TableDiff", "diff_versions"]


@dataclass(frozen=True, slots=True)
class TableDiff:
    """The difference of one table between versions `a` and `b`.

    `gained` and `lost` are rows whose key only one version has. A key that both have with other
    values is in `changed` as it is in `b`, and in `before` as it was in `a`, in the same order.
    `columns` counts the changed rows by the column that changed.
    """

    table: str
    a: int
    b: int
    gained: pa.Table
    lost: pa.Table
    changed: pa.Table
    before: pa.Table
    columns: dict[str, int]

    @property
    def counts(self) -> dict[str, int]:
        return {
            "gained": self.gained.num_rows,
            "lost": self.lost.num_rows,
            "changed": self.changed.num_rows,
        }

    def __bool__(self) -> bool:
        return any(self.counts.values())


def diff_versions(catalog: Catalog, a: int, b: int, table: str = "clips") -> TableDiff:
    """Compare a table at catalog versions `a` and `b`."""
    old, new = catalog.at(a), catalog.at(b)
    columns = {column.name: column for column in (*new.columns(table), *old.columns(table))}
    key = new.spec(table).key
    with Session(new, cutting="-") as session:
        _load_differences(session, old, new, table, list(columns))
        on = ", ".join(map(sql_name, key))

        def ask(query: str) -> pa.Table:
            return session.connection.sql(f"{query} order by {on}").to_arrow_table()

        return TableDiff(
            table,
            a,
            b,
            gained=ask(f"from only_new anti join only_old using ({on})"),
            lost=ask(f"from only_old anti join only_new using ({on})"),
            changed=ask(f"from only_new semi join only_old using ({on})"),
            before=ask(f"from only_old semi join only_new using ({on})"),
            columns=_changed_columns(session, on, [name for name in columns if name not in key]),
        )


def _load_differences(
    session: Session, old: Catalog, new: Catalog, table: str, names: list[str]
) -> None:
    """Tables `only_old` and `only_new`: the rows that the other version lacks, with all columns."""
    shared = {item.path for item in old.files(table)} & {item.path for item in new.files(table)}
    run = session.connection.execute
    for side, catalog in (("old", old), ("new", new)):
        files = [item for item in catalog.files(table) if item.path not in shared]
        stored = {column.name for column in catalog.columns(table)}
        select = ", ".join(sql_name(n) if n in stored else f"null as {sql_name(n)}" for n in names)
        run(f"create temp table {side}_rows as select {select} from ({session.scan(table, files)})")
    run("create temp table only_old as from old_rows except all from new_rows")
    run("create temp table only_new as from new_rows except all from old_rows")


def _changed_columns(session: Session, on: str, names: list[str]) -> dict[str, int]:
    counts = ", ".join(
        f"count_if(n.{sql_name(name)} is distinct from o.{sql_name(name)})" for name in names
    )
    found = session.connection.execute(
        f"select {counts} from only_new n join only_old o using ({on})"
    ).fetchall()
    return {name: count for name, count in zip(names, found[0], strict=True) if count}
