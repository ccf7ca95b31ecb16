"""Searches for duplicates as if they had been made: stretches that two sources share, by hand.

record_matches(catalog, [("a", "b", (0.0, 4.0), (2.0, 6.0))])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from catalogs.catalog import Catalog
from catalogs.recipe import NearDuplicates

__all__ = ["Shared", "record_matches"]

Shared: TypeAlias = "tuple[str, str, tuple[float, float], tuple[float, float]]"
"""Two sources and the span of each, in seconds, that shows the same."""


def record_matches(
    catalog: Catalog,
    shared: Sequence[Shared],
    near: NearDuplicates | None = None,
    *,
    kind: str = "near",
    against: str = "",
    **more: Any,
) -> None:
    """Record a finished search over all sources of a catalog, with what it found.

    Args:
        catalog: its sources count as searched.
        shared: what the sources have in common.
        near: settings of the search.
        kind: near or exact.
        against: another catalog, by `catalogs.duplicates.catalog_version`.
        more: further columns of `matches`, the same for all.
    """
    fixed = {"search": (near or NearDuplicates()).search, "against": against}
    rows = catalog.sql("select source_id from sources order by 1").rows()
    usual = {"alignment": 0, "rate": 1.0, "mirrored": False, "turned_deg": 0, "share": 1.0}
    matches = [
        {
            **fixed,
            **usual,
            **more,
            "kind": kind,
            "source_id": one,
            "other_id": other,
            "start_pts": round(here[0] * 1000),
            "other_start_pts": round(there[0] * 1000),
            "start_s": here[0],
            "end_s": here[1],
            "other_start_s": there[0],
            "other_end_s": there[1],
        }
        for one, other, here, there in shared
    ]
    with catalog.transaction("record matches") as txn:
        held: dict[str, Any] = {"held_from_s": [], "held_to_s": []}
        txn.upsert("searched", [{**fixed, **held, "source_id": name} for (name,) in rows])
        txn.upsert("matches", matches)
