"""Tokenizers that were used, how much they made, how good it is, and how they use their codes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from catalogs.errors import NotFoundError
from catalogs.query import Session, sql_name
from clipmill.web.answers import answer
from clipmill.web.state import ViewerState

__all__ = ["router"]

router = APIRouter(prefix="/api")

COUNTED_WINDOWS = 2_000
MOST_BARS = 128
"""Bars of a histogram of codes; neighbours share one where there are more codes."""


@router.get("/tokens")
def tokens(viewer: ViewerState) -> Response:
    """Every stream of every tokenizer: windows, positions, bits, codes, and the round trip."""
    with viewer.session() as session:
        rows = session.sql(
            "select tokens, stream, any_value(spec_hash) as spec_hash, "
            "any_value(weights_hash) as weights_hash, any_value(dtype) as dtype, "
            "any_value(levels) as levels, any_value(channels) as channels, count(*) as shards, "
            "sum(windows)::bigint as windows, sum(positions)::bigint as positions, "
            "sum(bytes)::bigint as bytes, list(quality) as qualities, list(windows) as weights, "
            "any_value(tiling) as tiling from token_shards group by 1, 2 order by 1, 2"
        ).dicts()
        for row in rows:
            row["quality"] = _quality(row.pop("qualities"), row.pop("weights"))
            row["seconds"] = _seconds(session, row["tokens"])
    return answer({"streams": rows})


def _quality(texts: list[str | None], windows: list[int]) -> dict[str, float]:
    """Each measure of the round trip, as the mean over shards by their windows."""
    totals: dict[str, tuple[float, int]] = {}
    for text, weight in zip(texts, windows, strict=True):
        for name, value in json.loads(text or "{}").items():
            if isinstance(value, int | float):
                total, count = totals.get(name, (0.0, 0))
                totals[name] = total + value * weight, count + weight
    return {name: total / count for name, (total, count) in totals.items() if count}


def _seconds(session: Session, table: str) -> float:
    """How long the spans are that a table's windows cover, together."""
    row = session.connection.execute(
        "select coalesce(sum((end_pts - start_pts) * time_base_num / time_base_den), 0) "
        f"from ({session.scan(table)})"
    ).fetchall()
    return float(row[0][0])


@router.get("/tokens/codes")
def codes(
    viewer: ViewerState,
    tokens: Annotated[str, Query(max_length=200)],
    stream: Annotated[str, Query(max_length=200)],
) -> Response:
    """How often each code of each level is used, over the first windows."""
    edition = viewer.edition

    def counted() -> dict[str, Any]:
        with edition.session() as session:
            return _codes(session, tokens, stream)

    return answer(edition.kept(f"codes {tokens} {stream}", counted))


def _codes(session: Session, table: str, stream: str) -> dict[str, Any]:
    shards = session.sql(
        "select dtype, levels from token_shards where tokens = ? and stream = ? limit 1",
        [table, stream],
    ).rows()
    if not shards:
        known = session.sql("select distinct tokens from token_shards order by 1").rows()
        raise NotFoundError(
            f"no tokens {table!r} with a stream {stream!r} are here",
            allowed=", ".join(row[0] for row in known) or None,
        )
    ((dtype, levels),) = shards
    if not levels:
        return {"windows": 0, "levels": []}
    blobs = session.connection.execute(
        f"select {sql_name(stream)} from ({session.scan(table)}) limit {COUNTED_WINDOWS}"
    ).fetchall()
    ids = [np.frombuffer(row[0], np.dtype(dtype).newbyteorder("<")) for row in blobs if row[0]]
    values = np.concatenate(ids) if ids else np.zeros(0, np.uint8)
    by_level = values.reshape(-1, len(levels)).astype(np.int64)
    found = [_level(by_level[:, number], size) for number, size in enumerate(levels)]
    return {"windows": len(blobs), "levels": found}


def _level(ids: np.ndarray[Any, np.dtype[np.int64]], size: int) -> dict[str, Any]:
    """Use of one level's codes: how many occur, how many would be as even, and bars."""
    used, counts = np.unique(ids, return_counts=True)
    bars = min(MOST_BARS, size)
    places = used * bars // size
    shares = counts / counts.sum() if counts.size else counts
    return {
        "codes": size,
        "used": len(used),
        "perplexity": float(2 ** -(shares * np.log2(shares)).sum()) if counts.size else 0.0,
        "bars": np.bincount(places, counts, minlength=bars).astype(int).tolist(),
    }
