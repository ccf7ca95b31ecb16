"""Results become visible: several outcomes in one atomic commit, by time and by count.

Rows are inserted, not appended: a row whose key somebody else committed since the run was planned
is left out, so that two runs over the same folder do not double anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.schema import Column
from curation.jobs.outcome import Outcome

__all__ = ["Committer"]

EVERY_S = 5.0
EVERY_OUTCOMES = 256
UPSERTED = frozenset({"quarantine"})
MEASURED = frozenset({"signals/motion", "signals/sound", "signals/video", "sources", "storyboards"})
"""What the decode pass writes: replaced when a known source is measured again."""


class Committer:
    """Collects outcomes and commits them. Rows of the tables in `replaced` replace older ones."""

    def __init__(self, catalog: Catalog, run_id: str, *, every_s: float = EVERY_S):
        self.replaced = UPSERTED
        self._catalog = catalog
        self._run_id = run_id
        self._every_s = every_s
        self._planned_at = catalog.version
        self._waiting: list[Outcome] = []
        self._last = time.monotonic()
        self.commits = 0

    def add(self, outcome: Outcome) -> None:
        self._waiting.append(outcome)

    def maybe(self) -> None:
        """Commit when enough has come together or enough time has passed."""
        due = time.monotonic() - self._last >= self._every_s
        if self._waiting and (due or len(self._waiting) >= EVERY_OUTCOMES):
            self.flush()

    def flush(self) -> None:
        """Commit everything that is complete."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        with self._catalog.transaction(f"curate: {len(waiting)} sources") as txn:
            for name, rows, columns in _merged(waiting):
                stamped = rows.append_column("run_id", pa.array([self._run_id] * rows.num_rows))
                if name in self.replaced:
                    txn.upsert(name, stamped, columns)
                else:
                    txn.insert(name, stamped, columns, since=self._planned_at)
        self.commits += 1
        self._last = time.monotonic()


def _merged(outcomes: list[Outcome]) -> Iterator[tuple[str, pa.Table, tuple[Column, ...]]]:
    """Rows of all outcomes by table, in a fixed order of tables."""
    problems = [problem.row() for outcome in outcomes for problem in outcome.problems]
    if problems:
        outcomes = [*outcomes, _quarantine(problems)]
    for name in sorted({name for outcome in outcomes for name in outcome.rows}):
        parts = [outcome.rows[name] for outcome in outcomes if name in outcome.rows]
        table = pa.concat_tables([part.table for part in parts], promote_options="default")
        yield name, table, parts[0].columns


def _quarantine(problems: list[dict[str, object]]) -> Outcome:
    outcome = Outcome()
    outcome.add("quarantine", problems)
    return outcome
