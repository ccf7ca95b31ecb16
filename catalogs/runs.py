"""What was run, how fast, and what runs at this moment.

A run leaves its row in `runs` when it ends. While it works it commits every few seconds, so rows of
a run without such a row tell of a run that is under way: how much it has done, how fast, and which
clips came last. One that was killed looks the same but falls silent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from catalogs.amounts import number
from catalogs.query import Session, sql_text

__all__ = ["LiveRun", "Run", "live_runs", "rate_of", "recorded_runs"]

_RATES = (
    ("media_s", 3600.0, "hours of media"),
    ("windows", 1.0, "windows"),
    ("embedded", 1.0, "clips"),
    ("captioned", 1.0, "clips"),
    ("clips", 1.0, "clips"),
)
"""What a run's counts are told by, the first that is there: how many make one, and its name."""
_TRACES = {"sources": "files", "clips": "clips", "captions": "captions", "token_shards": "shards",
           "quarantine": "quarantined"}  # fmt: skip
"""Tables in which a run that works leaves rows, and what these are called."""
_LOOK_BACK = "interval 2 days"
_LAST_CLIPS = 12


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended; JSON columns are parsed."""

    run_id: str
    verb: str
    name: str | None
    status: str
    started: datetime
    finished: datetime
    catalog_version: int | None
    recipe: str | None
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]
    hosts: tuple[str, ...]
    counts: Mapping[str, Any]
    timings: Mapping[str, float]

    @property
    def seconds(self) -> float:
        return (self.finished - self.started).total_seconds()

    @property
    def rate(self) -> str:
        """What it did in an hour; empty if it did nothing that is counted."""
        return rate_of(self.counts, self.counts.get("wall_s") or self.seconds)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"seconds": self.seconds, "rate": self.rate}


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that has committed rows and not ended."""

    run_id: str
    first: datetime
    """Of its commits."""
    last: datetime
    counts: Mapping[str, int]
    """Rows by what they are: files, clips, captions, shards, quarantined."""
    media_s: float
    rate: str
    """Between its first commit and its last; empty after only one."""
    last_clips: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def rate_of(counts: Mapping[str, Any], seconds: float) -> str:
    """What was done in an hour, by a run's counts; empty if nothing was."""
    for key, size, name in _RATES:
        amount = counts.get(key)
        if isinstance(amount, int | float) and amount and seconds > 0:
            return f"{number(amount / size / seconds * 3600)} {name} per hour"
    return ""


def recorded_runs(session: Session, limit: int = 1000) -> list[Run]:
    """The runs that have ended, the one that began last first."""
    columns = (
        "run_id, verb, name, status, started, finished, catalog_version, recipe, settings, "
        "versions, hosts, counts, timings"
    )
    rows = session.sql(
        f"select {columns} from runs order by started desc, run_id limit {limit:d}"
    ).dicts()
    for row in rows:
        for key in ("settings", "versions", "counts", "timings"):
            row[key] = json.loads(row[key] or "{}")
        row["hosts"] = tuple(json.loads(row["hosts"] or "[]"))
    return [Run(**row) for row in rows]


def live_runs(session: Session) -> list[LiveRun]:
    """The runs of the last days that have left rows and not ended, the latest first."""
    tables = [name for name in _TRACES if name in session.catalog.tables()]
    if not tables:
        return []
    traces = " union all ".join(
        f"select run_id, {sql_text(_TRACES[name])} as what, created from ({session.scan(name)}) "
        f"where created > now() - {_LOOK_BACK}"
        for name in tables
    )
    query = (
        f"select run_id, what, min(created) as first, max(created) as last, count(*) as rows "
        f"from ({traces}) t anti join (select run_id from ({session.scan('runs')})) r "
        "using (run_id) where run_id is not null group by all"
    )
    found: dict[str, list[tuple[Any, ...]]] = {}
    for run_id, *rest in session.connection.execute(query).fetchall():
        found.setdefault(run_id, []).append(tuple(rest))
    live = [_live(session, run_id, rows) for run_id, rows in found.items()]
    return sorted(live, key=lambda run: (run.last, run.run_id), reverse=True)


def _live(session: Session, run_id: str, rows: list[tuple[Any, ...]]) -> LiveRun:
    first, last = min(row[1] for row in rows), max(row[2] for row in rows)
    media, media_since = session.sql(
        "select coalesce(sum(duration_s), 0), "
        "coalesce(sum(duration_s) filter (created > $first), 0) from sources where run_id = $run",
        {"run": run_id, "first": first},
    ).one()
    since, last_clips = session.sql(
        "select count(*) filter (created > $first), "
        f"coalesce(arg_max(clip_id, created, {_LAST_CLIPS}), []) "
        "from clips_all where run_id = $run",
        {"run": run_id, "first": first},
    ).one()
    seconds = (last - first).total_seconds()
    return LiveRun(
        run_id,
        first,
        last,
        {what: count for what, _, _, count in sorted(rows)},
        media,
        rate_of({"media_s": media_since, "clips": since}, seconds),
        tuple(last_clips),
    )
