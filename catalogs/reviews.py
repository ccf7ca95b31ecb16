"""Labels that a reviewer stored in the catalog: an operator's table for each person.

    store_label(catalog, "ada", clip_id, "keep")
    catalog.sql("select * from clips where label_ada = 'drop'")
    calibrate(catalog, stored_labels(catalog, "ada"), recipe)

The labels judge whole clips. They are columns of the wide view like any operator's, so that recipes
and queries can ask for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from catalogs.errors import NotFoundError, UsageError, nearest
from catalogs.labels import LABELS, Labels
from catalogs.query import Session
from catalogs.schema import Column

if TYPE_CHECKING:
    from catalogs.catalog import Catalog

__all__ = ["checked_reviewer", "label_column", "remove_label", "reviewers", "store_label",
           "stored_labels"]  # fmt: skip

_FAMILY = "scores/label_"
_VERSION = 1
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def checked_reviewer(name: str) -> str:
    """A name under which labels can be stored."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a reviewer",
            allowed="up to 40 small letters, digits and '_', a letter first: ada, ben_2",
        )
    return name


def label_column(reviewer: str) -> str:
    """The column of `clips` that holds a reviewer's labels."""
    return f"label_{checked_reviewer(reviewer)}"


def store_label(catalog: Catalog, reviewer: str, clip_id: str, label: str) -> None:
    """Store what a reviewer would do with a clip, in the place of what was stored before."""
    if label not in LABELS:
        raise UsageError(
            f"{label!r} is not a label", allowed=", ".join(LABELS), hint=nearest(label, LABELS)
        )
    with Session(catalog, cutting="-") as session:
        if not session.sql("select 1 from clips_all where clip_id = ? limit 1", [clip_id]).rows():
            raise NotFoundError(f"the catalog has no clip {clip_id}")
    name = label_column(reviewer)
    column = Column(name, pa.string(), f"what {reviewer} would do with the clip: keep or drop")
    row = {"clip_id": clip_id, "op_version": _VERSION, name: label}
    with catalog.transaction(f"{reviewer} says {label}") as txn:
        txn.upsert(f"{_FAMILY}{reviewer}", [row], [column])


def remove_label(catalog: Catalog, reviewer: str, clip_id: str) -> None:
    """Take a label back."""
    table = f"{_FAMILY}{checked_reviewer(reviewer)}"
    if table in catalog.tables():
        with catalog.transaction(f"{reviewer} takes a label back") as txn:
            txn.delete(table, pa.table({"clip_id": [clip_id]}))


def reviewers(catalog: Catalog) -> list[str]:
    """Who stored labels."""
    return sorted(
        name.removeprefix(_FAMILY) for name in catalog.tables() if name.startswith(_FAMILY)
    )


def stored_labels(catalog: Catalog, reviewer: str) -> Labels:
    """The labels of a reviewer, as `calibrate` takes them."""
    known = reviewers(catalog)
    if checked_reviewer(reviewer) not in known:
        raise NotFoundError(
            f"no labels of {reviewer!r} are stored",
            allowed=", ".join(known) or None,
            hint=f"clipmill browse CATALOG --label --reviewer {reviewer}",
        )
    with Session(catalog, cutting="-") as session:
        table = session.scan(f"{_FAMILY}{reviewer}")
        rows = session.connection.execute(
            f"select clip_id, {label_column(reviewer)} from ({table}) order by clip_id"
        ).fetchall()
    return Labels({None: {clip: LABELS[label] for clip, label in rows}})
